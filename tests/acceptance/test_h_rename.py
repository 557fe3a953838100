"""(h) A database has another name in the spec: it is renamed where it is, with all that is in it,
and no empty one is ever made in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import database, spec
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.test_e_restore import copied, databases, held, ready
from tests.acceptance.test_e_snapshots import FULL, content
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import PostgresServer, Servers

MOST = 24  # apps: more than there are places to be killed at


@pytest.fixture
def norn(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": postgres.admin_url, "NORN_GRACE_SECONDS": "0"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    more = {"NORN_GRACE_SECONDS": "0", "NORN_REMOVAL_MAX_APPS": "1000"}
    with warm_on_postgres(servers, tmp_path / "norn", **more) as norn:
        yield norn


def oids(norn: Here | Warm, app: str) -> dict[str, int]:
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        asked = "SELECT datname, oid::int FROM pg_database WHERE pg_get_userbyid(datdba) = %s"
        return dict(conn.execute(asked, [app]).fetchall())


def renamed(app: str, to: str, of: str = "", more: str = "") -> str:
    text = spec(app, kv=False, events=False).replace(database(app), to)
    return f"{text}    renamedFrom: {of}\n{more}" if of else text + more


def test_it_keeps_its_data_and_everybody_finds_it(norn: Here, name) -> None:
    app, reader = name("named"), name("reader")
    ready(norn, reader)
    shared = f"    readers: [{reader}]\n"
    url = ready(norn, app, shared)
    old, new = database(app), f"{database(app)}_2"
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
    before, ids, copy = content(url), oids(norn, app), copied(norn, app)
    somebody = psycopg.connect(url)

    shown = json.loads(norn.run("rename", "database", app, new, "-o", "json"))
    assert [s["summary"] for s in shown["apps"][app]] == [
        f"ALTER DATABASE {old} RENAME TO {new}, which ends its sessions"
    ]
    assert (
        f"-    database: {old}\n+    database: {new}\n+    renamedFrom: {old}\n" in shown["patch"]
    )
    assert f"clients of {app}, {reader} have to read" in shown["also"][0]
    assert old in (norn.specs / f"{app}.yaml").read_text().split(), "only shown"
    norn.run("rename", "database", app, new, "--yes")
    assert (norn.specs / f"{app}.yaml").read_text() == renamed(app, new, old, shared)
    assert oids(norn, app) == ids, "that is for whoever writes to servers"
    plan = norn.run("plan", app)
    assert "CREATE DATABASE" not in plan
    norn.run("apply")

    assert oids(norn, app) == {new: ids[old]}
    assert held(norn, app) == {new: "owned"}
    with pytest.raises(psycopg.OperationalError):
        somebody.execute("SELECT 1")
    somebody.close()
    url = norn.env(app)["DATABASE_URL"]
    assert f"/{new}" in url
    assert content(url) == before
    norn.run("apply")
    assert norn.is_ready(app, generation=2)
    env = norn.env(reader)
    assert f"DATABASE_READ_URL_{old.upper()}" not in env
    with psycopg.connect(env[f"DATABASE_READ_URL_{new.upper()}"]) as conn:
        assert conn.execute("SELECT count(*) FROM people").fetchone() == (2000,)
    norn.run("plan", "--check")

    # A copy from before is still the app's own.
    with psycopg.connect(url) as conn:
        conn.execute("DROP TABLE people CASCADE")
    norn.run("restore", copy, "--yes")
    assert content(url) == before
    ((aside, _),) = (one for one in databases(norn, app).items() if one[0] != new)
    (live,) = {oid for called, oid in oids(norn, app).items() if called == new}

    # The change of the spec is undone: its former name means the same data.
    (rollout, *_) = norn.rows(
        "SELECT id FROM deployments WHERE app = %s AND reconciler_generation = 2"
        " ORDER BY started_at",
        app,
    )
    shown = json.loads(norn.run("undo", rollout["id"], "-o", "json"))
    assert f"ALTER DATABASE {new} RENAME TO {old}" in json.dumps(shown)
    norn.run("undo", rollout["id"], "--yes")
    norn.run("apply")
    assert oids(norn, app)[old] == live
    assert databases(norn, app) == {old: True, aside: False}
    assert content(norn.env(app)["DATABASE_URL"]) == before


def test_what_was_undone_is_no_fault_and_the_same_edit_no_way_out_of_it(norn: Here, name) -> None:
    app = name("undone")
    ready(norn, app)
    old, new = database(app), f"{database(app)}_2"
    norn.run("rename", "database", app, new, "--yes")
    norn.run("apply")
    (rollout,) = norn.rows(
        "SELECT id FROM deployments WHERE app = %s AND reconciler_generation = 2", app
    )
    norn.run("undo", rollout["id"], "--yes")
    norn.run("apply", app)
    assert "Nothing to change." in norn.run("plan", app)
    norn.run("rename", "database", app, new, "--yes", code=1)
    assert "says so already, and is not used" in norn.errors
    norn.run("rename", "database", app, old, "--yes", code=1)
    assert "is called" in norn.errors


def test_where_it_cannot_be_done_nothing_is_touched_and_it_is_said(
    norn: Here, name, postgres: PostgresServer
) -> None:
    app, other = name("stays"), name("other")
    url = ready(norn, app)
    ready(norn, other)
    old, new = database(app), f"{database(app)}_2"
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE precious AS SELECT 1 AS n")
    ids = oids(norn, app)
    superuser = psycopg.conninfo.make_conninfo(postgres.superuser_url, dbname="postgres")

    def untouched() -> None:
        assert oids(norn, app) == ids
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT n FROM precious").fetchone() == (1,)

    # Another app's is refused with the file, and with its line.
    norn.run("rename", "database", app, database(other), "--yes", code=1)
    assert "belongs to app" in norn.errors
    assert "renamedFrom" not in (norn.specs / f"{app}.yaml").read_text()
    norn.write(f"{app}.yaml", renamed(app, database(other), old))
    norn.run("apply", code=None)
    assert "belongs to app" in norn.condition(app, "SpecAccepted")["message"]
    untouched()
    # Somebody else's has the new name.
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{new}"')
        norn.write(f"{app}.yaml", renamed(app, new, old))
        norn.run("apply", code=None)
        assert norn.condition(app, "DatabaseReady")["reason"] == "Conflict"
        untouched()
        conn.execute(f'DROP DATABASE "{new}"')
    # Somebody is in it whom norn may not send away.
    with psycopg.connect(superuser, dbname=old):
        norn.run("apply", code=None)
        assert "sessions of postgres stay" in norn.condition(app, "DatabaseReady")["message"]
        untouched()
    # It is somebody else's under the name that it is said to have had.
    norn.write("new.yaml", renamed(stray := name("stray"), f"{stray}_db", database(other)))
    norn.run("apply", code=None)
    assert database(other) in norn.condition(stray, "DatabaseReady")["message"]
    assert oids(norn, stray) == {}, "no empty one"
    (norn.specs / "new.yaml").unlink()
    assert oids(norn, app) == {new: ids[old]}, "and the first one had nothing in its way any more"
    # A superuser was quicker.
    last = f"{new}_3"
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f'ALTER DATABASE "{new}" RENAME TO "{last}"')
    norn.write(f"{app}.yaml", renamed(app, last, new))
    norn.run("apply")
    assert oids(norn, app) == {last: ids[old]}
    assert held(norn, app) == {last: "owned"}
    # It is gone before it has its next name.
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f'DROP DATABASE "{last}"')
    norn.write(f"{app}.yaml", renamed(app, f"{last}_4", last))
    norn.run("apply", code=None)
    assert norn.condition(app, "DatabaseReady")["reason"] == "DataMissing"
    assert oids(norn, app) == {}, "an empty one would look as if the data were lost"


def test_it_has_one_name_and_its_data_whoever_is_killed_over_it(killed: Warm, name) -> None:
    norn = killed
    apps = [name(f"k{n}") for n in range(MOST)]
    for app in apps:
        norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    norn.run("apply")
    seen, died = [""], 0
    for app, place in zip(apps, seen, strict=False):
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE precious AS SELECT generate_series(1, 100) AS n")
        before, new = oids(norn, app), f"{database(app)}_2"
        norn.write(f"{app}.yaml", renamed(app, new, database(app)))
        passed = norn.until(place, "apply")
        died += place in passed
        seen += [p for p in passed if p not in seen]
        norn.run("apply")
        assert oids(norn, app) == {new: before[database(app)]}, place
        assert held(norn, app) == {new: "owned"}, place
        assert norn.is_ready(app, generation=2), place
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT count(*) FROM precious").fetchone() == (100,), place
        norn.run("plan", "--check")
    assert died == len(seen) - 1, (died, seen)
    assert 8 <= died < MOST, seen
