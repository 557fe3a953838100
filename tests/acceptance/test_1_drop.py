"""1. A file is dropped, and the app has its database, key space and topics."""

from __future__ import annotations

import re
import stat

import psycopg
import pytest
import valkey
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from tests.acceptance.harness import MAIL_AGENT, Norn, database, spec, until
from tests.acceptance.services import SASL, Services


def test_a_dropped_file_becomes_a_database_a_key_space_and_topics(norn, services, name) -> None:
    app = name("mail")
    inbound, processed = f"{app}-mail.inbound", f"{app}-mail.processed"
    with norn.daemon() as daemon:
        norn.write("mail.yaml", MAIL_AGENT.format(app=app, database=database(app)))
        norn.until_ready(app)
        ready = until(lambda: daemon.events("app.ready", app=app))[0]

    pending = norn.condition(app, "MigrationPending")
    assert (pending["status"], pending["reason"]) == ("True", "NotRun")
    assert services.owner(database(app)) == app
    assert services.acl_user(app)["keys"] in ([f"~{app}:*"], f"~{app}:*")
    assert {inbound, processed} <= services.topics()
    assert app in services.scram_users()
    assert services.acls(app)

    path = norn.folder / ".norn" / "credentials" / f"{app}.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    live_as(norn, app, inbound)

    assert set(ready["changes"]) == {"postgres", "kv", "events"}
    assert ready["duration_ms"] > 0
    assert [r["status"] for r in norn.rows("SELECT status FROM deployments")] == ["deployed"]
    assert [r["status"] for r in norn.rows("SELECT status FROM forge_states")] == ["forged"]
    password = norn.env(app)["KAFKA_SASL_PASSWORD"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", password)
    assert password not in daemon.log.read_text()


def live_as(norn: Norn, app: str, topic: str) -> None:
    """Use every delivered value, as the app would."""
    env = norn.env(app)
    with psycopg.connect(env["DATABASE_URL"]) as conn:
        conn.execute("CREATE TABLE t (n int)")
        conn.execute("INSERT INTO t VALUES (1)")
        assert conn.execute("SELECT n FROM t").fetchone() == (1,)
    for url in (env["VALKEY_URL"], env["REDIS_URL"].replace("redis://", "valkey://")):
        client = valkey.Valkey.from_url(url)
        client.set(f"{env['KV_NAMESPACE']}:k", "v")
        assert client.get(f"{env['KV_NAMESPACE']}:k") == b"v"
        with pytest.raises(valkey.exceptions.NoPermissionError):
            client.get("other:k")
        client.close()
    assert topic in env["KAFKA_TOPICS"].split(",")
    login = {
        "bootstrap_servers": env["KAFKA_BOOTSTRAP_SERVERS"],
        **SASL,
        "sasl_plain_username": env["KAFKA_SASL_USERNAME"],
        "sasl_plain_password": env["KAFKA_SASL_PASSWORD"],
    }
    producer = KafkaProducer(**login)
    producer.send(topic, b"hello").get(timeout=10)
    producer.close()
    consumer = KafkaConsumer(
        topic,
        group_id=f"{app}.g",
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
        **login,
    )
    try:
        assert next(iter(consumer)).value == b"hello"
    finally:
        consumer.close()


def test_two_apps_are_kept_from_each_other(norn: Norn, services: Services, name) -> None:
    one, other = name("one"), name("other")
    norn.write("one.yaml", spec(one))
    norn.write("other.yaml", spec(other))
    norn.run("apply")
    env, theirs = norn.env(one), norn.env(other)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(env["DATABASE_URL"].replace(database(one), database(other)))
    client = valkey.Valkey.from_url(env["VALKEY_URL"])
    with pytest.raises(valkey.exceptions.NoPermissionError):
        client.set(f"{theirs['KV_NAMESPACE']}:k", "v")
    client.close()
    producer = KafkaProducer(
        bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
        **SASL,
        sasl_plain_username=env["KAFKA_SASL_USERNAME"],
        sasl_plain_password=env["KAFKA_SASL_PASSWORD"],
        max_block_ms=3000,
    )
    with pytest.raises(KafkaError):
        producer.send(theirs["KAFKA_TOPICS"].split(",")[0], b"x").get(timeout=5)
    producer.close()
