"""(g) More of what becomes of data that no file asks for: whose word counts, what stands in the way
and how that is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.harness import database, spec
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.test_g_teardown import databases, held, last, on_postgres, role
from tests.servers import Servers


def here_on(admin_url: str, servers: Servers, tmp_path: Path) -> Any:
    settings = {"NORN_POSTGRES_URL": admin_url, "NORN_GRACE_SECONDS": "0.1"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    return folder_on(shared, own, tmp_path / "norn", settings)


@pytest.fixture
def norn(servers: Servers, tmp_path: Path, name: Any) -> Iterator[Here]:
    with here_on(servers.postgres_admin_url, servers, tmp_path) as norn:
        norn.write("stays.yaml", spec(name("stays"), postgres=False, kv=False, events=False))
        yield norn


def torn(norn: Here, app: str) -> tuple[str, str, str]:
    """The condition: its status, reason and message."""
    shown = json.loads(norn.run("describe", app, "-o", "json", code=None))
    found = next(c for c in shown["conditions"] if c["type"] == "TornDown")
    return found["status"], found["reason"], found["message"]


def forged(norn: Here, app: str) -> str:
    (state,) = norn.rows("SELECT status FROM forge_states WHERE app = %s", app)
    return str(state["status"])


def test_the_word_that_counts_is_the_one_that_held_when_it_was_shut(norn: Here, name) -> None:
    app = name("moved")

    def wish(policy: str, number: int) -> None:
        text = on_postgres(app, policy).replace(database(app), f"{database(app)}.{number}")
        norn.write("moved.yaml", text.replace(".", "_"))
        norn.run("apply")
        norn.run("apply")

    def there() -> list[str]:
        with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
            like = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1"
            return [row[0][-1] for row in conn.execute(like, [database(app)]).fetchall()]

    wish("delete", 1)
    wish("retain", 2)
    assert there() == ["2"], "the new word comes with the new name"
    wish("delete", 3)
    assert there() == ["2", "3"]
    wish("delete", 4)
    assert there() == ["2", "4"], "what was shut under retain stays, whatever is said later"
    assert role(norn, app) is True


def test_what_a_restore_put_aside_goes_after_its_time_and_the_live_one_stays(
    norn: Here, name
) -> None:
    app = name("aside")
    norn.write("aside.yaml", spec(app, kv=False, events=False))
    norn.run("apply")
    copy = json.loads(norn.run("snapshot", "create", app, "-o", "json"))["snapshot"]
    norn.run("restore", copy, "--yes")
    norn.run("apply")
    assert len(databases(norn, app)) == 2, "its time is not over"
    norn.run("apply", NORN_TRASH_DAYS="0")
    assert databases(norn, app) == {database(app): True}
    (gone,) = norn.events("object.destroyed", app)
    assert gone["fields"]["snapshot"], "with a copy, whatever the policy"
    asked = last(norn, app)["id"]
    norn.run("apply", NORN_TRASH_DAYS="0")
    assert last(norn, app)["id"] == asked, "and is asked for once"
    assert norn.is_ready(app)


def test_an_owner_that_shut_itself_out_is_copied_all_the_same(norn: Here, name) -> None:
    app = name("shut")
    norn.write("shut.yaml", on_postgres(app, "delete"))
    norn.run("apply")
    with psycopg.connect(norn.env(app)["DATABASE_URL"], autocommit=True) as conn:
        conn.execute(f'REVOKE ALL ON DATABASE {database(app)} FROM "{app}"')
        conn.execute(f"ALTER DATABASE {database(app)} CONNECTION LIMIT 0")
    (norn.specs / "shut.yaml").unlink()
    (end,) = json.loads(norn.run("plan", "-o", "json"))["ends"]
    assert (end["name"], end["policy"], end["becomes"]) == (database(app), "delete", "gone")
    assert "gone at once, a copy is kept" in " ".join(norn.run("plan").split())
    norn.run("apply")
    assert last(norn, app)["state"] == "done", last(norn, app)["result"]
    assert databases(norn, app) == {}
    assert held(norn, app) == set()
    (gone,) = norn.events("object.destroyed", app)
    assert gone["fields"]["snapshot"]


def test_what_stands_in_the_way_is_told_for_as_long_as_it_does(
    servers: Servers, tmp_path: Path, name
) -> None:
    """Of a prepared transaction and a logical slot: the server for 15 is set up to take them."""
    server = servers.postgres("15")
    if server is None:
        pytest.skip("there is no PostgreSQL 15 (apt-get install postgresql-15)")
    app = name("stuck")
    slot, inside = app.replace("-", "_"), make_conninfo(server.superuser_url, dbname=database(app))
    with here_on(server.admin_url, servers, tmp_path) as norn:
        norn.write("stays.yaml", spec(name("stays"), postgres=False, kv=False, events=False))
        norn.write("stuck.yaml", on_postgres(app, "trash"))
        norn.run("apply")
        with psycopg.connect(inside, autocommit=True) as conn:
            conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE prepared (n int)")
            conn.execute(f"PREPARE TRANSACTION '{app}'")
        (norn.specs / "stuck.yaml").unlink()
        norn.run("apply")
        status, reason, text = torn(norn, app)
        assert (status, reason) == ("False", "Blocked")
        assert f"prepared transactions hold {database(app)}" in text
        assert "COMMIT PREPARED" in norn.run("status", app)
        assert forged(norn, app) == "forge_failed"
        assert list(databases(norn, app)) == [database(app)]

        with psycopg.connect(inside, autocommit=True) as conn:
            conn.execute(f"ROLLBACK PREPARED '{app}'")
        norn.run("apply")
        assert f"replication slot {slot}" in torn(norn, app)[2], "that goes with it, but not this"
        assert list(databases(norn, app)) == [database(app)]

        with psycopg.connect(server.superuser_url, autocommit=True) as conn:
            conn.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        norn.run("apply")
        (aside,) = databases(norn, app)
        assert torn(norn, app)[:2] == ("False", "InTrash")
        assert aside in norn.run("status", app)
        assert role(norn, app) is False
        norn.run("apply", NORN_TRASH_DAYS="0")
        assert torn(norn, app)[:2] == ("True", "Gone")
        assert forged(norn, app) == "unforged"
        assert databases(norn, app) == {}
        assert held(norn, app) == set()
        # A file that is back has nothing to do with what is told of the past.
        norn.write("stuck.yaml", on_postgres(app, "retain"))
        norn.run("apply")
        assert "TornDown" not in norn.run("describe", app)
