"""(g) What nobody asks for any more: in the trash, back from it, or gone with a copy kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import valkey
from psycopg.conninfo import make_conninfo

from norn_reconciler.snapshots import clients
from tests.acceptance.harness import Daemon, Norn, database, spec, until
from tests.acceptance.killer import AtBoundaries
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.services import Services
from tests.acceptance.test_e_snapshots import FULL, content
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import PostgresServer, Servers

DAYS = {"NORN_TRASH_DAYS": "0.0000001", "NORN_GRACE_SECONDS": "0.1"}


@pytest.fixture
def here(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": postgres.admin_url, "NORN_GRACE_SECONDS": "0.1"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


def on_postgres(app: str, policy: str, more: str = "") -> str:
    return f"deletionPolicy: {policy}\n" + spec(app, kv=False, events=False) + more


def databases(norn: Norn, app: str) -> dict[str, bool]:
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        rows = conn.execute(
            "SELECT datname, datallowconn FROM pg_database"
            " WHERE datname = %(db)s OR starts_with(datname, %(db)s || '.')",
            {"db": database(app)},
        ).fetchall()
    return dict(rows)


def role(norn: Norn, app: str) -> bool | None:
    """Whether it may log in; None: it is gone."""
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
        row = conn.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [app]).fetchone()
    return row[0] if row else None


def last(norn: Norn, app: str) -> dict[str, Any]:
    rows = norn.rows(
        "SELECT * FROM reconciler.operations WHERE app = %s AND kind = 'teardown' ORDER BY id", app
    )
    return rows[-1] if rows else {}


def held(norn: Norn, app: str) -> set[str]:
    return {
        r["name"] for r in norn.rows("SELECT name FROM reconciler.inventory WHERE app = %s", app)
    }


def asked(text: str) -> str:
    """The digest that a person is told to confirm."""
    return re.findall(r"norn confirm ([0-9a-f]+)", text)[0]


def restored(norn: Norn, copy: str, url: str) -> dict[str, Any]:
    """What is in a copy, put into an empty database."""
    import subprocess  # noqa: PLC0415

    path = norn.folder / "snapshots" / copy
    with psycopg.connect(url) as conn:
        client = clients.fitting(conn.info.server_version)
    done = subprocess.run(
        [client.restore, "--no-owner", "--no-privileges", "--dbname", url, str(path)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return content(url)


def test_the_trash_keeps_gives_back_and_lets_go_after_its_grace(here: Here, name) -> None:
    norn, app, other = here, name("waste"), name("other")
    norn.write("other.yaml", spec(other, kv=False, events=False))
    norn.write("waste.yaml", on_postgres(app, "trash"))
    norn.run("apply")
    url, copy_url = norn.env(app)["DATABASE_URL"], norn.env(other)["DATABASE_URL"]
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
    before = content(url)

    (norn.specs / "waste.yaml").unlink()
    norn.run("apply")
    there = databases(norn, app)
    (aside,) = there
    assert aside.startswith(f"{database(app)}.trash.2")
    assert there[aside] is False
    assert role(norn, app) is False
    assert norn.events("object.trashed", app)[0]["fields"]["aside"] == aside
    norn.run("apply")
    assert databases(norn, app) == there, "nothing more before the grace is over"

    norn.write("waste.yaml", on_postgres(app, "trash"))
    shown = norn.run("plan", app)
    assert f"RENAME TO {database(app)}" in shown
    assert "on their way out" not in shown, "what comes back stays"
    norn.run("apply")
    assert databases(norn, app) == {database(app): True}
    assert norn.is_ready(app)
    assert content(norn.env(app)["DATABASE_URL"]) == before, "it is what it was"
    assert not norn.condition(app, "TornDown"), "nothing of it is in the trash any more"
    norn.run("plan", "--check")

    (norn.specs / "waste.yaml").unlink()
    norn.run("apply")
    norn.run("apply", **DAYS)
    assert databases(norn, app) == {}
    assert role(norn, app) is None
    assert held(norn, app) == set()
    (gone,) = norn.events("object.destroyed", app)
    copy = gone["fields"]["snapshot"]
    assert copy.startswith(f"{database(app)}_")
    (state,) = norn.rows("SELECT * FROM forge_states WHERE app = %s", app)
    assert state["status"] == "unforged"
    assert restored(norn, copy, copy_url)["public.people"] == before["public.people"]
    norn.write("waste.yaml", on_postgres(app, "retain"))
    norn.run("apply")
    assert norn.is_ready(app), "the name is free"


def test_delete_copes_with_what_an_owner_does_and_says_what_it_can_not(
    here: Here, name, postgres: PostgresServer
) -> None:
    norn, app, host = here, name("mean"), name("host")
    norn.write("host.yaml", spec(host, kv=False, events=False))
    norn.write("mean.yaml", on_postgres(app, "delete", f"    readers: [{host}]\n"))
    norn.run("apply")
    url, hosts = norn.env(app)["DATABASE_URL"], norn.env(host)["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(FULL)
        conn.execute(f"ALTER DATABASE {database(app)} IS_TEMPLATE true")
        conn.execute(f"ALTER DATABASE {database(app)} SET search_path = evil, pg_catalog")
    superuser = make_conninfo(postgres.superuser_url, dbname=database(host))
    with psycopg.connect(hosts, autocommit=True) as conn:
        conn.execute("CREATE TABLE lent (n int)")
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f'GRANT SELECT ON lent TO "{app}"')
        conn.execute(f'CREATE TABLE theirs (n int); ALTER TABLE theirs OWNER TO "{app}"')
        conn.execute("INSERT INTO theirs VALUES (1)")
    stays = psycopg.connect(url)
    stays.execute("SELECT 1")

    (norn.specs / "mean.yaml").unlink()
    norn.run("apply", code=None)
    stays.close()
    ended = last(norn, app)
    assert databases(norn, app) == {}, ended
    assert ended["state"] == "failed"
    assert f"1 in {database(host)}" in ended["result"], "what it owns elsewhere is not dropped"
    assert role(norn, app) is False
    with psycopg.connect(superuser, autocommit=True) as conn:
        assert conn.execute("SELECT n FROM theirs").fetchall() == [(1,)]
        conn.execute(f'ALTER TABLE theirs OWNER TO "{host}"')
    norn.run("apply")
    assert last(norn, app)["state"] == "done", last(norn, app)
    assert role(norn, app) is None
    assert held(norn, app) == set()
    (gone,) = norn.events("object.destroyed", app)
    assert gone["fields"]["snapshot"].startswith(f"{database(app)}_")
    assert norn.is_ready(host)


def test_what_holds_a_database_or_can_not_be_copied_keeps_it(
    here: Here, name, postgres: PostgresServer
) -> None:
    norn, app = here, name("stuck")
    norn.write("stays.yaml", spec(name("stays"), kv=False, events=False))
    norn.write("stuck.yaml", on_postgres(app, "delete"))
    norn.run("apply")
    superuser = make_conninfo(postgres.superuser_url, dbname=database(app))
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute("CREATE TABLE hers (n int); REVOKE ALL ON hers FROM PUBLIC")
    (norn.specs / "stuck.yaml").unlink()
    norn.run("apply", code=None)
    ended = last(norn, app)
    assert ended["state"] == "failed"
    assert "public.hers belongs to" in ended["result"]
    assert databases(norn, app) == {database(app): False}, "kept, and shut again"
    assert role(norn, app) is False
    with psycopg.connect(make_conninfo(postgres.superuser_url, dbname="postgres")) as conn:
        conn.autocommit = True
        conn.execute(f"ALTER DATABASE {database(app)} ALLOW_CONNECTIONS true")
        with psycopg.connect(superuser, autocommit=True) as inside:
            inside.execute("DROP TABLE hers")
        conn.execute(f"ALTER DATABASE {database(app)} ALLOW_CONNECTIONS false")
    norn.run("apply")
    assert databases(norn, app) == {}
    assert role(norn, app) is None


def test_topics_and_keys_go_without_a_copy_and_adopted_ones_never(
    norn: Warm, services: Services, name
) -> None:
    app, kept = name("three"), name("kept")
    topic = f"{name('data')}.old"
    services.kafka.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    norn.write("stays.yaml", spec(name("stays"), postgres=False, kv=False))
    norn.write("three.yaml", "deletionPolicy: delete\n" + spec(app))
    text = f"deletionPolicy: delete\napp: {kept}\nrole: worker\nservices:\n"
    norn.write("kept.yaml", text + f"  events: {{topics: [{topic}]}}\n")
    norn.run("apply", code=None)
    norn.run("adopt", kept, "--yes")
    norn.run("apply")
    client = valkey.Valkey.from_url(norn.env(app)["REDIS_URL"])
    for number in range(2500):
        client.set(f"{app}:{number}", "x")
    client.select(3)
    client.set(f"{app}:in-three", "x")
    services.valkey.set(f"{app}x:mine", "stays")
    (norn.specs / "three.yaml").unlink()
    (norn.specs / "kept.yaml").unlink()
    norn.run("apply", NORN_GRACE_SECONDS="0.1", NORN_REMOVAL_MAX_APPS="9")
    gone = {e["fields"]["kind"]: e for e in norn.events("object.destroyed", app)}
    assert gone.keys() == {"database", "topic", "namespace"}
    assert "2501 keys" in gone["namespace"]["message"]
    assert "no copy" in gone["topic"]["message"]
    assert gone["database"]["fields"]["snapshot"]
    assert f"{app}.in" not in services.topics()
    assert topic in services.topics(), "adopted"
    assert not services.valkey.keys(f"{app}:*")
    assert services.valkey.get(f"{app}x:mine") == "stays"
    assert held(norn, app) == set()
    assert topic in held(norn, kept)


def test_too_much_at_once_waits_for_a_person(here: Here, name) -> None:
    norn, apps = here, [name(f"many{n}") for n in range(5)]
    norn.write("stays.yaml", spec(name("stays"), kv=False, events=False))
    for app in apps:
        norn.write(f"{app}.yaml", on_postgres(app, "delete"))
    norn.run("apply")
    for app in apps:
        (norn.specs / f"{app}.yaml").unlink()
    roomy = {"NORN_REMOVAL_MAX_APPS": "1"}
    held_back = norn.ended("apply", **roomy)
    digest = asked(held_back.stderr)
    norn.run("confirm", digest)
    held_back = norn.ended("apply", **roomy)
    assert all(databases(norn, app) for app in apps), "access is closed, and the data are there"
    status = norn.run("status", code=None)
    assert "due to go" in status
    digest = asked(status.split("due to go")[1])
    norn.run("confirm", digest)
    norn.run("apply", **roomy)
    norn.run("apply", **roomy)
    assert not any(databases(norn, app) for app in apps)


# Of 18 that there are on the way (10 steps, 8 records) every second: each takes a restart.
PLACES = (
    *(f"work-teardown: after update_operation {step}" for step in (1, 2, 4, 7, 9)),
    *(f"work-teardown: after record {step}" for step in (2, 3, 5, 6)),
)


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    settings = {
        "NORN_GRACE_SECONDS": "0.1",
        "NORN_REMOVAL_MAX_PERCENT": "100",
    }
    with warm_on_postgres(servers, tmp_path / "norn", **settings) as norn:
        yield norn


def test_killed_at_each_step_nothing_goes_without_its_copy(killed: Warm, name) -> None:
    norn, copies = killed, name("copies")
    order = norn.folder / "order"
    judge = AtBoundaries(type("World", (), {"order": order})())  # type: ignore[arg-type]

    def next_daemon() -> Daemon:
        # To the trash, and out of it at once: both are one chain of steps.
        daemon = norn.start(order, NORN_TRASH_DAYS="0")
        until(lambda: daemon.events("lease.acquired"), told=daemon.log.read_text)
        return daemon

    norn.write("copies.yaml", spec(copies, kv=False, events=False))
    daemon = next_daemon()
    struck = 0
    for count, place in enumerate(PLACES):
        app = name(f"gone{count}")
        norn.write(f"{app}.yaml", on_postgres(app, ("trash", "delete")[count % 2]))
        norn.until_ready(app)
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE precious AS SELECT %s::int AS n", [count])
        judge.order(place)
        (norn.specs / f"{app}.yaml").unlink()
        until(lambda: norn.daemons[-1].process.poll() is not None or over(norn), 30)
        if norn.daemons[-1].process.poll() is not None:
            assert judge.struck(place), place
            struck += 1
            daemon = next_daemon()
        judge.cancel()
        until(lambda: over(norn), 30, told=norn.story)
        assert role(norn, app) is None, place
        assert held(norn, app) == set(), place
        assert databases(norn, app) == {}, place
        rows = norn.rows("SELECT name FROM reconciler.snapshots WHERE app = %s", app)
        (gone,) = norn.events("object.destroyed", app)
        assert gone["fields"]["snapshot"] in {row["name"] for row in rows}, place
        (state,) = norn.rows("SELECT status FROM forge_states WHERE app = %s", app)
        assert state["status"] == "unforged", place
    assert struck >= len(PLACES) - 2, struck
    url = norn.env(copies)["DATABASE_URL"]
    for count in (0, len(PLACES) - 1):
        (gone,) = norn.events("object.destroyed", name(f"gone{count}"))
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("DROP TABLE IF EXISTS precious")
        restored(norn, gone["fields"]["snapshot"], url)
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT n FROM precious").fetchall() == [(count,)]
    assert daemon.stop() == 0


def over(norn: Norn) -> bool:
    """Nothing is asked for any more, and of removed apps nothing is left."""
    pending = norn.rows("SELECT 1 FROM reconciler.operations WHERE state IN ('queued', 'running')")
    left = norn.rows(
        "SELECT 1 FROM reconciler.apps WHERE file NOT LIKE 'copies%%' AND"
        " (state = 'active' OR app IN (SELECT app FROM reconciler.inventory))"
    )
    return not pending and not left
