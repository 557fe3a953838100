"""Fixtures that every kind of test shares, and the rule that no skip goes unlisted in CI."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from infra.stack import Stack
from tests import trail
from tests.servers import PostgresServer, Servers, ThrowAway, do_not_sync, in_memory

ALLOWED_SKIPS = Path(__file__).parent / "skips.txt"
SEARCHES: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The shared servers; use names of your own, others' tests use them too."""
    found = Servers()
    yield found
    found.stop()


@pytest.fixture(params=["18", "15"])
def postgres(request: pytest.FixtureRequest, servers: Servers) -> PostgresServer:
    """PostgreSQL in each version that is tested."""
    server = servers.postgres(request.param)
    if server is None:
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql)")
    return server


@pytest.fixture
def fresh_norn_db(servers: Servers) -> Iterator[str]:
    """URL of a new, empty database that norn owns; dropped afterwards."""
    name = f"norn_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(servers.postgres_superuser_url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} OWNER norn TEMPLATE template0").format(sql.Identifier(name))
        )
        conn.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    parts = urlsplit(servers.norn_db_url)
    url = urlunsplit(parts._replace(path=f"/{name}"))
    yield url
    with suppress(psycopg.Error):  # a test may have left it unusable
        trail.keep_rows(url)
    with psycopg.connect(servers.postgres_superuser_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def private_stack() -> Iterator[Stack]:
    """Servers of this module's own, to be broken: freeze(), thaw(), kill(), stop(), start()."""
    own = ThrowAway(in_memory())
    try:
        own.stack.start()
        do_not_sync(own.stack.postgres.url())
        yield own.stack
    finally:
        own.remove()


@pytest.fixture(scope="session", autouse=True)
def _trail(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Set up first, so torn down last: when this process's servers are gone, all that its tests
    left is searched for their passwords. A find is an error of the last test's teardown."""
    trail.keep_in(tmp_path_factory.mktemp("trail"))
    yield
    search = trail.search(tmp_path_factory.getbasetemp())
    request.config.stash[SEARCHES] = [str(search)]
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput["search"] = str(search)
    assert not search.found, search.found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: what it searched is told by its controller."""
    if search := getattr(node, "workeroutput", {}).get("search"):
        node.config.stash.setdefault(SEARCHES, []).append(search)


def pytest_configure(config: pytest.Config) -> None:
    """Ended by a time limit, the run still stops the servers it started."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the searches for passwords found. In CI a skip whose reason skips.txt does not list is a
    failure, and is named here."""
    for search in terminalreporter.config.stash.get(SEARCHES, []):
        terminalreporter.write_line(f"searched for passwords: {search}")
    for line in _unlisted(terminalreporter):
        terminalreporter.write_line(f"unlisted skip: {line}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and exitstatus == 0 and reporter and _unlisted(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unlisted(reporter: pytest.TerminalReporter) -> list[str]:
    lines = ALLOWED_SKIPS.read_text().splitlines()
    allowed = [re.compile(line) for line in lines if line and not line.startswith("#")]
    reasons = [
        report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for report in reporter.stats.get("skipped", [])
    ]
    return [reason for reason in reasons if not any(p.search(reason) for p in allowed)]
