"""What the tests of the postgres provider do beside it, as the superuser or as an app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier

from norn_reconciler.model.app import App, AppName
from norn_reconciler.providers.postgres.section import PostgresSection
from tests.integration.provider_contract import credential
from tests.servers import PostgresServer


def database_of(app: str, stem: str = "db") -> str:
    return f"{app}_{stem}"


def app_with(name: AppName, database: str | None = None, connections: int = 50) -> App:
    section = PostgresSection(database=database or database_of(name), connections=connections)
    return App(name, {"postgres": section})


@dataclass(frozen=True)
class Admin:
    """One server, and the apps whose objects are swept away at the end."""

    server: PostgresServer

    async def run(self, text: str, *names: str, database: str = "postgres") -> list[Any]:
        """One statement as the superuser; {} are identifiers."""
        url = urlunsplit(urlsplit(self.server.superuser_url)._replace(path=f"/{database}"))
        return await self._ask(url, SQL(text).format(*map(Identifier, names)))

    async def as_app(self, app: str, database: str, text: str, *names: str) -> list[Any]:
        return await self._ask(
            self.app_url(app, database), SQL(text).format(*map(Identifier, names))
        )

    async def as_norn(self, text: str, *names: str) -> list[Any]:
        return await self._ask(self.server.admin_url, SQL(text).format(*map(Identifier, names)))

    def app_url(self, app: str, database: str) -> str:
        password = credential(app).password.reveal()
        return f"postgresql://{app}:{password}@{self.server.host}:{self.server.port}/{database}"

    async def log_in(self, app: str, database: str) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self.app_url(app, database), autocommit=True, connect_timeout=5
        )

    async def log_in_as_superuser(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self.server.superuser_url, autocommit=True, connect_timeout=5
        )

    async def refuses(self, app: str, database: str) -> bool:
        """Whether the server answers a login of the app with a refusal."""
        try:
            await (await self.log_in(app, database)).close()
        except psycopg.OperationalError as fault:
            assert "FATAL" in str(fault), fault
            return True
        return False

    @staticmethod
    async def _ask(url: str, query: Any) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5
        ) as conn:
            cursor = await conn.execute(query)
            return await cursor.fetchall() if cursor.description else []

    async def roles(self) -> set[str]:
        return {row[0] for row in await self.run("SELECT rolname FROM pg_roles")}

    async def sweep(self, before: set[str]) -> None:
        """Drop every role that is not in `before`, and every database that such a role owns."""
        new = sorted(await self.roles() - before)
        rows = await self.run("SELECT datname, pg_get_userbyid(datdba) FROM pg_database")
        for name, owner in rows:
            if owner in new:
                await self.run("ALTER DATABASE {} IS_TEMPLATE false", name)
                await self.run("DROP DATABASE {} WITH (FORCE)", name)
        for role in new:
            await self.run("DROP OWNED BY {}", role)
        for role in new:
            await self.run("DROP ROLE {}", role)
