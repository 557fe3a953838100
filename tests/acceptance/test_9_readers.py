"""The owner of a topic lets another app read it; nobody else can."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import SASL, Services


def access(env: dict[str, str]) -> dict[str, object]:
    return {
        "bootstrap_servers": env["KAFKA_BOOTSTRAP_SERVERS"],
        **SASL,
        "sasl_plain_username": env["KAFKA_SASL_USERNAME"],
        "sasl_plain_password": env["KAFKA_SASL_PASSWORD"],
    }


def owner(app: str, readers: str) -> str:
    return (
        f"app: {app}\nrole: worker\nservices:\n  events:\n    topics:\n"
        f"      - name: {app}.out\n{readers}      - {app}.private\n"
    )


def produce(env: dict[str, str], topic: str) -> None:
    producer = KafkaProducer(**access(env), max_block_ms=5000)
    try:
        producer.send(topic, b"x").get(timeout=10)
    finally:
        producer.close()


def first(env: dict[str, str], topic: str) -> bytes | None:
    """The topic's first record, as this app reads it."""
    consumer = KafkaConsumer(
        **access(env),
        group_id=env["KAFKA_SASL_USERNAME"],
        auto_offset_reset="earliest",
        consumer_timeout_ms=10000,
    )
    consumer.assign([TopicPartition(topic, 0)])
    try:
        return next((record.value for record in consumer), None)
    finally:
        consumer.close()


def operations(services: Services, app: str, topic: str) -> set[str]:
    return {
        acl.operation.name for acl in services.acls(app)
        if acl.resource_pattern.resource_name == topic
    }  # fmt: skip


def test_a_reader_reads_and_does_nothing_else(norn: Norn, services: Services, name) -> None:
    a, b, c = name("owner"), name("reader"), name("other")
    norn.write("a.yaml", owner(a, f"        readers: [{b}]\n"))
    norn.write("b.yaml", spec(b, postgres=False, kv=False))
    norn.write("c.yaml", spec(c, postgres=False, kv=False))
    norn.run("apply")
    topic, env = f"{a}.out", norn.env(b)
    assert env["KAFKA_READ_TOPICS"] == topic
    assert "KAFKA_READ_TOPICS" not in norn.env(c)
    produce(norn.env(a), topic)
    assert first(env, topic) == b"x"
    with pytest.raises(KafkaError):
        produce(env, topic)
    assert operations(services, b, topic) == {"READ", "DESCRIBE"}
    assert operations(services, b, f"{a}.private") == set()
    assert operations(services, c, topic) == set()
    with pytest.raises(KafkaError):
        first(norn.env(c), topic)
    assert norn.condition(b, "IsolationVerified")["status"] == "True"
    assert norn.run("plan", "--check")


def test_the_owners_file_alone_decides_and_moves_the_reader(
    norn: Norn, services: Services, name
) -> None:
    a, b = name("owner"), name("reader")
    norn.write("b.yaml", spec(b, postgres=False, kv=False))
    norn.write("a.yaml", owner(a, ""))
    with norn.daemon(NORN_GRACE_SECONDS="0.2"):
        norn.until_ready(a, b)
        generation = (norn.app(b) or {})["generation"]
        norn.write("a.yaml", owner(a, f"        readers: [{b}]\n"))
        until(lambda: operations(services, b, f"{a}.out") == {"READ", "DESCRIBE"}, told=norn.story)
        until(lambda: "KAFKA_READ_TOPICS" in norn.env(b), told=norn.story)
        assert (norn.app(b) or {})["generation"] == generation, "its own spec did not move"
        norn.write("a.yaml", owner(a, ""))
        until(lambda: operations(services, b, f"{a}.out") == set(), told=norn.story)
        until(lambda: "KAFKA_READ_TOPICS" not in norn.env(b), told=norn.story)
        assert norn.events("drift.detected") == []
        norn.write("a.yaml", owner(a, f"        readers: [{b}]\n"))
        until(lambda: operations(services, b, f"{a}.out") == {"READ", "DESCRIBE"}, told=norn.story)
        (norn.specs / "a.yaml").unlink()
        until(lambda: operations(services, b, f"{a}.out") == set(), told=norn.story)


def test_a_reader_that_is_nobody_is_named(norn: Norn, name) -> None:
    a = name("owner")
    norn.write("a.yaml", owner(a, f"        readers: [ghost, {a}]\n"))
    found = norn.json("validate")
    assert [f["check"] for f in found] == ["spec.reader.unknown"] * 2
    assert "ghost" in str(found)
    norn.run("apply")
    assert norn.is_ready(a)


def test_an_owner_cannot_share_what_is_not_its_own(norn: Norn, services: Services, name) -> None:
    a, b, late = name("owner"), name("reader"), name("late")
    foreign = f"{a}-payments"
    services.kafka.create_topics([NewTopic(foreign, 1, 1)])
    topics = f"topics:\n      - {{name: {foreign}, readers: [{b}, {late}]}}\n      - {a}-own\n"
    norn.write("a.yaml", f"app: {a}\nrole: worker\nservices:\n  events:\n    {topics}")
    norn.write("b.yaml", spec(b, postgres=False, kv=False))
    with norn.daemon():
        norn.until_ready(b)
        until(lambda: norn.condition(a, "TopicsReady").get("reason") == "Conflict")
        norn.write("late.yaml", spec(late, postgres=False, kv=False))
        norn.until_ready(late)
        for reader in (b, late):
            assert operations(services, reader, foreign) == set()
            assert "KAFKA_READ_TOPICS" not in norn.env(reader)
            until(
                lambda r=reader: norn.condition(r, "TopicsReady").get("reason") == "NotShared",
                told=norn.story,
            )
            assert norn.condition(reader, "TopicsReady")["status"] == "True", (
                "no failure of its own"
            )
            assert f"norn adopt {a}" in norn.condition(reader, "TopicsReady")["message"]
        norn.run("adopt", a, "--yes")
        for reader in (b, late):
            until(
                lambda r=reader: operations(services, r, foreign) == {"READ", "DESCRIBE"},
                5,
                told=norn.story,
            )
            until(lambda r=reader: norn.env(r).get("KAFKA_READ_TOPICS") == foreign, 5)


def test_files_that_come_together_are_served_together(norn: Norn, services: Services, name) -> None:
    a, b = name("owner"), name("reader")
    with norn.daemon() as daemon:
        norn.write("b.yaml", spec(b, postgres=False, kv=False))
        norn.write("a.yaml", owner(a, f"        readers: [{b}]\n"))
        until(
            lambda: operations(services, b, f"{a}.out") == {"READ", "DESCRIBE"},
            10,
            told=norn.story,
        )
        until(lambda: norn.env(b).get("KAFKA_READ_TOPICS") == f"{a}.out", 5, told=norn.story)
        norn.until_ready(a, b)
        assert not [e for e in daemon.events("problem.found") if "NotShared" in str(e)]
        assert norn.events("drift.detected") == []
