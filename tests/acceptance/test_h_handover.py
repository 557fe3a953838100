"""(h) A topic passes from one app to another by an edit of both files: the one's access goes first,
then the other gets it, with all that is in the topic."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from tests.acceptance.harness import Norn, until
from tests.acceptance.norn_here import folder_on
from tests.acceptance.services import Services
from tests.acceptance.test_9_readers import first, operations, produce
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

MOST = 30  # topics: more than there are places to be killed at
FULL = {"ALTER_CONFIGS", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"}


@pytest.fixture
def killed(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    settings = {
        "NORN_REDPANDA_BROKERS": servers.brokers,
        "NORN_REDPANDA_USERNAME": servers.kafka_username,
        "NORN_REDPANDA_PASSWORD": servers.kafka_password,
        "NORN_LEASE_SECONDS": "3",
    }
    superuser, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(superuser, own, tmp_path / "norn", settings) as here:
        yield Warm(here.folder, here.settings, here.norn_db)


def owner(app: str, *topics: str, reader: str = "") -> str:
    lines = [f"      - {{name: {topic}{reader}}}\n" for topic in topics]
    named = "".join(lines) if lines else " []\n"
    return f"app: {app}\nrole: worker\nservices:\n  events:\n    topics:" + (
        f"\n{named}" if lines else named
    )


def may(services: Services, app: str, topic: str) -> bool:
    return "WRITE" in operations(services, app, topic)


@contextmanager
def watched(services: Services, topic: str, *apps: str) -> Iterator[set[tuple[bool, ...]]]:
    """Who of `apps` could write to the topic, again and again as long as the block runs."""
    seen: set[tuple[bool, ...]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add(tuple(may(services, app, topic) for app in apps))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_it_passes_with_what_is_in_it_and_nobody_else_gets_near_it(
    norn: Norn, services: Services, name
) -> None:
    a, b, c = name("giver"), name("taker"), name("reader")
    topic = name("orders")
    norn.write("a.yaml", owner(a, topic, reader=f", readers: [{c}]"))
    norn.write("b.yaml", owner(b))
    norn.write("c.yaml", owner(c))
    with norn.daemon(NORN_GRACE_SECONDS="60"):
        norn.until_ready(a, b, c)
        produce(norn.env(a), topic)
        (row,) = norn.rows("SELECT * FROM reconciler.inventory WHERE name = %s", topic)
        with watched(services, topic, a, b) as seen:
            norn.write("b.yaml", owner(b, topic, reader=f", readers: [{a}]"))
            until(lambda: norn.condition(b, "SpecAccepted").get("status") == "False")
            assert seen == {(True, False)}, "as long as the one's file asks for it"
            norn.write("a.yaml", owner(a))
            until(lambda: may(services, b, topic), told=norn.story)
            norn.until_ready(a, b, generation=2)
        assert (True, True) not in seen
        assert (False, True) in seen
        assert operations(services, b, topic) >= {"READ", "WRITE", "DESCRIBE"}
        assert operations(services, a, topic) == {"READ", "DESCRIBE"}, "as its reader, by now"
        until(lambda: operations(services, c, topic) == set(), told=norn.story)
        assert first(norn.env(b), topic) == b"x", "what was in it"
        produce(norn.env(b), topic)
        with pytest.raises(KafkaError):
            produce(norn.env(a), topic)
        assert norn.env(a)["KAFKA_READ_TOPICS"] == topic
        for told in (a, b):
            (moved,) = norn.events("object.moved", told)
            assert (moved["fields"]["from"], moved["fields"]["to"]) == (a, b)
        until(lambda: norn.rows("SELECT settings FROM reconciler.inventory WHERE name = %s",
                                topic)[0]["settings"] == {}, told=norn.story)  # fmt: skip
        (now,) = norn.rows("SELECT * FROM reconciler.inventory WHERE name = %s", topic)
        assert (now["app"], now["state"], now["server_id"]) == (b, "owned", row["server_id"])
        assert norn.events("drift.detected") == []
        # And back, in one edit; the reader is another.
        with watched(services, topic, a, b) as seen:
            norn.write("a.yaml", owner(a, topic))
            norn.write("b.yaml", owner(b))
            until(lambda: may(services, a, topic), told=norn.story)
            norn.until_ready(a, b, generation=3)
        assert (True, True) not in seen
        assert operations(services, b, topic) == set()
        # To one that is new.
        d = name("new")
        with watched(services, topic, a, d) as seen:
            norn.write("a.yaml", owner(a))
            norn.write("d.yaml", owner(d, topic))
            norn.until_ready(d)
        assert (True, True) not in seen
        assert first(norn.env(d), topic) == b"x"
        for told in ("drift.detected", "isolation.failed", "problem.found", "object.failed"):
            assert norn.events(told) == [], told


def test_it_waits_for_whoever_is_left_alone_and_both_files_have_to_say_so(
    norn: Norn, services: Services, name
) -> None:
    a, b = name("giver"), name("taker")
    topic, own = name("orders"), f"{a}.own"
    norn.write("a.yaml", owner(a, topic, own))
    norn.write("b.yaml", owner(b))
    norn.run("apply")
    norn.run("pause", a)
    norn.run("apply")
    norn.write("a.yaml", owner(a, own))
    norn.write("b.yaml", owner(b, topic))
    shown = {s["summary"]: s["waits"] for s in norn.json("plan", b)["apps"][b]}
    assert set(shown.values()) == {"handover"}, shown
    norn.run("apply", code=1)
    assert norn.condition(b, "TopicsReady")["reason"] == "HandedOver"
    assert (may(services, a, topic), may(services, b, topic)) == (True, False)
    norn.run("resume", a)
    norn.run("apply", b, code=1)
    assert (may(services, a, topic), may(services, b, topic)) == (True, False), "alone it can't"
    norn.run("apply")
    assert (may(services, a, topic), may(services, b, topic)) == (False, True)
    norn.run("plan", "--check")
    # What the one reaches by its prefix, what it let go long ago, and what its file left by being
    # taken away does not pass.
    norn.write("a.yaml", owner(a))
    norn.write("b.yaml", owner(b, topic, own))
    norn.run("apply", code=1, NORN_GRACE_SECONDS="0")
    assert f"app {a}" in norn.condition(b, "SpecAccepted")["message"]
    assert "no broker can rename a topic" in norn.ended("rename", "topic", b, topic, "x").stderr
    assert "names no topic x" in norn.ended("rename", "topic", b, "x", topic).stderr
    (norn.specs / "b.yaml").unlink()
    norn.write("a.yaml", owner(a, topic))
    norn.run("apply", code=1)
    assert f"belongs to app {b}" in norn.condition(a, "SpecAccepted")["message"]
    assert may(services, a, topic) is False


def test_one_of_them_has_it_whoever_is_killed_over_it(
    killed: Warm, services: Services, name
) -> None:
    norn, a, b = killed, name("giver"), name("taker")
    topics = [name(f"t{n}") for n in range(MOST)]
    norn.write("a.yaml", owner(a, *topics))
    norn.write("b.yaml", owner(b))
    norn.run("apply")
    ids = {r["name"]: r["server_id"] for r in norn.rows("SELECT * FROM reconciler.inventory")}
    seen, died = [""], 0
    for at, place in enumerate(seen):
        topic = topics[at]
        norn.write("a.yaml", owner(a, *topics[at + 1 :]))
        norn.write("b.yaml", owner(b, *topics[: at + 1]))
        passed = norn.until(place, "apply")
        died += place in passed
        seen += [p for p in passed if p not in seen]
        between = may(services, a, topic), may(services, b, topic)
        assert between != (True, True), place
        norn.run("apply")
        assert (may(services, a, topic), may(services, b, topic)) == (False, True), place
        (row,) = norn.rows("SELECT * FROM reconciler.inventory WHERE name = %s", topic)
        assert (row["app"], row["state"], row["settings"]) == (b, "owned", {}), place
        assert row["server_id"] == ids[topic], place
        norn.run("plan", "--check")
    assert norn.events("drift.detected") == []
    assert died == len(seen) - 1, (died, seen)
    assert 6 <= died < MOST, seen
