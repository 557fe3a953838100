"""6. What servers hold already becomes specs, and by adoption apps: import → files → adopt → rotate
→ Ready, with the data that was there, and nothing left to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
import valkey
from kafka import KafkaProducer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from tests.acceptance.harness import Norn, database, until
from tests.acceptance.services import SASL, Services
from tests.acceptance.test_9_readers import first

OLD = "the-password-it-had"


@dataclass
class World:
    """An app on all three services that norn never saw, a reader of one of its topics, and things
    that lead to no app."""

    services: Services
    brokers: str
    app: str
    reader: str
    odd: str

    @property
    def topic(self) -> str:
        return f"{self.app}-orders.in"

    @property
    def lonely(self) -> str:
        return f"{self.app}-lonely"

    def make(self) -> None:
        self._postgres()
        self._valkey()
        self._kafka()

    def _sql(self, statement: str, *names: str, dbname: str = "postgres") -> None:
        url = make_conninfo(self.services.postgres_url, dbname=dbname)
        with psycopg.connect(url, autocommit=True) as conn:
            parts = [Identifier(name) for name in names]
            conn.execute(SQL(statement).format(*parts, old=Literal(OLD)))

    def _postgres(self) -> None:
        own = database(self.app)
        self._sql("CREATE ROLE {} LOGIN CONNECTION LIMIT 7 PASSWORD {old}", self.app)
        self._sql("CREATE DATABASE {} OWNER {}", own, self.app)
        self._sql(
            "CREATE TABLE kept AS SELECT 42 AS x; ALTER TABLE kept OWNER TO {}",
            self.app,
            dbname=own,
        )
        self._sql("CREATE ROLE {} LOGIN PASSWORD {old}", self.odd)
        self._sql("CREATE DATABASE {} OWNER {}", self.odd, self.odd)
        self._sql("CREATE DATABASE {}", self.lonely)

    def _valkey(self) -> None:
        rules = ("on", f">{OLD}", f"~{self.app}:*", f"&{self.app}:*", "+@all", "-@dangerous")
        self.services.valkey.execute_command(
            "ACL", "SETUSER", self.app, *rules, "+info", f"&{self.app}:jobs.*"
        )
        self.services.valkey.set(f"{self.app}:kept", "42")

    def _kafka(self) -> None:
        kafka = self.services.kafka
        config = {"retention.ms": "7200000"}
        kafka.create_topics(
            [NewTopic(self.topic, 2, 1, topic_configs=config), NewTopic(self.lonely, 1, 1)]
        )
        kafka.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, "SCRAM-SHA-256", OLD)
                for user in (self.app, self.reader)
            ]
        )
        kafka.create_acls(
            [
                _acl(self.app, ResourceType.TOPIC, self.topic, ACLOperation.ALL),
                _acl(self.app, ResourceType.GROUP, "*", ACLOperation.READ),
                _acl(self.reader, ResourceType.TOPIC, self.topic, ACLOperation.READ),
            ]
        )
        until(lambda: {self.app, self.reader} <= self.services.scram_users())
        until(lambda: len(self.services.acls(self.app)) == 2)
        until(lambda: _produced(self.brokers, self.app, self.topic))

    def granted(self) -> None:
        """What a superuser of PostgreSQL 16 and newer is asked for."""
        self._sql("GRANT {} TO norn_admin WITH ADMIN TRUE, INHERIT TRUE, SET TRUE", self.app)


def _produced(brokers: str, user: str, topic: str) -> bool:
    login = {"sasl_plain_username": user, "sasl_plain_password": OLD}
    producer = KafkaProducer(bootstrap_servers=brokers, **SASL, **login, max_block_ms=5000)
    try:
        producer.send(topic, b"kept", partition=0).get(timeout=10)
    except KafkaError:
        return False  # its ACL does not show yet
    finally:
        producer.close()
    return True


def _acl(user: str, kind: ResourceType, name: str, operation: ACLOperation) -> ACL:
    allow, resource = ACLPermissionType.ALLOW, ResourcePattern(kind, name)
    return ACL(f"User:{user}", "*", operation, allow, resource)


@pytest.fixture
def world(services: Services, norn: Norn, name: Callable[[str], str]) -> Iterator[World]:
    names = (name("orders"), name("reader"), name("Odd_One"))
    made = World(services, norn.settings["NORN_REDPANDA_BROKERS"], *names)
    made.make()
    yield made
    for each in (made.lonely, made.odd, database(made.app)):
        services.sql(f'DROP DATABASE "{each}" WITH (FORCE)')
    for role in (made.odd, made.app):
        services.sql(f'DROP ROLE "{role}"')


def test_what_is_there_is_imported_adopted_and_kept(norn: Norn, world: World) -> None:
    app, reader = world.app, world.reader
    overview = norn.run("import")
    assert re.search(rf"^{app} +events kv postgres", overview, re.M)
    assert re.search(rf"^{world.odd} .*no: an app's name has small letters", overview, re.M)
    assert f'nobody\'s: postgres: database "{world.lonely}" is owned by postgres' in overview
    assert f"nobody's: events: topic {world.lonely} is granted to no user" in overview
    everything = norn.json("import")
    assert "norn" not in {found["app"] for found in everything["apps"]}, "norn_db's owner"
    for said in (overview, str(everything)):
        assert OLD not in said and not re.search(r"[0-9a-f]{64}|SCRAM-SHA-256\$", said)

    shown = norn.run("import", app)
    assert f'GRANT "{app}" TO norn_admin WITH ADMIN TRUE' in " ".join(
        shown.replace("#", "").split()
    )
    assert "role: worker # a guess" in shown
    odd = norn.run("import", world.odd)
    assert all(line.startswith("#") for line in odd.splitlines()) and world.odd in odd

    written = norn.run("import", app, reader, "--to", "specs")
    assert f"wrote specs/{app}.yaml: read it, then norn adopt {app}" in written
    assert norn.run("validate") == "All good.\n"
    first_text = (norn.specs / f"{app}.yaml").read_text()
    norn.run("import", app, "--to", "specs", code=1)
    assert (norn.specs / f"{app}.yaml").read_text() == first_text == shown
    assert {p.name for p in norn.specs.iterdir()} == {f"{app}.yaml", f"{reader}.yaml"}

    with norn.daemon():
        until(lambda: norn.condition(app, "DatabaseReady").get("reason") == "Conflict")
        world.granted()
        for one in (app, reader):  # its reader's ACL is no stranger's, though not adopted yet
            norn.run("adopt", one, "--yes")
            norn.run("reconcile", one, "--wait")
            assert norn.condition(one, "TopicsReady")["reason"] == "PasswordKept", norn.story()
        for kind in ("DatabaseReady", "KeyspaceReady", "TopicsReady"):
            until(
                lambda kind=kind: norn.condition(app, kind).get("reason") == "PasswordKept",
                told=norn.story,
            )
        url = make_conninfo(norn.settings["NORN_POSTGRES_URL"], user=app, password=OLD)
        with psycopg.connect(url, dbname=database(app)) as conn:
            assert conn.execute("SELECT x FROM kept").fetchall() == [(42,)]
        client = world.services.client(app, OLD)
        assert client.get(f"{app}:kept") == b"42" and client.info()
        client.close()
        assert _produced(world.brokers, app, world.topic)

        for one in (app, reader):
            norn.run("rotate", one)
        norn.until_ready(app, reader)
        env = norn.env(app)
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT x FROM kept").fetchall() == [(42,)]
        client = valkey.Valkey.from_url(env["VALKEY_URL"])
        assert client.get(f"{app}:kept") == b"42" and client.info()
        client.close()
        assert norn.env(reader)["KAFKA_READ_TOPICS"] == world.topic
        assert first(norn.env(reader), world.topic) == b"kept"
        assert first(env, world.topic) == b"kept"
        assert norn.run("plan", "--check") == "Nothing to change.\n"
        norn.run("import", app, code=1)
        assert not {app, reader} & {one["app"] for one in norn.json("import")["apps"]}
