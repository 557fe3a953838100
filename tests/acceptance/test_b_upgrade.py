"""(b) Two versions side by side: one is upgraded before the other."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from norn_reconciler.store.revisions import HEAD
from tests.acceptance.harness import Norn, spec, until
from tests.older_schema import OLDER, undo_the_last_migration

REVISION = "SELECT version_num FROM reconciler.alembic_version"


@pytest.fixture
def norn(norn_on_postgres: Norn) -> Norn:
    return norn_on_postgres


class Systemd:
    """Its end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def heard(self, line: str) -> bool:
        """Whether a line that begins so has come."""
        while True:
            try:
                self.told += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return any(told.startswith(line) for told in self.told)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    found = Systemd(tmp_path / "notify")
    yield found
    found.close()


def as_a_newer_program_left_it(norn: Norn) -> None:
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        conn.execute("UPDATE reconciler.alembic_version SET version_num = '9999'")


def test_a_daemon_that_was_upgraded_first_waits_for_the_older_leader(
    norn: Norn, systemd: Systemd, name
) -> None:
    app = name("older")
    norn.write("older.yaml", spec(app, kv=False, events=False))
    with norn.daemon(NORN_INSTANCE="the-older") as older:
        norn.until_ready(app)
        undo_the_last_migration(norn.norn_db)
        with norn.daemon(NORN_INSTANCE="the-newer", NOTIFY_SOCKET=systemd.path) as newer:
            until(lambda: newer.events("schema.waited"), told=newer.log.read_text)
            time.sleep(4.5)  # two more looks
            assert newer.process.poll() is None, newer.log.read_text()
            (line,) = newer.events("schema.waited")
            assert line["holder"] == "the-older"
            assert "the-older is at work on it" in line["error"]
            assert systemd.heard("STATUS=norn_db's schema ")
            assert systemd.heard("EXTEND_TIMEOUT_USEC=")
            assert not systemd.heard("READY=1")
            assert norn.rows(REVISION) == [{"version_num": OLDER}]

            assert older.stop() == 0

            until(lambda: newer.events("lease.acquired"), told=newer.log.read_text)
            assert norn.rows(REVISION) == [{"version_num": HEAD}]
            assert systemd.heard("READY=1")
            assert "Traceback" not in newer.log.read_text()


def test_it_stands_by_when_a_person_upgrades_norn_db_meanwhile(
    norn: Norn, systemd: Systemd
) -> None:
    with norn.daemon(NORN_INSTANCE="the-older"):
        undo_the_last_migration(norn.norn_db)
        with norn.daemon(NORN_INSTANCE="the-newer", NOTIFY_SOCKET=systemd.path) as newer:
            until(lambda: newer.events("schema.waited"), told=newer.log.read_text)
            norn.run("db", "upgrade")
            until(lambda: newer.events("lease.waited", holder="the-older"))
            assert systemd.heard("READY=1"), "a standby is ready, too"
            assert not newer.events("lease.acquired")
            assert newer.stop() == 0


def test_on_a_newer_schema_the_daemon_ends_with_one_sentence(norn: Norn) -> None:
    norn.run("db", "upgrade")
    as_a_newer_program_left_it(norn)
    with norn.daemon() as daemon:
        assert daemon.process.wait(20) == 1
    says_what_to_do(daemon.log.read_text())
    (line,) = daemon.events("daemon.failed")
    assert line["level"] == "error"
    assert norn.rows(REVISION) == [{"version_num": "9999"}]


def test_a_standby_does_not_lead_on_a_schema_that_was_upgraded_meanwhile(norn: Norn) -> None:
    with norn.daemon(NORN_INSTANCE="one") as one, norn.daemon(NORN_INSTANCE="two") as two:
        until(lambda: two.events("lease.waited", holder="one"))
        as_a_newer_program_left_it(norn)
        assert one.stop() == 0
        assert two.process.wait(20) == 1
    says_what_to_do(two.log.read_text())
    assert norn.rows("SELECT holder FROM reconciler.lease") == [{"holder": None}]


def says_what_to_do(text: str) -> None:
    assert text.count("newer than this program's") == 1, text
    assert "install the norn-reconciler that made it, or a newer one" in text
    assert "Traceback" not in text
