"""(g) What a removal takes is shown before it is made, with how much is in it; too much at once
waits for a digest of exactly that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import valkey
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.acceptance.harness import database, spec
from tests.acceptance.norn_here import Here, folder_on
from tests.acceptance.services import SASL, Services
from tests.acceptance.test_g_teardown import asked, databases, last, on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import PostgresServer, Servers


@pytest.fixture
def here(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": postgres.admin_url, "NORN_GRACE_SECONDS": "0.1"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


def login(env: dict[str, str]) -> dict[str, Any]:
    return {
        "bootstrap_servers": env["KAFKA_BOOTSTRAP_SERVERS"],
        "sasl_plain_username": env["KAFKA_SASL_USERNAME"],
        "sasl_plain_password": env["KAFKA_SASL_PASSWORD"],
        **SASL,
    }


def filled(env: dict[str, str], app: str, topic: str) -> None:
    """7 rows, 5 records of which 2 are read, 3 keys in two databases."""
    with psycopg.connect(env["DATABASE_URL"]) as conn:
        conn.execute("CREATE TABLE people AS SELECT n FROM generate_series(1, 7) n")
        conn.execute("CREATE TABLE empty (n int)")
        # Whatever the app makes of its own place, nothing of it is run by norn's admin.
        conn.execute(
            "CREATE FUNCTION pg_stat_get_live_tuples(oid) RETURNS bigint AS 'SELECT 99'"
            " LANGUAGE sql"
        )
        conn.execute(f'ALTER ROLE "{app}" SET search_path = public, pg_catalog')
    producer = KafkaProducer(**login(env))
    for number in range(5):
        producer.send(topic, str(number).encode(), partition=0).get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(group_id=f"{app}.readers", enable_auto_commit=False, **login(env))
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 2)
    consumer.position(TopicPartition(topic, 0))
    consumer.commit()
    consumer.close(autocommit=False)
    with valkey.Valkey.from_url(env["REDIS_URL"]) as client:
        client.set(f"{app}:one", "x" * 1000)
        client.set(f"{app}:two", "x" * 1000)
        client.select(3)
        client.set(f"{app}:three", "x" * 1000)


def test_a_removal_is_shown_with_what_is_in_each_before_it_is_made(
    norn: Warm, services: Services, name
) -> None:
    app, other = name("weighty"), name("other")
    topic = f"{app}.in"
    norn.write("other.yaml", spec(other))
    norn.write("weighty.yaml", spec(app))
    norn.run("apply")
    first = json.loads(norn.run("explain", "--remove", app, "-o", "json"))
    assert {o["becomes"] for o in first["objects"]} == {"closed", "stays"}
    env = norn.env(app)
    filled(env, app, topic)
    services.valkey.set(f"{app}x:foreign", "x")
    inside = psycopg.connect(env["DATABASE_URL"])

    text = spec(app).replace("  postgres:\n", "  postgres:\n    deletionPolicy: trash\n")
    norn.write("weighty.yaml", "deletionPolicy: delete\n" + text)
    norn.run("apply")
    found = json.loads(norn.run("explain", "--remove", app, "-o", "json"))
    inside.close()
    assert found["digest"] != first["digest"], "the policies are bound"
    weighed_right(found, app)
    closing = {step["service"] for step in found["closing"]["apps"][app]}
    assert closing == {"postgres", "kv", "events"}
    shown = norn.run("explain", "--remove", app)
    assert "put aside, gone after 14 days, a copy is kept" in shown
    assert "gone at once, WITHOUT a copy" in shown
    assert "messages 5" in shown
    assert found["digest"] in shown
    services.valkey.set(f"{app}:more", "x")
    again = json.loads(norn.run("explain", "--remove", app, "-o", "json"))
    assert again["digest"] == found["digest"], "sizes are shown, and not bound"
    assert "norn explain --remove" in norn.ended("explain", app).stderr
    assert "no app" in norn.ended("explain", "--remove", name("nobody")).stderr
    goes_as_planned(norn, services, app)


def weighed_right(found: dict[str, Any], app: str) -> None:
    by = {(o["service"], o["kind"]): o for o in found["objects"] if o["becomes"] != "closed"}
    place = by["postgres", "database"]
    assert (place["policy"], place["becomes"], place["copied"]) == ("trash", "trash", True)
    facts = place["stakes"]
    assert facts["rows"] == 7, facts
    assert facts["largest"] == {"public.people": 7, "public.empty": 0}
    assert facts["bytes"] > 1_000_000
    assert facts["sessions"] >= 1
    assert "last_use" in place["unread"]
    records = by["events", "topic"]
    assert (records["policy"], records["becomes"], records["copied"]) == ("delete", "gone", False)
    facts = records["stakes"]
    assert facts["messages"] == 5, records
    assert facts["lag"] == {f"{app}.readers": 3}
    assert facts["bytes"] > 0, records
    assert facts["newest"].startswith("20")
    keys = by["kv", "namespace"]["stakes"]
    assert keys["keys"] == 3
    assert 3000 < keys["bytes"] < 30000


def goes_as_planned(norn: Warm, services: Services, app: str) -> None:
    assert not json.loads(norn.run("plan", "-o", "json"))["ends"]
    (norn.specs / "weighty.yaml").unlink()
    planned = json.loads(norn.run("plan", "-o", "json"))
    ends = {(o["service"], o["kind"]): o for o in planned["ends"]}
    assert {service for service, _ in ends} == {"postgres", "kv", "events"}
    assert ends["events", "topic"]["stakes"]["messages"] == 5
    assert ends["kv", "namespace"]["stakes"]["keys"] == 4
    assert "Data on their way out" in norn.run("plan")
    norn.run("apply", NORN_GRACE_SECONDS="0.1")
    assert not services.valkey.keys(f"{app}:*")
    (left,) = json.loads(norn.run("plan", "-o", "json"))["ends"]
    assert left["becomes"] == "gone"
    assert left["name"].startswith(f"{database(app)}.trash.")
    assert left["gone_from"] > "2026"
    assert left["stakes"]["bytes"] > 1_000_000 or "bytes" in left["unread"]
    assert "rows" in left["unread"], "nobody may log in any more"
    explained = json.loads(norn.run("explain", "--remove", app, "-o", "json"))
    assert left in explained["objects"]


def test_too_much_at_once_is_held_until_exactly_that_is_confirmed(here: Here, name) -> None:
    norn, apps = here, [name(f"heap{n}") for n in range(3)]
    few = {"NORN_REMOVAL_MAX_APPS": "1"}
    norn.write("stays.yaml", spec(name("stays"), kv=False, events=False))
    for app in apps:
        norn.write(f"{app}.yaml", on_postgres(app, "delete"))
    norn.run("apply")
    for app in apps[:2]:
        (norn.specs / f"{app}.yaml").unlink()
    norn.run("confirm", asked(norn.ended("apply", **few).stderr))
    norn.ended("apply", **few)
    shown = norn.run("plan", code=1, **few)
    assert "due to go" in shown
    assert all(database(app) in shown for app in apps[:2])
    told = json.loads(norn.run("plan", "-o", "json", code=1, **few))
    assert told["doomed"] == json.loads(norn.run("status", "-o", "json"))["doomed"]
    digest = asked(told["doomed"])
    (event,) = [e for e in norn.events("removal.held") if e["fields"]["digest"] == digest]
    assert set(event["fields"]["apps"]) == set(apps[:2])

    # One more comes to it before anybody has answered: what was shown is no more what would go.
    (norn.specs / f"{apps[2]}.yaml").unlink()
    norn.ended("apply", **few)
    said = norn.ended("apply", **few)
    if "norn confirm" in said.stderr:
        norn.run("confirm", asked(said.stderr))
        norn.ended("apply", **few)
    norn.ended("confirm", digest)
    norn.ended("apply", **few)
    assert all(databases(norn, app) for app in apps), "the former digest binds no more"
    digest = asked(norn.run("status").split("due to go")[1])
    norn.run("confirm", digest)
    norn.ended("apply", **few)
    norn.ended("apply", **few)
    assert not any(databases(norn, app) for app in apps), [last(norn, app) for app in apps]

    # The same names again, within the hour: other databases, which nobody agreed to lose.
    for app in apps:
        norn.write(f"{app}.yaml", on_postgres(app, "delete"))
    norn.run("apply")
    for app in apps:
        (norn.specs / f"{app}.yaml").unlink()
    norn.run("confirm", asked(norn.ended("apply", **few).stderr))
    norn.ended("apply", **few)
    norn.ended("apply", **few)
    assert all(databases(norn, app) for app in apps), "agreed to was the end of the former ones"
    assert re.findall("norn confirm ([0-9a-f]+)", norn.run("status")) != [digest]
