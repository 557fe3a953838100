"""5. A file, a section or a topic is removed: access goes after a grace, data stays; absence of
input is never intent."""

from __future__ import annotations

import json
import shutil

import psycopg
import pytest
import valkey

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import Services


def test_removal_revokes_access_keeps_data_and_the_file_hands_it_back(norn, services, name) -> None:
    app, other = name("leaves"), name("stays")
    norn.write("leaves.yaml", spec(app))
    norn.write("stays.yaml", spec(other))
    with norn.daemon(NORN_GRACE_SECONDS="1") as daemon:
        norn.until_ready(app, other)
        env = norn.env(app)
        session = psycopg.connect(env["DATABASE_URL"], autocommit=True)
        session.execute("CREATE TABLE precious AS SELECT 1 AS n")
        client = valkey.Valkey.from_url(env["VALKEY_URL"])
        client.set(f"{app}:precious", "1")

        (norn.specs / "leaves.yaml").unlink()
        until(lambda: daemon.events("app.removed", app=app), told=norn.story)
        assert services.can_login(app) is False
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        session.close()
        assert services.acl_user(app) is None
        with pytest.raises(valkey.exceptions.ValkeyError):
            client.get(f"{app}:precious")
        client.close()
        assert services.acls(app) == []
        assert app not in services.scram_users()
        assert not (norn.folder / ".norn" / "credentials" / f"{app}.env").exists()
        assert services.owner(database(app)) == app
        assert f"{app}.in" in services.topics()
        states = {
            r["kind"]: r["state"]
            for r in norn.rows("SELECT * FROM reconciler.inventory WHERE app = %s", app)
        }
        assert states["database"] == "retained" and states["topic"] == "retained"
        assert norn.is_ready(other)

        norn.write("leaves.yaml", spec(app))
        norn.until_ready(app)
        env = norn.env(app)
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT n FROM precious").fetchone() == (1,)
        client = valkey.Valkey.from_url(env["VALKEY_URL"])
        assert client.get(f"{app}:precious") == b"1"
        client.close()


def test_a_section_and_a_topic_are_removed_by_themselves(norn, services, name) -> None:
    app = name("shrinks")
    text = spec(app).replace(f"topics: [{app}.in]", f"topics: [{app}.in, other-{app}]")
    norn.write("shrinks.yaml", text)
    with norn.daemon(NORN_GRACE_SECONDS="0.5"):
        norn.until_ready(app)
        norn.write("shrinks.yaml", spec(app, kv=False))
        until(lambda: services.acl_user(app) is None, told=norn.story)
        until(lambda: not any(f"other-{app}" in str(a) for a in services.acls(app)))
        norn.until_ready(app, generation=2)
        assert services.can_login(app) is True
        assert f"other-{app}" in services.topics()
        until(lambda: "VALKEY_URL" not in norn.env(app), told=norn.story)


def test_a_file_that_is_back_within_the_grace_loses_nothing(norn, services, name) -> None:
    """git checkout and rsync unlink before they write."""
    app, other = name("blinks"), name("other")
    norn.write("blinks.yaml", spec(app))
    norn.write("other.yaml", spec(other))
    with norn.daemon(NORN_GRACE_SECONDS="3") as daemon:
        norn.until_ready(app, other)
        (norn.specs / "blinks.yaml").unlink()
        until(lambda: daemon.events("removal.scheduled", app=app), told=norn.story)
        norn.write("blinks.yaml", spec(app))
        # Longer than the grace: what was scheduled must not come after all.
        norn.run("reconcile", app, "--wait")
        with pytest.raises(AssertionError):
            until(lambda: services.can_login(app) is False, 4.5)
        assert not norn.events("object.retained", app)


def test_an_emptied_folder_and_a_vanished_one_hold_all_removals(norn, services, name) -> None:
    app = name("held")
    norn.write("held.yaml", spec(app))
    with norn.daemon(NORN_GRACE_SECONDS="0.2", NORN_SCAN_SECONDS="0.5") as daemon:
        norn.until_ready(app)
        (norn.specs / "held.yaml").unlink()
        until(lambda: daemon.events("removal.held"), told=norn.story)
        shutil.rmtree(norn.specs)
        until(lambda: daemon.events("folder.changed", state="missing"), told=norn.story)
        assert services.can_login(app) is True
        norn.write("held.yaml", spec(app))
        until(lambda: daemon.events("removal.released"), told=norn.story)
        assert services.acl_user(app) is not None


def test_many_apps_at_once_wait_for_confirmation(norn: Norn, services: Services, name) -> None:
    apps = [name(f"many{i}") for i in range(6)]
    for app in apps:
        norn.write(f"{app}.yaml", spec(app, events=False))
    with norn.daemon(NORN_GRACE_SECONDS="0.2") as daemon:
        norn.until_ready(*apps)
        for app in apps[:4]:
            (norn.specs / f"{app}.yaml").unlink()
        until(
            lambda: any(len(e["apps"]) == 4 for e in daemon.events("removal.held")),
            told=norn.story,
        )
        held = daemon.events("removal.held")[-1]
        assert all(services.can_login(a) for a in apps)
        norn.run("confirm", held["digest"])
        until(lambda: not any(services.can_login(a) for a in apps[:4]), told=norn.story)
        assert all(services.can_login(a) for a in apps[4:])


def test_a_moved_file_is_no_removal(norn: Norn, services: Services, name) -> None:
    app, other = name("moves"), name("other")
    norn.write("moves.yaml", spec(app))
    norn.write("other.yaml", spec(other))
    with norn.daemon(NORN_GRACE_SECONDS="0.2"):
        norn.until_ready(app, other)
        (norn.specs / app).mkdir()
        (norn.specs / "moves.yaml").rename(norn.specs / app / "infraspec.yaml")
        until(lambda: (norn.app(app) or {}).get("file") == f"{app}/infraspec.yaml", told=norn.story)
        assert services.can_login(app) is True
        assert not norn.events("object.retained", app)


def test_a_renamed_database_is_a_new_one_and_a_retained_old_one(norn, services, name) -> None:
    app = name("renames")
    norn.write("renames.yaml", spec(app, kv=False, events=False))
    with norn.daemon(NORN_GRACE_SECONDS="0.2"):
        norn.until_ready(app)
        text = spec(app, kv=False, events=False).replace(database(app), f"new_{database(app)}")
        norn.write("renames.yaml", text)
        until(lambda: services.owner(f"new_{database(app)}") == app, told=norn.story)
        until(lambda: norn.events("object.retained", app), told=norn.story)
        norn.until_ready(app, generation=2)
        assert services.owner(database(app)) is not None
        env = norn.env(app)
        assert env["DATABASE_URL"].split("/")[-1].startswith("new_")


def test_forget_pause_and_resume(norn: Norn, services: Services, name) -> None:
    app, other = name("paused"), name("other")
    norn.write("paused.yaml", spec(app, events=False))
    norn.write("other.yaml", spec(other, events=False))
    with norn.daemon(NORN_GRACE_SECONDS="0.2", NORN_RESYNC_SECONDS="0.5") as daemon:
        norn.until_ready(app, other)
        norn.run("pause", app)
        services.sql(f'ALTER ROLE "{app}" CREATEDB')
        services.sql(f'ALTER ROLE "{other}" CREATEDB')
        until(lambda: norn.events("drift.detected", other), told=norn.story)
        assert not norn.events("drift.detected", app)
        norn.run("resume", app)
        until(lambda: norn.events("drift.detected", app), told=norn.story)
        norn.run("forget", app, code=1)
        (norn.specs / "paused.yaml").unlink()
        until(lambda: daemon.events("app.removed", app=app), told=norn.story)
        norn.run("forget", app)
        assert norn.app(app) is None
        assert services.owner(database(app)) == app


def test_without_a_daemon_the_next_apply_does_what_was_confirmed(norn, services, name) -> None:
    app = name("cleared")
    norn.write("cleared.yaml", spec(app, events=False))
    norn.run("apply")
    (norn.specs / "cleared.yaml").unlink()
    held = norn.json("apply", code=1)["held"]
    assert services.can_login(app) is True
    norn.run("confirm", held.split("norn confirm ")[1].split(",")[0])
    told = json.loads(norn.run("apply", "--output", "json", NORN_GRACE_SECONDS="0.2"))
    assert told["converged"] and told["changes"] and not told["held"]
    assert services.can_login(app) is False
    assert services.acl_user(app) is None
    assert norn.json("status")["held"] is None


def test_a_hold_that_another_process_declared_ends_when_the_files_are_back(norn, name) -> None:
    app = name("back")
    norn.write("back.yaml", spec(app, events=False))
    norn.run("apply")
    (norn.specs / "back.yaml").unlink()
    held = norn.json("apply", code=1)["held"]
    assert norn.json("status")["held"].split("norn confirm ")[1] in held
    norn.write("back.yaml", spec(app, events=False))
    norn.run("apply")
    assert norn.json("status")["held"] is None
    norn.run("apply")
    assert [e["event"] for e in norn.events("removal.released")] == ["removal.released"]
