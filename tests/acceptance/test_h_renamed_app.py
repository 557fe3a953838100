"""(h) An app is called something else: it keeps its data on all services, and its users are made
anew under the new name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import valkey

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.norn_here import working_folder
from tests.acceptance.services import Services
from tests.acceptance.test_9_readers import first, operations, produce
from tests.acceptance.test_e_snapshots import FULL, content
from tests.acceptance.test_f_migrate import counted, migrating
from tests.acceptance.test_h_rename import oids
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

MOST = 24


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    more = {"NORN_GRACE_SECONDS": "0", "NORN_REMOVAL_MAX_APPS": "1000"}
    with warm_on_postgres(servers, tmp_path / "norn", **more) as norn:
        yield norn


@pytest.fixture
def norn(servers: Servers, tmp_path: Path) -> Iterator[Norn]:
    with working_folder(servers, tmp_path / "norn") as here:
        yield Norn(here.folder, here.settings, here.norn_db)


def by_another(seen: dict[str, Any], was: str, app: str) -> dict[str, Any]:
    """The same content where what `was` owned, or could do, is `app`'s."""
    return {**seen, "schema": [line.replace(f'"{was}', f'"{app}') for line in seen["schema"]]}


def called(app: str, was: str, text: str) -> str:
    """The same spec under another name; databases, keys and topics as they are."""
    return text.replace(f"app: {was}\n", f"app: {app}\nrenamedFrom: {was}\n")


def wish(app: str, topic: str, reader: str) -> str:
    text = spec(app).replace(f"{app}.in", topic)
    text = text.replace("  kv:", f"    readers: [{reader}]\n  kv:")
    return (
        text + "migrations: {command: 'exit 1', revision: '1', database: " + database(app) + "}\n"
    )


def test_it_keeps_all_that_it_has_and_the_former_users_go(
    norn: Norn, services: Services, name
) -> None:
    old, new, reader, topic = name("before"), name("after"), name("reader"), name("orders")
    norn.write("app.yaml", wish(old, topic, reader))
    norn.write("reader.yaml", spec(reader, kv=False, events=False))
    objects = "SELECT server_id FROM reconciler.inventory WHERE app = %s AND server_id IS NOT NULL"
    with norn.daemon(NORN_GRACE_SECONDS="1"):
        norn.until_ready(old, reader)
        env = norn.env(old)
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            conn.execute(FULL)
        before = by_another(content(env["DATABASE_URL"]), old, new)
        copy = norn.json("snapshot", "create", old)["snapshot"]
        with valkey.Valkey.from_url(env["VALKEY_URL"], decode_responses=True) as client:
            client.set(f"{old}:kept", "here")
        produce(env, topic)
        known = norn.rows(objects, old)
        inside = psycopg.connect(env["DATABASE_URL"], autocommit=True)

        said = norn.run("rename", "app", old, new, "--yes")
        assert f'ALTER ROLE "{old}" RENAME TO "{new}"' in said
        norn.until_ready(new)
        now = norn.env(new)
        assert content(now["DATABASE_URL"]) == before
        with psycopg.connect(now["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (new,)
            conn.execute("ALTER TABLE people ADD COLUMN since_then int")
        assert inside.execute("SELECT 1").fetchone() == (1,), "who was in it stays"
        inside.close()
        with valkey.Valkey.from_url(now["VALKEY_URL"], decode_responses=True) as client:
            assert client.get(f"{old}:kept") == "here"
        assert first(now, topic) == b"x"
        assert sorted(map(str, norn.rows(objects, new))) == sorted(map(str, known))
        (told,) = norn.events("app.renamed", new)
        assert told["fields"]["from"] == old
        # Its readers read it, and its copies are its own.
        reads = norn.env(reader)[f"DATABASE_READ_URL_{database(old).upper()}"]
        with psycopg.connect(reads) as conn:
            assert conn.execute("SELECT count(*) FROM people").fetchone() == (2000,)
        norn.run("restore", copy, "--yes", "--no-privileges")  # it grants to its former readers
        norn.until_ready(new)
        again = {k: v for k, v in content(now["DATABASE_URL"]).items() if k != "schema"}
        assert again == {k: v for k, v in before.items() if k != "schema"}
        gone(norn, services, old, topic)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(env["DATABASE_URL"])
        for wrong in ("drift.detected", "isolation.failed", "problem.found"):
            assert norn.events(wrong) == [], wrong
    norn.run("plan", "--check")
    said = norn.json("history", new)
    assert f"{old} is {new} from now on" in str(said)
    (rollout, *_) = norn.rows("SELECT id FROM deployments WHERE app = %s ORDER BY started_at", new)
    assert f"norn rename app {new} {old}" in norn.ended("undo", rollout["id"]).stderr


def gone(norn: Norn, services: Services, app: str, topic: str) -> None:
    """Nothing is left of what it was."""
    until(lambda: (norn.app(app) or {}).get("state") == "removed", told=norn.story)
    assert services.can_login(app) is None
    assert services.acl_user(app) is None
    assert operations(services, app, topic) == set()
    assert not (norn.folder / "env" / f"{app}.env").exists()
    assert norn.rows("SELECT * FROM reconciler.inventory WHERE app = %s", app) == []


@pytest.fixture
def migrates(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    more = {"NORN_GRACE_SECONDS": "0", "NORN_MIGRATIONS": "on"}
    if os.geteuid() == 0:
        more["NORN_COMMANDS_USER"] = "nobody"
    with warm_on_postgres(servers, tmp_path / "norn", **more) as norn:
        yield norn


def test_what_was_done_stays_done_and_what_it_was_called_may_be_anothers(
    migrates: Warm, name, mark: Path
) -> None:
    norn, one, other, third = migrates, name("one"), name("other"), name("third")
    wishes = {app: migrating(app, f"echo ran >> {mark}", "1") for app in (one, other)}
    for app, wished in wishes.items():
        norn.write(f"{app}.yaml", wished)
    norn.run("apply")
    for app in wishes:
        norn.run("migrate", app)
    assert counted(mark) == ["ran", "ran"]
    before = {app: oids(norn, app) for app in wishes}
    norn.write(f"{one}.yaml", called(third, one, wishes[one]))
    norn.write(f"{other}.yaml", called(one, other, wishes[other]))
    norn.run("apply", code=1)
    assert {app: oids(norn, app) for app in wishes} == before, "one name at a time"
    refused = " ".join(norn.json("status")["refused"])
    assert f"{third} is {one} by a new name, but {other}.yaml is about {one} still" in refused
    assert f"belongs to app {other}" in refused
    norn.write(f"{other}.yaml", wishes[other])
    with norn.daemon():
        norn.until_ready(third, seconds=40)
        until(lambda: (norn.app(one) or {}).get("state") == "removed", told=norn.story)
        norn.write(f"{other}.yaml", called(one, other, wishes[other]))
        until(lambda: (norn.app(other) or {}).get("state") == "removed", 40, told=norn.story)
        until(lambda: not norn.condition(one, "MigrationPending"), told=norn.story)
    norn.run("plan", "--check")
    assert oids(norn, third) == before[one]
    assert oids(norn, one) == before[other]
    assert counted(mark) == ["ran", "ran"], "not a second time"


def test_while_it_waits_nothing_empty_is_made_and_what_it_had_goes_on(killed: Warm, name) -> None:
    """Also where nothing of it is called what it was: no name is in the way then."""
    norn, old, new = killed, name("waits"), name("follows")
    text = spec(old, kv=False, events=False)
    norn.write("app.yaml", text)
    norn.run("apply")
    with psycopg.connect(norn.env(old)["DATABASE_URL"]) as conn:
        conn.execute("CREATE TABLE precious AS SELECT generate_series(1, 100) AS n")
    before = list(oids(norn, old).values())
    moved = called(new, old, text).replace(
        f"database: {database(old)}",
        f"database: {database(new)}\n    renamedFrom: {database(old)}",
    )
    norn.write("app.yaml", moved)
    norn.write("broken.yaml", "services: [")
    norn.run("apply", code=1)
    assert norn.rows("SELECT * FROM reconciler.inventory WHERE app = %s", new) == []
    assert list(oids(norn, old).values()) == before
    with psycopg.connect(norn.env(old)["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT count(*) FROM precious").fetchone() == (100,)
    assert any("broken.yaml is broken" in said for said in norn.json("status")["refused"])
    (norn.folder / "specs" / "broken.yaml").unlink()
    norn.run("apply")
    assert list(oids(norn, new).values()) == before
    with psycopg.connect(norn.env(new)["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT count(*) FROM precious").fetchone() == (100,)
        assert conn.info.dbname == database(new)
    # And back: a person thought better of it.
    norn.write("app.yaml", text.replace("role:", f"renamedFrom: {new}\nrole:", 1))
    norn.run("apply")
    assert list(oids(norn, old).values()) == before
    with psycopg.connect(norn.env(old)["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT count(*) FROM precious").fetchone() == (100,)
    norn.run("plan", "--check")


def test_it_has_one_role_and_its_data_whoever_is_killed_over_it(killed: Warm, name) -> None:
    norn = killed
    reader = name("reader")
    norn.write("reader.yaml", spec(reader, kv=False, events=False))
    apps = [name(f"k{n}") for n in range(MOST)]
    wish = {a: spec(a, kv=False, events=False) + f"    readers: [{reader}]\n" for a in apps}
    for app in apps:
        norn.write(f"{app}.yaml", wish[app])
    norn.run("apply")
    seen, died = [""], 0
    for app, place in zip(apps, seen, strict=False):
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE precious AS SELECT generate_series(1, 100) AS n")
        before, new = oids(norn, app), f"{app}-new"
        norn.write(f"{app}.yaml", called(new, app, wish[app]))
        passed = norn.until(place, "apply")
        died += place in passed
        seen += [p for p in passed if p not in seen]
        norn.run("apply")
        assert oids(norn, new) == before, place
        assert norn.is_ready(new), place
        with psycopg.connect(norn.env(new)["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT count(*) FROM precious").fetchone() == (100,), place
        kept = norn.rows("SELECT kind, name, state FROM reconciler.inventory WHERE app = %s", new)
        assert {(r["kind"], r["name"], r["state"]) for r in kept} == {
            ("role", new, "owned"),
            ("group", f"{new}.readers", "owned"),
            ("database", database(app), "owned"),
        }, place
        assert norn.rows("SELECT 1 FROM reconciler.inventory WHERE app = %s", app) == [], place
        with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], dbname="postgres") as conn:
            left = conn.execute(
                "SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)", [app, f"{app}.readers"]
            ).fetchall()
        assert left == [], place
        norn.run("plan", "--check")
    assert died == len(seen) - 1, (died, seen)
    assert 8 <= died < MOST, seen
