"""(e) An app's database is put back as a copy has it: made beside, looked at, swapped at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Daemon, database, spec, until
from tests.acceptance.killer import AtBoundaries
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.test_e_snapshots import FULL, content
from tests.acceptance.test_e_snapshots_killed import ended, operation
from tests.acceptance.warm_norn import Warm
from tests.servers import PostgresServer, Servers


@pytest.fixture
def norn(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": postgres.admin_url}
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
    url = ready(norn, app, f"    readers: [{reader}]\n")
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
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


def test_what_is_not_the_apps_own_or_not_whole_is_refused(norn: Here, name) -> None:
    app, other = name("mine"), name("theirs")
    ready(norn, app)
    ready(norn, other)
    theirs, mine = copied(norn, other), copied(norn, app)
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:

        def asked(snapshot: str, live: str) -> str:
            (number,) = conn.execute(
                "INSERT INTO reconciler.operations (kind, app, arguments)"
                " VALUES ('restore', %s, %s) RETURNING id",
                [app, json.dumps({"snapshot": snapshot, "live": live})],
            ).fetchone()  # type: ignore[misc]
            norn.run("apply")
            return operation(norn, number)["result"]  # type: ignore[arg-type]

        ((live,),) = conn.execute(
            "SELECT server_id FROM reconciler.inventory WHERE app = %s AND kind = 'database'", [app]
        ).fetchall()
        assert f"a copy of {other}'s data" in asked(theirs, live)
        assert "is not the one that was shown" in asked(mine, "1")
        path = norn.folder / "snapshots" / mine
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert "another checksum" in asked(mine, live)
        path.unlink()
        assert "is not there" in asked(mine, live)
    assert "norn_db knows no snapshot" in norn.ended("restore", mine.replace(app[-1], "z")).stderr
    assert databases(norn, app) == {database(app): True}


PLACES = (
    *(f"work-restore: after update_operation {step}" for step in range(1, 8)),
    *(f"work-restore: after record {step}" for step in range(1, 4)),
)


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    settings = {"NORN_POSTGRES_URL": servers.postgres_admin_url, "NORN_LEASE_SECONDS": "3"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as here:
        norn = Warm(here.folder, here.settings, here.norn_db)
        try:
            yield norn
        finally:
            for daemon in norn.daemons:
                daemon.kill()


def test_killed_at_each_step_one_whole_database_is_live_and_nothing_is_lost(
    killed: Warm, name
) -> None:
    norn, app = killed, name("steps")
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    order = norn.folder / "order"
    judge = AtBoundaries(type("World", (), {"order": order})())  # type: ignore[arg-type]

    def next_daemon() -> Daemon:
        daemon = norn.start(order)
        until(lambda: daemon.events("lease.acquired"), told=daemon.log.read_text)
        return daemon

    def value(dbname: str) -> Any:
        with psycopg.connect(url, dbname=dbname) as conn:
            return conn.execute("SELECT n FROM precious").fetchall()

    def asked() -> int:
        with psycopg.connect(norn.norn_db, autocommit=True) as conn:
            row = conn.execute(
                "INSERT INTO reconciler.operations (kind, app, arguments)"
                " SELECT 'restore', app,"
                "        jsonb_build_object('snapshot', %s::text, 'live', server_id)"
                "   FROM reconciler.inventory WHERE app = %s AND kind = 'database' AND name = %s"
                " RETURNING id",
                [copy, app, database(app)],
            ).fetchone()
            conn.execute("SELECT pg_notify('norn_operations', '')")
            assert row is not None
            return int(row[0])

    daemon = next_daemon()
    norn.until_ready(app)
    url = norn.env(app)["DATABASE_URL"]
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE precious AS SELECT 1 AS n")
    copy = norn.json("snapshot", "create", app)["snapshot"]
    for count, place in enumerate(PLACES, 1):
        with psycopg.connect(url) as conn:
            conn.execute("UPDATE precious SET n = %s", [count * 100])
        judge.order(place)
        number = asked()
        until(lambda: norn.daemons[-1].process.poll() is not None, told=norn.story)
        assert judge.struck(place), (place, judge.passed())
        judge.cancel()
        daemon = next_daemon()
        done = ended(norn, number)
        assert done["state"] == "done", (place, done)
        assert value(database(app)) == [(1,)], place
        there = databases(norn, app)
        asides = sorted(there.keys() - {database(app)})
        assert len(asides) == count, (place, there)
        assert all(f"{database(app)}.trash." in aside for aside in asides), (place, there)
        assert held(norn, app) == {n: "owned" if o else "retained" for n, o in there.items()}
    until(lambda: norn.is_ready(app), told=norn.story)
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        for aside in asides:
            conn.execute(f'ALTER DATABASE "{aside}" ALLOW_CONNECTIONS true')
        conn.commit()
    lost = {row[0][0] for row in map(value, asides)}
    assert lost == {count * 100 for count in range(1, len(PLACES) + 1)}
    assert daemon.stop() == 0
