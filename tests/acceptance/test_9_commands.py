"""What the commands say, and their exit codes: a person or a CI job goes by these alone."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import Norn, database, spec
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers


@pytest.fixture
def norn(tmp_path: Path, servers: Servers, fresh_norn_db: str) -> Warm:
    """Without a broker: what is told here does not depend on one."""
    (tmp_path / "specs").mkdir()
    settings = {
        "NORN_POSTGRES_URL": servers.postgres_admin_url,
        "NORN_VALKEY_URL": servers.valkey_url,
    }
    return Warm(tmp_path, settings, fresh_norn_db)


def small(app: str) -> str:
    """One thing on one service, made in a moment."""
    return spec(app, postgres=False, events=False)


@pytest.mark.parametrize(
    ("revision", "words"), [("0001", "0001 is older than"), ("7777", "7777 is newer than")]
)
def test_a_norn_db_of_another_version_is_not_an_empty_one(norn, name, revision, words) -> None:
    app = name("owned")
    norn.write("owned.yaml", small(app))
    assert "create" in norn.run("plan"), "no table of ours at all: it knows nothing"
    norn.run("apply")
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        if revision == "0001":
            conn.execute("ALTER TABLE reconciler.meta DROP COLUMN held")
        conn.execute("UPDATE reconciler.alembic_version SET version_num = %s", (revision,))
    for command in (("plan",), ("plan", app), ("env", app, "--reveal"), ("adopt", app)):
        done = norn.ended(*command)
        assert done.returncode == 1 and words in done.stderr, command
        assert done.stdout == "", command


def test_tables_without_a_version_are_not_nothing(norn, name) -> None:
    norn.write("owned.yaml", small(name("owned")))
    norn.run("apply")
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        conn.execute("DROP TABLE reconciler.alembic_version")
    done = norn.ended("plan")
    assert done.returncode == 1 and "no word of their version" in done.stderr


def test_a_plan_tells_what_is_held(norn: Norn, name) -> None:
    apps = [name(f"held{i}") for i in range(5)]
    for app in apps:
        norn.write(f"{app}.yaml", small(app))
    norn.run("apply")
    assert norn.json("plan", "--check")["held"] is None
    for app in apps[1:]:
        (norn.specs / f"{app}.yaml").unlink()
    out = norn.run("plan", code=1)
    assert "4 of 5 apps vanished" in out and "Nothing to change." not in out
    held = norn.json("plan", "--check", code=1)["held"]
    digest = held.split()[-1]
    assert norn.json("apply", code=1)["held"] == held, "the same words everywhere"
    assert norn.json("status")["held"] == held
    norn.run("plan", apps[0], "--check")  # it is not about this app
    norn.write(f"{apps[0]}.yaml", f"app: {apps[0]}\nrole: worker\nservices: {{}}\n")
    shown = norn.json("plan", code=1)
    assert shown["changes"] == 0
    waits = [a["waits"] for a in shown["apps"][apps[0]]]
    assert waits and set(waits) == {"held"}
    assert "nothing waits for 0123456789ab" in norn.ended("confirm", "0123456789ab").stderr
    assert "Noted" in norn.run("confirm", digest)


def test_a_plan_tells_what_waits_for_the_grace_and_what_is_paused(norn: Norn, name) -> None:
    going, paused = name("going"), name("paused")
    for app in (going, paused):
        norn.write(f"{app}.yaml", small(app))
    norn.run("apply")
    norn.run("pause", paused)
    norn.run("apply")
    (norn.specs / f"{going}.yaml").unlink()
    norn.write(f"{paused}.yaml", f"app: {paused}\nrole: worker\nservices: {{}}\n")
    shown = norn.json("plan", "--check", code=3)
    assert {a["waits"] for a in shown["apps"][going]} == {"grace"}
    assert {a["waits"] for a in shown["apps"][paused]} == {"paused"}
    assert shown["changes"] == len(shown["apps"][going])


def test_a_plan_tells_what_to_type_for_a_lost_database(norn: Norn, services, name) -> None:
    app = name("lost")
    norn.write("lost.yaml", spec(app, kv=False, events=False))
    norn.run("apply")
    services.sql(f'DROP DATABASE "{database(app)}"')
    done = norn.ended("plan", "--check")
    assert done.returncode == 1 and "Nothing to change." not in done.stdout
    shown = norn.json("plan", code=1)
    (problem,) = [p for p in shown["problems"] if p["reason"] == "DataMissing"]
    digest = problem["remedy"].split("norn confirm ")[1].split()[0]
    assert f"norn confirm {digest}" in done.stdout
    applied = norn.json("apply", app, code=1)["apps"][app]
    assert not applied["ready"] and digest in applied["message"]
    assert "No daemon is running" in norn.run("confirm", digest)
    norn.run("apply")
    assert norn.is_ready(app)


def test_broken_files_are_part_of_a_plan_and_of_an_apply(norn: Norn, name) -> None:
    good, bad = name("good"), name("bad")
    norn.write("good.yaml", small(good))
    norn.write("bad.yaml", f"app: {bad}\nrole: worker\nservices: [\n")
    assert {f["file"] for f in norn.json("plan", code=1)["findings"]} == {"bad.yaml"}
    assert norn.ended("plan").stderr.count("bad.yaml") == 1, "said once, not logged as well"
    assert norn.json("plan", "--check", code=3)["changes"] > 0, "a fault hides no change"
    norn.json("plan", good, "--check", code=3)
    done = norn.ended("apply", good)
    assert done.returncode == 0 and "warning: bad.yaml" in done.stderr
    shown = norn.json("apply", good)
    assert shown["converged"] and shown["held"] is None
    assert shown["findings"][0]["file"] == "bad.yaml"
    shown = norn.json("apply", code=1)
    assert not shown["converged"] and shown["apps"][good]["ready"]
    norn.write("good.yaml", f"app: {good}\nrole: worker\nservices: [\n")
    norn.write("bad.yaml", small(bad))
    assert not norn.json("apply", good, code=1)["converged"], "its own file is not used"
    norn.json("apply", bad)


def test_an_app_that_failed_says_why(norn: Norn, name) -> None:
    app = name("failed")
    norn.write("failed.yaml", small(app))
    norn.run("apply")
    norn.settings = {**norn.settings, "NORN_VALKEY_URL": "valkey://default:x@127.0.0.1:1"}
    shown = norn.json("apply", app, code=1)["apps"][app]
    assert not shown["ready"] and "127.0.0.1:1" in shown["message"]


def test_requests_that_no_writer_could_do_are_refused_at_once(norn: Norn, name) -> None:
    app = name("known")
    norn.write("known.yaml", small(app))
    norn.run("apply")
    for command in ("reconcile", "pause", "resume", "forget", "rotate"):
        done = norn.ended(command, "nosuch")
        assert done.returncode == 1 and "no app nosuch is known" in done.stderr, command
    done = norn.ended("confirm", "deadbeefdead")
    assert done.returncode == 1 and "nothing waits for deadbeefdead" in done.stderr
    assert norn.rows("SELECT * FROM reconciler.operations") == []
    done = norn.ended("reconcile", app, "--wait")
    assert done.returncode == 1 and "No daemon is running" in done.stderr
    assert "No daemon is running" in norn.run("reconcile", app)
    new = name("new")
    norn.write("new.yaml", small(new))
    assert "Noted" in norn.run("pause", new), "the next writer will know it"
    pending = norn.json("status")["operations"]
    assert [(o["kind"], o["app"], o["state"]) for o in pending] == [
        ("reconcile", app, "queued"), ("reconcile", app, "queued"), ("pause", new, "queued")
    ]  # fmt: skip
    assert "queued" in norn.run("status")
    norn.run("apply")
    assert norn.json("status")["operations"] == []
    last = norn.json("describe", app)["operations"][0]
    assert last["state"] == "done" and "converged" in last["result"]
    assert f"{app} is converged" in norn.run("describe", app)


def test_a_rotation_is_followed_until_it_is_delivered(norn: Norn, name) -> None:
    app = name("rotated")
    norn.write("rotated.yaml", small(app))
    norn.run("apply")
    before = norn.env(app)["VALKEY_URL"]
    with norn.daemon():
        norn.until_ready(app)
        assert "delivered" in norn.run("rotate", app)
        assert norn.env(app)["VALKEY_URL"] != before
        assert norn.json("status")["leader"]
    norn.run("rotate", app)
    before = norn.env(app)["VALKEY_URL"]
    norn.run("apply")
    assert norn.env(app)["VALKEY_URL"] != before
    assert norn.json("describe", app)["operations"][0]["state"] == "done"


def test_a_rotation_that_no_server_takes_fails(norn: Norn, name) -> None:
    app = name("unrotated")
    norn.write("unrotated.yaml", small(app))
    norn.run("apply")
    with norn.daemon(NORN_VALKEY_URL="valkey://default:x@127.0.0.1:1"):
        done = norn.ended("rotate", app)
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr


def test_what_is_printed_for_programs_is_json_and_nothing_else(norn: Norn, services, name) -> None:
    app = name("taken")
    services.valkey.execute_command("ACL", "SETUSER", app, "on", ">secret", "~x:*", "+get")
    norn.write("taken.yaml", small(app))
    norn.run("db", "upgrade")
    done = norn.ended("adopt", app, "--yes", "-o", "json")
    shown = json.loads(done.stdout)
    assert shown["digest"] and shown["steps"][0]["action"] == "adopt"
    assert "Noted" in done.stderr
    norn.run("apply", code=None)
    found = norn.ended("adopt", app, "--yes", "-o", "json")
    assert json.loads(found.stdout)["steps"] == [] and "Nothing of" in found.stderr
    shown = norn.json("describe", app)
    assert shown["spec"]["app"] == app
    times = [shown["conditions"][0]["last_transition_time"], shown["deployments"][0]["started_at"]]
    times += [shown["events"][0]["at"], shown["operations"][0]["created_at"]]
    assert all("T" in t and datetime.fromisoformat(t).tzinfo for t in times), times


def test_events_of_nobody_are_an_error_and_their_number_is_bounded(norn: Norn, name) -> None:
    norn.run("db", "upgrade")
    assert "no app nosuch is known" in norn.ended("events", "nosuch").stderr
    norn.run("events", "nosuch", code=1)
    norn.run("events")
    for count in ("-1", "0", "99999999999"):
        done = norn.ended("events", "-n", count)
        assert done.returncode == 2 and "than or equal to" in done.stderr, count


def test_a_doctor_fails_for_what_blocks_alone_and_names_the_key(norn: Norn, name) -> None:
    norn.write("app.yaml", small(name("app")))
    norn.run("apply")
    (key,) = norn.rows("SELECT key_fingerprint FROM reconciler.meta")
    shown = norn.json("doctor", code=None)["services"]
    own = {s["service"]: s for s in shown}
    assert own["norn_db"]["detail"] == f"1 app known, master key {key['key_fingerprint']}"
    reasons = [f["reason"] for s in shown for f in s["findings"]]
    assert reasons.count("PublishedPassword") <= 1
    norn.settings = {**norn.settings, "NORN_SPECS_DIR": "nowhere"}
    shown = norn.json("doctor", code=None)["services"]
    (files,) = [s for s in shown if s["service"] == "files"]
    assert files["ok"] and files["findings"][0]["reason"] == "NoSpecs"


def test_health_times_one_request_and_says_when_there_is_nothing_to_ask(norn: Norn) -> None:
    for service in norn.json("health")["services"]:
        assert service["ok"] and 0 < service["response_ms"] < 100, service
    norn.settings = {}
    done = norn.ended("health")
    assert done.returncode == 1 and "NORN_VALKEY_URL" in done.stderr


def test_validate_tells_a_missing_folder_from_an_empty_one(norn: Norn) -> None:
    (missing,) = norn.json("validate", "nowhere", code=1)
    assert missing["message"] == "there is no such folder"
    (empty,) = norn.json("validate")
    assert empty["message"] == "there are no specs in this folder"
    assert "All good" not in norn.run("validate")
