"""A working folder on the shared servers, and one on servers that may be broken."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from infra.stack import Stack
from tests.acceptance.services import Services
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers
from tests.trail import keep_rows


@pytest.fixture
def name() -> Callable[[str], str]:
    """App names of this test's own: others use the same servers."""
    mark = uuid.uuid4().hex[:6]
    return lambda text: f"{text}-{mark}"


@pytest.fixture
def norn(tmp_path: Path, servers: Servers, fresh_norn_db: str) -> Warm:
    (tmp_path / "specs").mkdir()
    settings = {
        "NORN_POSTGRES_URL": servers.postgres_admin_url,
        "NORN_VALKEY_URL": servers.valkey_url,
        "NORN_REDPANDA_BROKERS": servers.brokers,
        "NORN_REDPANDA_USERNAME": servers.kafka_username,
        "NORN_REDPANDA_PASSWORD": servers.kafka_password,
    }
    return Warm(tmp_path, settings, fresh_norn_db)


@pytest.fixture
def norn_on_postgres(tmp_path: Path, servers: Servers, fresh_norn_db: str) -> Warm:
    """For what the other services have no part in."""
    (tmp_path / "specs").mkdir()
    return Warm(tmp_path, {"NORN_POSTGRES_URL": servers.postgres_admin_url}, fresh_norn_db)


@pytest.fixture
def services(servers: Servers) -> Iterator[Services]:
    """The servers as their administrators see them."""
    found = Services(
        servers.postgres_superuser_url,
        servers.valkey_url,
        servers.brokers,
        servers.kafka_username,
        servers.kafka_password,
    )
    yield found
    found.close()


@pytest.fixture
def breakable(tmp_path: Path, private_stack: Stack) -> Iterator[Warm]:
    """A working folder on servers of this module's own; norn_db is a new one each time."""
    (tmp_path / "specs").mkdir()
    database = f"norn_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(private_stack.postgres.url(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {database} OWNER norn TEMPLATE template0")
        conn.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    settings = dict(private_stack.environment())
    url = private_stack.postgres.url("norn", "norn", database)
    yield Warm(tmp_path, settings, url)
    with suppress(psycopg.Error):  # the test may have left the server down
        keep_rows(url)


@pytest.fixture
def breakable_services(private_stack: Stack) -> Iterator[Services]:
    found = Services(
        private_stack.postgres.url(),
        private_stack.valkey.url,
        private_stack.kafka.brokers,
        "norn-admin",
        private_stack.kafka.password,
    )
    yield found
    found.close()


@pytest.fixture
def mark(name) -> Iterator[Path]:
    """A file that each run adds a line to, whoever it is."""
    path = Path("/var/tmp") / name("norn-test")
    path.touch()
    path.chmod(0o666)
    yield path
    path.unlink()
