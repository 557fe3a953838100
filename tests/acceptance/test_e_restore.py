"""(e) An app's database is put back as a copy has it: made beside, looked at, swapped at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Seen
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.providers.postgres.whole import WholeDatabases
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.restore import agreed
from tests.acceptance.harness import Daemon, Norn, database, spec, until
from tests.acceptance.killer import AtBoundaries
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.test_e_snapshots import FULL, content
from tests.acceptance.test_e_snapshots_killed import ended, locked, operation
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import PostgresServer, Servers


@pytest.fixture
def norn(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": postgres.admin_url}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


@pytest.fixture
def on_18(servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": servers.postgres_admin_url}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


def ready(norn: Here, app: str, more: str = "") -> str:
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False) + more)
    norn.run("apply")
    return norn.env(app)["DATABASE_URL"]


def copied(norn: Here, app: str) -> str:
    return json.loads(norn.run("snapshot", "create", app, "-o", "json"))["snapshot"]


def databases(norn: Here, app: str) -> dict[str, bool]:
    """Those of its role, and whether they let anybody in."""
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        rows = conn.execute(
            "SELECT datname, datallowconn FROM pg_database WHERE pg_get_userbyid(datdba) = %s",
            [app],
        ).fetchall()
    return dict(rows)


def held(norn: Here, app: str) -> dict[str, str]:
    rows = norn.rows(
        "SELECT name, state FROM reconciler.inventory WHERE app = %s AND kind = 'database'", app
    )
    return {row["name"]: row["state"] for row in rows}


def known(norn: Norn, app: str) -> dict[str, str]:
    """Its databases, and what the server calls each, as norn_db has it."""
    rows = norn.rows(
        "SELECT name, server_id FROM reconciler.inventory WHERE app = %s AND kind = 'database'", app
    )
    return {row["name"]: row["server_id"] for row in rows}


def there(norn: Norn, app: str) -> dict[str, str]:
    """And as the server has it."""
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        rows = conn.execute(
            "SELECT datname, oid::text FROM pg_database WHERE pg_get_userbyid(datdba) = %s", [app]
        ).fetchall()
    return dict(rows)


BIG = """
    CREATE TABLE big AS SELECT n, md5(n::text) AS a, md5((n * 7)::text) || md5((n * 11)::text) AS b
      FROM generate_series(1, 400000) AS n;
    ALTER TABLE big ADD PRIMARY KEY (n);
"""


def test_it_is_as_it_was_and_what_was_there_is_kept(
    norn: Here, name, postgres: PostgresServer
) -> None:
    app, reader = name("whole"), name("reader")
    ready(norn, reader)
    extended = postgres.version == "15"  # the wheel of 18 brings no extension
    url = ready(norn, app, f"    readers: [{reader}]\n" + extended * "    extensions: [citext]\n")
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
        kind = "citext" if extended else "text"
        conn.execute(f"CREATE TABLE mails (at {kind}); INSERT INTO mails VALUES ('A@b.c')")
        conn.execute(BIG)
        ((size,),) = conn.execute("SELECT pg_database_size(current_database())").fetchall()
        assert size > 60_000_000
    before, env = content(url), norn.env(app)
    copy = copied(norn, app)

    mishap = psycopg.connect(url, autocommit=True)  # somebody stays connected
    mishap.execute("DROP TABLE people CASCADE")
    mishap.execute("UPDATE big SET a = 'gone'; CREATE TABLE later (n int)")
    shown = json.loads(norn.run("restore", copy, "-o", "json"))
    assert "1 session now" in shown["message"], shown
    assert databases(norn, app) == {database(app): True}, "only shown"

    done = json.loads(norn.run("snapshot", "restore", copy, "--yes", "-o", "json"))

    assert done["ok"], done
    with pytest.raises(psycopg.OperationalError):
        mishap.execute("SELECT 1")
    mishap.close()
    assert content(url) == before
    assert norn.env(app) == env
    there = databases(norn, app)
    (aside,) = there.keys() - {database(app)}
    assert aside.startswith(f"{database(app)}.trash.2")
    assert there == {database(app): True, aside: False}
    assert held(norn, app) == {database(app): "owned", aside: "retained"}
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(url, dbname=aside)
    norn.run("apply")
    norn.run("plan", "--check")
    assert norn.is_ready(app)
    assert content(url) == before
    reads = norn.env(reader)[f"DATABASE_READ_URL_{database(app).upper()}"]
    with psycopg.connect(reads) as conn:
        assert conn.execute("SELECT count(*) FROM people").fetchone() == (2000,)
    (event,) = norn.events("snapshot.restored", app)
    assert aside in event["message"]
    superuser = psycopg.conninfo.make_conninfo(postgres.superuser_url, dbname="postgres")
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f'ALTER DATABASE "{aside}" ALLOW_CONNECTIONS true')
    norn.run("apply")
    assert databases(norn, app)[aside] is False, "what is in the trash stays shut"
    (row,) = norn.rows(
        "SELECT settings, server_id FROM reconciler.inventory WHERE name = %s", aside
    )
    assert row["settings"].keys() == {trash.AT, trash.FROM}, "and is known as that"


def test_a_table_or_a_schema_comes_into_the_live_database_whole_or_not_at_all(
    norn: Here, name
) -> None:
    app = name("some")
    url = ready(norn, app)
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
    before, copy = content(url), copied(norn, app)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute('DROP TABLE "od d"."Odd ""name"; CREATE TABLE kept AS SELECT 1 AS n')

    norn.run("restore", copy, "--table", 'od d.Odd "name', "--yes")
    odd = '"od d"."Odd ""name"'
    now = content(url)
    assert now[odd] == before[odd]
    assert "public.kept" in now, "what is newer stays"

    refused = norn.ended("restore", copy, "--table", "people", "--yes")
    assert refused.returncode == 1
    assert "already exists" in refused.stderr
    assert "--clean" in refused.stderr
    # Another table refers to it: nothing at all is changed.
    refused = norn.ended("restore", copy, "--table", "people", "--clean", "--yes")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert content(url) == now
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DELETE FROM people WHERE id > 7")
        conn.execute(f"DROP TABLE {odd}; DROP VIEW fine; DROP MATERIALIZED VIEW counted")
    norn.run("restore", copy, "--table", "people", "--clean", "--yes")
    now = content(url)
    assert now["public.people"] == before["public.people"]
    assert any("people_pkey" in line for line in now["schema"]), "with its key"
    assert any("people_name_idx" in line for line in now["schema"]), "and its index"
    assert databases(norn, app) == {database(app): True}
    assert held(norn, app) == {database(app): "owned"}
    assert norn.ended("restore", copy, "--table", "nowhere", "--yes").returncode == 1
    assert databases(norn, app) == {database(app): True}


def test_what_is_not_the_apps_own_or_not_whole_is_refused(on_18: Here, name) -> None:
    norn = on_18
    app, other = name("mine"), name("theirs")
    ready(norn, app)
    ready(norn, other)
    theirs, mine = copied(norn, other), copied(norn, app)
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:

        def refused(snapshot: str) -> str:
            number = asked(norn, app, snapshot)
            norn.run("apply")
            return str(operation(norn, number)["result"])

        assert f"a copy of {other}'s data" in refused(theirs)
        number = asked(norn, app, mine)
        conn.execute(
            "UPDATE reconciler.operations SET digest = 'ofanother' WHERE id = %s", [number]
        )
        norn.run("apply")
        assert "is not the one that was shown" in operation(norn, number)["result"]
        path = norn.folder / "snapshots" / mine
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert "another checksum" in refused(mine)
        path.unlink()
        assert "is not there" in refused(mine)
    assert "norn_db knows no snapshot" in norn.ended("restore", f"of_{mine}").stderr
    assert databases(norn, app) == {database(app): True}


def test_what_fails_changes_nothing_and_the_next_takes_away_what_it_left(
    on_18: Here, name, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    norn, app = on_18, name("fails")
    url = ready(norn, app)
    superuser = psycopg.conninfo.make_conninfo(servers.postgres_superuser_url, dbname=database(app))
    with psycopg.connect(superuser) as conn:
        conn.execute("CREATE FUNCTION hook() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        conn.execute("CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION hook()")
    impossible = copied(norn, app)
    with psycopg.connect(superuser) as conn:
        conn.execute("DROP EVENT TRIGGER t; DROP FUNCTION hook()")
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE precious AS SELECT 1 AS n")
    good = copied(norn, app)
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE precious SET n = 2")

    # What only a superuser can make; and the server is away when it is to be taken away.
    async def away(*of: object) -> None:
        raise Unavailable("postgres", "the server is away")

    def cut_off() -> str:
        with monkeypatch.context() as patch:
            patch.setattr(WholeDatabases, "drop", away)
            norn.run("restore", impossible, "--yes", code=1)
        assert "permission denied to create event trigger" in norn.errors
        (left,) = databases(norn, app).keys() - {database(app)}
        return left

    left = cut_off()
    norn.run("apply", app)
    assert databases(norn, app) == {database(app): True, left: False}, "shut"
    norn.run("apply")
    assert databases(norn, app) == {database(app): True}, "and taken away"
    assert held(norn, app) == {database(app): "owned"}
    assert not [s for s in norn.rows("SELECT * FROM reconciler.snapshots") if left in s["name"]]
    cut_off()

    # Whoever is in it may not be ended: it is as it was, and open.
    with psycopg.connect(superuser):
        norn.run("restore", good, "--yes", code=1)
    assert "sessions of postgres stay" in norn.errors
    assert databases(norn, app) == {database(app): True}, "and the leftover is gone"
    assert held(norn, app) == {database(app): "owned"}
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT n FROM precious").fetchone() == (2,)

    # The connection is cut at the very end: nobody heard that it was done.
    swap = WholeDatabases.swap

    async def unheard(*of: Any) -> None:
        await swap(*of)
        raise Unavailable("postgres", "the connection is lost")

    monkeypatch.setattr(WholeDatabases, "swap", unheard)
    norn.run("restore", good, "--yes")
    there = databases(norn, app)
    assert there.pop(database(app)) is True
    assert held(norn, app) == {database(app): "owned", **dict.fromkeys(there, "retained")}
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT n FROM precious").fetchone() == (1,)
    norn.run("apply")


PLACES = (
    *(f"work-restore: after update_operation {step}" for step in range(1, 8)),
    *(f"work-restore: after record {step}" for step in (1, 2)),
    *(f"databases: before ALTER DATABASE ALLOW_CONNECTIONS {step}" for step in (1, 3, 4)),
    *(f"databases: before ALTER DATABASE RENAME {step}" for step in (1, 2)),
)
SOME = (
    *(f"work-restore: after update_operation {step}" for step in range(5, 9)),
    *(f"work-restore: after record {step}" for step in (2, 3)),
)


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    with warm_on_postgres(servers, tmp_path / "norn") as norn:
        yield norn


class Killed:
    """A daemon that is killed where it was ordered, and comes back."""

    def __init__(self, norn: Warm, app: str) -> None:
        self.norn, self.app = norn, app
        self.order = norn.folder / "order"
        self.judge = AtBoundaries(type("World", (), {"order": self.order})())  # type: ignore[arg-type]
        norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
        self.begin()
        norn.until_ready(app)
        self.url = norn.env(app)["DATABASE_URL"]
        with psycopg.connect(self.url) as conn:
            conn.execute("CREATE TABLE precious AS SELECT 1 AS n")
        self.copy = norn.json("snapshot", "create", app)["snapshot"]

    def begin(self) -> Daemon:
        daemon = self.norn.start(self.order)
        until(lambda: daemon.events("lease.acquired"), told=daemon.log.read_text)
        return daemon

    def value(self, dbname: str = "") -> int:
        with psycopg.connect(self.url, dbname=dbname or database(self.app)) as conn:
            ((found,),) = conn.execute("SELECT n FROM precious").fetchall()
            return int(found)

    def put(self, value: int) -> None:
        with psycopg.connect(self.url) as conn:
            conn.execute("UPDATE precious SET n = %s", [value])

    def asked(self, **choice: object) -> int:
        return asked(self.norn, self.app, self.copy, **choice)

    def killed_at(self, place: str, **choice: object) -> None:
        """And the next has done it."""
        self.judge.order(place)
        number = self.asked(**choice)
        until(lambda: self.norn.daemons[-1].process.poll() is not None, told=self.norn.story)
        assert self.judge.struck(place), (place, self.judge.passed())
        self.judge.cancel()
        self.begin()
        done = ended(self.norn, number)
        assert done["state"] == "done", (place, done)
        assert self.value() == 1, place


def asked(norn: Norn, app: str, copy: str, **choice: object) -> int:
    """As the command does it."""
    arguments = {"snapshot": copy, **choice}
    (row,) = norn.rows("SELECT * FROM reconciler.snapshots WHERE name = %s", copy)
    now = datetime.now(UTC)
    record = SnapshotRecord(copy, AppName(app), "", "", 0, row["sha256"], "", "", now)
    there = Seen(database(app), live(norn, app), app, 0, 0, True)
    digest = agreed(AppName(app), there, record, Choice.of(arguments))
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO reconciler.operations (kind, app, arguments, digest)"
            " VALUES ('restore', %s, %s, %s) RETURNING id",
            [app, json.dumps(arguments), digest],
        ).fetchone()
        conn.execute("SELECT pg_notify('norn_operations', '')")
        assert row is not None
        return int(row[0])


def live(norn: Norn, app: str) -> str:
    (row,) = norn.rows(
        "SELECT server_id FROM reconciler.inventory WHERE app = %s AND name = %s",
        app,
        database(app),
    )
    return str(row["server_id"])


def test_killed_at_each_step_one_whole_database_is_live_and_nothing_is_lost(
    killed: Warm, name
) -> None:
    norn, app = killed, name("steps")
    one = Killed(norn, app)
    for count, place in enumerate(PLACES, 1):
        one.put(count * 100)
        one.killed_at(place)
        seen = databases(norn, app)
        asides = sorted(seen.keys() - {database(app)})
        assert len(asides) == count, (place, seen)
        assert all(f"{database(app)}.trash." in aside for aside in asides), (place, seen)
        assert held(norn, app) == {n: "owned" if o else "retained" for n, o in seen.items()}
        assert known(norn, app) == there(norn, app), place
    until(lambda: norn.is_ready(app), told=norn.story)
    assert norn.daemons[-1].stop() == 0  # it would shut them again
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        for aside in asides:
            conn.execute(f'ALTER DATABASE "{aside}" ALLOW_CONNECTIONS true')
        conn.commit()
    lost = {one.value(aside) for aside in asides}
    assert lost == {count * 100 for count in range(1, len(PLACES) + 1)}


def test_whatever_dies_some_tables_are_brought_once_or_not_at_all(
    killed: Warm, name, servers: Servers
) -> None:
    norn, app = killed, name("some")
    one = Killed(norn, app)
    for place in SOME:
        with psycopg.connect(one.url) as conn:
            conn.execute("DROP TABLE precious")
        one.killed_at(place, tables=["precious"])
        assert databases(norn, app) == {database(app): True}, place
        assert held(norn, app) == {database(app): "owned"}, place

    def waiting(conn: psycopg.Connection[Any]) -> int | None:
        """Of what waits for a lock: its backend."""
        row = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            [database(app)],
        ).fetchone()
        return row and int(row[0])

    one.put(7)
    superuser = psycopg.conninfo.make_conninfo(servers.postgres_superuser_url, dbname="postgres")
    for way in ("the client", "the connection", "the daemon"):
        with locked(one.url), psycopg.connect(superuser, autocommit=True) as conn:
            number = one.asked(tables=["precious"], clean=True)
            backend = until(lambda: waiting(conn), told=norn.story)
            if way == "the connection":
                conn.execute("SELECT pg_terminate_backend(%s)", [backend])
            elif way == "the client":
                os.kill(restoring(norn), signal.SIGKILL)
            else:
                norn.daemons[-1].kill()
            if way != "the daemon":
                done = ended(norn, number)
                assert (done["state"], done["result"][:19]) == ("failed", "nothing was changed"), (
                    way
                )
        if way == "the daemon":
            one.begin()
            assert ended(norn, number)["state"] == "done"
        assert one.value() == (1 if way == "the daemon" else 7), way
        assert databases(norn, app) == {database(app): True}, way
        assert held(norn, app) == {database(app): "owned"}, way
    assert list((norn.folder / "snapshots").iterdir()) == [norn.folder / "snapshots" / one.copy]
    assert norn.daemons[-1].stop() == 0


def restoring(norn: Norn) -> int:
    """pg_restore's process that reads from this folder."""
    for path in Path("/proc").glob("[0-9]*"):
        words = path.joinpath("cmdline").read_bytes().split(b"\0")
        if words[0].endswith(b"/pg_restore") and str(norn.folder).encode() in words[-2]:
            return int(path.name)
    raise AssertionError("there is none")
