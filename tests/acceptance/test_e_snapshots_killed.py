"""(e) Snapshots beside a daemon that goes on working, and is killed, loses its lease, or sees its
child die. A table that somebody has locked keeps pg_dump waiting for as long as a test needs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Daemon, database, spec, until
from tests.acceptance.killer import AtBoundaries
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

PLACES = (
    *(f"work-snapshot: after update_operation {step}" for step in range(1, 7)),
    "work-snapshot: after record 1",
)


@pytest.fixture
def norn(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    with warm_on_postgres(servers, tmp_path / "norn") as norn:
        yield norn


def asked(norn: Warm, app: str) -> int:
    """As the command does it."""
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO reconciler.operations (kind, app) VALUES ('snapshot', %s) RETURNING id",
            [app],
        ).fetchone()
        assert row is not None
        conn.execute("SELECT pg_notify('norn_operations', %s)", [str(row[0])])
        return int(row[0])


def operation(norn: Warm, number: int) -> dict[str, Any]:
    return norn.rows("SELECT * FROM reconciler.operations WHERE id = %s", number)[0]


def ended(norn: Warm, number: int) -> dict[str, Any]:
    until(lambda: operation(norn, number)["state"] in {"done", "failed"}, told=norn.story)
    return operation(norn, number)


def dumping(norn: Warm) -> list[int]:
    """pg_dump's processes that write into this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            out = (path / "fd/1").readlink()
            if words[0].endswith(b"/pg_dump") and str(norn.folder) in str(out):
                found.append(int(path.name))
        except OSError:
            continue  # it has ended
    return found


@contextmanager
def locked(url: str) -> Iterator[None]:
    with psycopg.connect(url) as conn:
        conn.execute("LOCK TABLE precious IN ACCESS EXCLUSIVE MODE")
        yield


def whole(norn: Warm, count: int) -> None:
    """So many snapshots, each with its record, and nothing else."""
    names = sorted(p.name for p in (norn.folder / "snapshots").iterdir())
    rows = {r["name"]: r for r in norn.rows("SELECT * FROM reconciler.snapshots")}
    assert names == sorted(rows), norn.story()
    assert len(names) == count
    for name in names:
        assert (norn.folder / "snapshots" / name).stat().st_size == rows[name]["size"]


def nobody_sees_the_password_of(url: str, pid: int) -> None:
    """pid: of pg_dump, which has it."""
    secret = str(psycopg.conninfo.conninfo_to_dict(url)["password"]).encode()
    assert b"PGPASSFILE=/proc/self/fd/" in Path(f"/proc/{pid}/environ").read_bytes()
    for path in Path("/proc").glob("[0-9]*"):
        for file in ("cmdline", "environ"):
            try:
                assert secret not in (path / file).read_bytes(), path
            except OSError:
                continue  # it has ended


def begun(norn: Warm, app: str) -> str:
    """A daemon that has made the app. The app's URL."""
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    norn.start()
    until(lambda: norn.is_ready(app) if norn.app(app) else False)
    url = norn.env(app)["DATABASE_URL"]
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE precious AS SELECT generate_series(1, 1000) AS n")
    return url


def test_whatever_dies_the_snapshot_is_whole_or_begins_anew(
    norn: Warm, name, servers: Servers
) -> None:
    app, other = name("held"), name("beside")
    url = begun(norn, app)

    # The lanes go on meanwhile, and nobody sees the password.
    with locked(url):
        first = asked(norn, app)
        until(lambda: dumping(norn), told=norn.story)
        assert operation(norn, first)["step"].startswith("dump")
        norn.write(f"{other}.yaml", spec(other, kv=False, events=False))
        norn.until_ready(other)
        pid = dumping(norn)[0]
        nobody_sees_the_password_of(url, pid)

        # Its client is killed.
        os.kill(pid, signal.SIGKILL)
        failed, killed = ended(norn, first), "the dump failed: it ended with signal SIGKILL"
        assert (failed["state"], failed["result"]) == ("failed", killed)
        assert list((norn.folder / "snapshots").iterdir()) == []

        # Its connection is lost.
        second = asked(norn, app)
        until(lambda: dumping(norn), told=norn.story)
        with psycopg.connect(servers.postgres_superuser_url) as conn:
            until(
                lambda: conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = %s AND wait_event_type = 'Lock'",
                    [database(app)],
                ).fetchone()
            )
        failed = ended(norn, second)
        assert failed["state"] == "failed"
        assert "terminating connection" in failed["result"]
        assert list((norn.folder / "snapshots").iterdir()) == []

        # The lease is lost: the client is ended, the operation waits for the next leader.
        third = asked(norn, app)
        pid = until(lambda: dumping(norn), told=norn.story)[0]
        with psycopg.connect(norn.norn_db) as conn:
            conn.execute(
                "UPDATE reconciler.lease SET holder = 'somebody', incarnation = NULL, "
                "epoch = epoch + 1, expires_at = now() + interval '3 s'"
            )
        until(lambda: not dumping(norn), told=norn.story)
        assert operation(norn, third)["state"] == "running"
        again = until(lambda: dumping(norn), told=norn.story)[0]
        assert again != pid

        # The daemon is killed: its client goes with it, and the next one begins anew.
        norn.daemons[-1].kill()
        until(lambda: not dumping(norn))
        norn.start()
        until(lambda: dumping(norn), told=norn.story)
    done = ended(norn, third)
    assert done["state"] == "done", done
    whole(norn, 1)
    made = norn.json("snapshot", "create", app)
    assert made["ok"]
    assert made["snapshot"] in norn.run("snapshot", "list", app)
    whole(norn, 2)
    # Asked to stop in the middle of one, it stops.
    with locked(url):
        asked(norn, app)
        until(lambda: dumping(norn), told=norn.story)
        assert norn.daemons[-1].stop() == 0
        assert not dumping(norn)
    whole(norn, 2)
    assert not [line for d in norn.daemons for line in d.events("lane.faulted")]


def test_whoever_asks_takes_over_from_a_daemon_that_is_gone(norn: Warm, name) -> None:
    app = name("heir")
    url = begun(norn, app)
    with locked(url):
        number = asked(norn, app)
        until(lambda: dumping(norn), told=norn.story)
        norn.daemons[-1].kill()
    norn.run("snapshot", "create", app)
    assert operation(norn, number)["state"] == "done"
    whole(norn, 2)


def test_killed_at_each_step_it_is_done_once_by_the_next(norn: Warm, name) -> None:
    app = name("steps")
    begun(norn, app)
    norn.daemons[-1].stop()
    order = norn.folder / "order"
    judge = AtBoundaries(type("World", (), {"order": order})())  # type: ignore[arg-type]

    def next_daemon() -> Daemon:
        daemon = norn.start(order, NORN_SNAPSHOTS_KEEP="100")
        until(lambda: daemon.events("lease.acquired"), told=daemon.log.read_text)
        return daemon

    daemon = next_daemon()
    for count, place in enumerate(PLACES, 1):
        judge.order(place)
        number = asked(norn, app)
        until(lambda: norn.daemons[-1].process.poll() is not None, told=norn.story)
        assert judge.struck(place), (place, judge.passed())
        assert operation(norn, number)["state"] == "running"
        judge.cancel()
        daemon = next_daemon()
        done = ended(norn, number)
        assert done["state"] == "done", (place, done)
        whole(norn, count)
    assert daemon.stop() == 0
