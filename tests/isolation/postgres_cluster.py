"""PostgreSQL servers of these tests' own: what is tried here would disturb others if it worked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from infra.accounts import Account
from infra.bootstrap import bootstrap
from infra.ports import free_port
from infra.postgres import Postgres
from norn_reconciler.model.app import AppName
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.provider import PostgresProvider
from tests.integration.postgres_admin import app_with
from tests.integration.provider_contract import World, credential
from tests.servers import DEBIAN_15, PostgresServer, ThrowAway

VERSIONS = ("18", "15")
SETTINGS = {
    # Off by default; on here, since an app must be held also where somebody turned them on.
    "max_prepared_transactions": "8",
    "wal_level": "logical",
    # Attempts hold their app's password in clear, as some clients' do: not into the log.
    "log_min_error_statement": "panic",
    # Nobody will miss the data.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_init_zero": "off",
}

Connection = psycopg.Connection[Any]


class Opened(Postgres):
    """A server on which everything is turned on that might open a way."""

    def prepare(self, account: Account | None) -> list[str]:
        words = super().prepare(account)
        more = dict(SETTINGS)
        if self.major == 15:  # the wheel of 18 brings no such module
            more["shared_preload_libraries"] = "pg_stat_statements"
        return words + [word for key, value in more.items() for word in ("-c", f"{key}={value}")]


@dataclass(frozen=True, slots=True)
class Cluster:
    """version: "18" or "15". norn_password: of norn_admin, "" where norn was never set up."""

    version: str
    postgres: Postgres
    norn_password: str

    @property
    def server(self) -> PostgresServer:
        """As the fixtures of other tests name it."""
        admin = self.postgres.url("norn_admin", self.norn_password)
        return PostgresServer(self.version, self.postgres.url(), admin)

    def connect(
        self, user: str, password: str, database: str = "postgres", **more: str
    ) -> Connection:
        # A URL, not keywords: psycopg shows keywords in tracebacks.
        conninfo = make_conninfo(
            self.postgres.url(user, password, database), connect_timeout=5, **more
        )
        return psycopg.connect(conninfo, autocommit=True)

    def superuser(self, database: str = "postgres", **more: str) -> Connection:
        more.setdefault("options", "-c statement_timeout=30s")  # no test hangs
        return self.connect("postgres", self.postgres.password, database, **more)

    def app(self, name: str, database: str, **more: str) -> Connection:
        return self.connect(name, credential(name).password.reveal(), database, **more)

    def norn_admin(self, **more: str) -> Connection:
        return self.connect("norn_admin", self.norn_password, **more)

    def provider(self, **more: Any) -> PostgresProvider:
        return PostgresProvider(Secret(self.server.admin_url), instance="isolation", **more)

    def provision(self, *names: AppName) -> World:
        """By the product itself. Returns what the engine would remember of it."""

        async def converge() -> World:
            provider = self.provider()
            world = World(provider)  # type: ignore[arg-type]
            try:
                await world.converge(*map(app_with, names))
            finally:
                await provider.close()
            return world

        return asyncio.run(converge())


@contextmanager
def running(version: str, *, norn: bool = True) -> Iterator[Cluster]:
    """A fresh server. norn: set up as the embedded stack does it, else left as initdb made it."""
    if version == "15" and not DEBIAN_15.exists():
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql)")
    made = ThrowAway()
    binaries = DEBIAN_15 if version == "15" else None
    server = Opened(
        made.stack.folder,
        f"isolation{version}",
        free_port(),
        made.stack.postgres.password,
        binaries,
    )
    try:
        server.start()
        admin_password = made.stack.values["norn_admin_password"] if norn else ""
        if norn:
            bootstrap(server.url(), admin_password, made.stack.values["norn_keeper_password"])
        yield Cluster(version, server, admin_password)
    finally:
        server.kill()
        made.remove()
