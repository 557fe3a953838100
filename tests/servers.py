"""Which real servers the tests talk to: those that NORN_TEST_… names, else the embedded stack, each
server booted when the first test asks for it."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from infra.bootstrap import bootstrap
from infra.ports import free_port
from infra.postgres import Postgres
from infra.stack import Stack
from tests import trail

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PLENTY = 12 << 30  # bytes: a stack with 300 apps takes 3 of them


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """version: "18" or "15". URLs lead to database postgres."""

    version: str
    superuser_url: str = field(repr=False)  # a failing test would show its password
    admin_url: str = field(repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.superuser_url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.superuser_url).port or 5432


def log_statements(superuser_url: str) -> None:
    """Every statement goes to the server's log: it is searched in the end for passwords."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET log_statement = 'all'")
        conn.execute("SELECT pg_reload_conf()")


def do_not_sync(superuser_url: str) -> None:
    """Nothing that a killed process had written is lost: only the machine's own end would lose it,
    and a DROP DATABASE waits for a checkpoint."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")
        conn.execute("SELECT pg_reload_conf()")


def keep_and_copy(server: Postgres) -> None:
    """It takes prepared transactions and logical replication slots from now on."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
        conn.execute("ALTER SYSTEM SET wal_level = 'logical'")
    server.stop()
    server.start()


def in_memory() -> Path | None:
    """Where files are in memory, if there is plenty of it: hundreds of databases are made and taken
    away there in the time that a disk needs for a few."""
    place, meminfo = Path("/dev/shm"), Path("/proc/meminfo")
    if not place.is_dir():
        return None
    found = re.search(r"^MemAvailable: +([0-9]+) kB", meminfo.read_text(), re.MULTILINE)
    available = int(found[1]) << 10 if found else 0
    return place if min(available, shutil.disk_usage(place).free) > PLENTY else None


class ThrowAway:
    """A stack in a folder of its own below `place` (/tmp) that `remove` takes away, at the latest
    when the interpreter ends."""

    def __init__(self, place: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="norn-test-", dir=place))
        self.folder.chmod(0o711)  # the servers' user passes through
        self.stack = Stack(self.folder / "stack")
        self.fifteen = Postgres(
            self.stack.folder, "postgres15", free_port(), self.stack.postgres.password, DEBIAN_15
        )
        atexit.register(self.remove)

    def remove(self) -> None:
        atexit.unregister(self.remove)
        trail.keep_logs(self.stack)
        for name in ("postgres", "valkey", "kafka"):
            self.stack.server(name).kill()  # nobody will miss the data
        self.fifteen.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Servers:
    """Every property boots what it needs, once."""

    def __init__(self) -> None:
        self._own: ThrowAway | None = None

    @property
    def postgres_superuser_url(self) -> str:
        given = os.environ.get("NORN_TEST_POSTGRES_SUPERUSER_URL")
        return given or self._embedded("postgres").postgres.url()

    @property
    def postgres_admin_url(self) -> str:
        given = os.environ.get("NORN_TEST_POSTGRES_ADMIN_URL")
        return given or self._embedded("postgres").admin_url

    @property
    def norn_db_url(self) -> str:
        given = os.environ.get("NORN_TEST_DATABASE_URL")
        return given or self._embedded("postgres").norn_db_url

    @property
    def valkey_url(self) -> str:
        return os.environ.get("NORN_TEST_VALKEY_URL") or self._embedded("valkey").valkey.url

    @property
    def brokers(self) -> str:
        given = os.environ.get("NORN_TEST_REDPANDA_BROKERS")
        return given or self._embedded("kafka").kafka.brokers

    @property
    def kafka_username(self) -> str:
        return os.environ.get("NORN_TEST_REDPANDA_USERNAME") or "norn-admin"

    @property
    def kafka_password(self) -> str:
        given = os.environ.get("NORN_TEST_REDPANDA_PASSWORD")
        return given or self._embedded("kafka").kafka.password

    def postgres(self, version: str) -> PostgresServer | None:
        """None where that version is not to be had."""
        if version == "18":
            return PostgresServer(version, self.postgres_superuser_url, self.postgres_admin_url)
        given = os.environ.get("NORN_TEST_POSTGRES15_SUPERUSER_URL")
        if given:
            return PostgresServer(version, given, os.environ["NORN_TEST_POSTGRES15_ADMIN_URL"])
        if not DEBIAN_15.exists():
            return None
        own = self._throw_away()
        password = own.stack.values["norn_admin_password"]
        if own.fifteen.process.pid is None:
            own.fifteen.start()
            keep_and_copy(own.fifteen)
            bootstrap(own.fifteen.url(), password, own.stack.values["norn_keeper_password"])
            log_statements(own.fifteen.url())
            do_not_sync(own.fifteen.url())
        return PostgresServer(version, own.fifteen.url(), own.fifteen.url("norn_admin", password))

    def stop(self) -> None:
        if self._own is not None:
            self._own.remove()
        self._own = None

    def _throw_away(self) -> ThrowAway:
        if self._own is None:
            self._own = ThrowAway()
        return self._own

    def _embedded(self, name: str) -> Stack:
        stack = self._throw_away().stack
        if stack.server(name).process.pid is None:
            stack.start([name])
            if name == "postgres":
                log_statements(stack.postgres.url())
                do_not_sync(stack.postgres.url())
        return stack
