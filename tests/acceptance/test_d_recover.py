"""(d) Lost and found: norn_db is gone or older than the servers, the master key is gone. All data
stays, a password that the key still derives stays, and one command puts norn_db right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import valkey
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from psycopg import sql

from infra.postgres import wheel_binaries
from tests.acceptance.fleet_judge import Judge
from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import SASL, Services

KINDS = ("DatabaseReady", "KeyspaceReady", "TopicsReady")


@dataclass
class Estate:
    """What apps have on the servers, and what they were told."""

    norn: Norn
    services: Services

    def settle_in(self, app: str) -> None:
        """As the app: leave something on each service."""
        env = self.norn.env(app)
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE precious AS SELECT 7 AS n")
        with valkey.Valkey.from_url(env["VALKEY_URL"]) as client:
            client.set(f"{app}:precious", "7")
        producer = KafkaProducer(**self._login(env))
        producer.send(f"{app}.in", b"7").get(timeout=10)
        producer.close()

    def works(self, app: str, env: Mapping[str, str]) -> None:
        """`env` still logs in everywhere, and everything is there."""
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT n FROM precious").fetchone() == (7,)
        with valkey.Valkey.from_url(env["VALKEY_URL"]) as client:
            assert client.get(f"{app}:precious") == b"7"
        consumer = KafkaConsumer(consumer_timeout_ms=20_000, **self._login(env))
        try:
            consumer.assign([TopicPartition(f"{app}.in", 0)])
            consumer.seek_to_beginning()
            assert next(iter(consumer)).value == b"7"
        finally:
            consumer.close()

    def refused(self, env: Mapping[str, str]) -> None:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(env["DATABASE_URL"])
        with (
            valkey.Valkey.from_url(env["VALKEY_URL"]) as client,
            pytest.raises(valkey.exceptions.AuthenticationError),
        ):
            client.ping()

    def ids(self, *apps: str) -> dict[str, Any]:
        """What must never change: OIDs, topic ids."""
        found: dict[str, Any] = {}
        for app in apps:
            found[f"role {app}"] = self.services.sql(
                "SELECT oid FROM pg_roles WHERE rolname = %s", app
            )
            found[f"database {app}"] = self.services.sql(
                "SELECT oid FROM pg_database WHERE datname = %s", database(app)
            )
        topics = Judge(self.services).topics(f"{app}.in" for app in apps)
        return found | {name: topic["id"] for name, topic in topics.items()}

    def stored(self, *apps: str) -> dict[str, Any]:
        """Passwords as the servers keep them: one that is set again gets another salt."""
        return {
            app: (
                self.services.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", app),
                self.services.acl_user(app)["passwords"],
            )
            for app in apps
        }

    @staticmethod
    def _login(env: Mapping[str, str]) -> dict[str, Any]:
        return {
            "bootstrap_servers": env["KAFKA_BOOTSTRAP_SERVERS"],
            **SASL,
            "sasl_plain_username": env["KAFKA_SASL_USERNAME"],
            "sasl_plain_password": env["KAFKA_SASL_PASSWORD"],
        }

    def rotate(self, app: str) -> None:
        before = self.norn.env(app)
        self.norn.run("rotate", app)
        until(lambda: self.norn.env(app) != before, told=self.norn.story)
        self.norn.until_ready(app)

    def empty_norn_db(self) -> None:
        """Dropped and made again, as a person does it."""
        name = sql.Identifier(urlsplit(self.norn.norn_db).path.lstrip("/"))
        with psycopg.connect(self.services.postgres_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
            conn.execute(sql.SQL("CREATE DATABASE {} OWNER norn TEMPLATE template0").format(name))
            conn.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))

    def dump(self) -> Path:
        path = self.norn.folder / "norn_db.dump"
        self._tool("pg_dump", "--format=custom", f"--file={path}", self.norn.norn_db)
        return path

    def restore(self, path: Path) -> None:
        self.empty_norn_db()
        self._tool("pg_restore", "--no-owner", "--dbname", self.norn.norn_db, str(path))

    @staticmethod
    def _tool(*arguments: str) -> None:
        tool, *rest = arguments
        subprocess.run([wheel_binaries() / tool, *rest], check=True, timeout=60)

    def at_rest(self, *apps: str) -> None:
        """Nothing is left to do, and nothing was given up."""
        self.norn.until_ready(*apps)
        assert self.norn.json("plan", "--check")["changes"] == 0
        assert "Nothing to recover" in self.norn.run("recover", *apps)
        assert not self.norn.events("data.missing")


@pytest.fixture
def estate(norn: Norn, services: Services) -> Estate:
    return Estate(norn, services)


def key_file(norn: Norn) -> Path:
    return norn.folder / ".norn" / "master.key"


def lose_key(norn: Norn) -> None:
    """Norn will not find it; the search for passwords at the end of the run does (tests.trail)."""
    lost = norn.folder / "lost" / "master.key"
    lost.parent.mkdir()
    key_file(norn).rename(lost)


def two_apps(estate: Estate, name: Any) -> tuple[str, str]:
    norn, one, other = estate.norn, name("one"), name("other")
    norn.write("one.yaml", spec(one))
    norn.write("other.yaml", spec(other))
    return one, other


def test_norn_db_is_made_anew_beside_full_servers(estate: Estate, norn: Norn, name) -> None:
    one, other = two_apps(estate, name)
    gone = name("gone")
    norn.write("gone.yaml", spec(gone))
    with norn.daemon(NORN_GRACE_SECONDS="0.2") as daemon:
        norn.until_ready(one, other, gone)
        for app in (one, other, gone):
            estate.settle_in(app)
        estate.rotate(one)
        estate.rotate(one)
        (norn.specs / "gone.yaml").unlink()
        until(lambda: daemon.events("app.removed", app=gone), told=norn.story)
    envs = {app: norn.env(app) for app in (one, other)}
    ids, stored = estate.ids(one, other, gone), estate.stored(one, other)

    estate.empty_norn_db()
    with norn.daemon() as daemon:
        for app in (one, other):
            for kind in KINDS:
                until(
                    lambda a=app, k=kind: norn.condition(a, k).get("reason") == "Conflict",
                    told=norn.story,
                )
                assert f"norn recover {app}" in norn.condition(app, kind)["message"]
        assert "norn recover" in norn.run("status")
        assert "NornDbOlder" in norn.run("doctor", code=1)
        steps = norn.json("recover", one, "--yes")["steps"]
        assert {s["app"] for s in steps} == {one}
        until(lambda: daemon.events("operation.finished", kind="recover", state="done"))
        norn.until_ready(one)
        assert norn.condition(other, "Ready")["status"] == "False", "only one was asked for"
        text = norn.run("recover", "--yes")
        assert f"database {database(gone)}" in text and "Untouched" in text
        estate.at_rest(one, other)
        assert estate.stored(one, other) == stored, "no password that fits is set again"
        assert {app: norn.env(app) for app in envs} == envs
        assert estate.ids(one, other, gone) == ids
        for app, env in envs.items():
            estate.works(app, env)
        origins = {
            r["kind"]: r["origin"]
            for r in norn.rows("SELECT * FROM reconciler.inventory WHERE app = %s", one)
        }
        assert origins["acl-user"] == origins["role"] == origins["scram-user"] == "made"
        assert origins["database"] == origins["topic"] == "adopted", "nothing proves more"
        generations = norn.rows("SELECT generation FROM reconciler.services WHERE app = %s", one)
        assert {r["generation"] for r in generations} == {3}

        norn.write("gone.yaml", spec(gone))  # what was removed is taken up by its file
        until(lambda: norn.condition(gone, "DatabaseReady").get("reason") == "Conflict")
        norn.run("recover", gone, "--yes")
        until(lambda: norn.condition(gone, "TopicsReady").get("reason") == "Conflict")
        assert f"norn adopt {gone}" in norn.condition(gone, "TopicsReady")["message"]
        norn.run("adopt", gone, "--yes")
        estate.at_rest(gone)
        estate.works(gone, norn.env(gone))
        assert estate.ids(one, other, gone) == ids


def test_an_older_norn_db_is_put_back(estate: Estate, norn: Norn, name) -> None:
    """It was dumped before one app was rotated and another was made."""
    one, other = name("one"), name("other")
    bare = name("bare")  # nothing on it shows its password to norn
    norn.write("one.yaml", spec(one))
    norn.write("bare.yaml", spec(bare, kv=False))
    with norn.daemon():
        norn.until_ready(one, bare)
        estate.settle_in(one)
        dump = estate.dump()
        estate.rotate(one)
        estate.rotate(bare)
        norn.write("one.yaml", spec(one).replace(f"[{one}.in]", f"[{one}.in, {one}-late]"))
        norn.write("other.yaml", spec(other))
        norn.until_ready(other)
        norn.until_ready(one, generation=2)
        estate.settle_in(other)
    envs = {app: norn.env(app) for app in (one, other, bare)}
    ids, stored = estate.ids(one, other), estate.stored(one, other)
    acls = {str(a) for a in estate.services.acls(one)}

    estate.restore(dump)
    with norn.daemon(NORN_RESYNC_SECONDS="0.5") as daemon:
        for app, kind in ((one, "KeyspaceReady"), (bare, "DatabaseReady"), (bare, "TopicsReady")):
            until(
                lambda a=app, k=kind: norn.condition(a, k).get("reason") == "NornDbOlder",
                told=norn.story,
            )
            assert f"norn recover {app}" in norn.condition(app, kind)["message"]
        until(lambda: norn.condition(one, "TopicsReady").get("reason") == "Conflict")
        assert "NornDbOlder" in norn.run("doctor", code=1)
        assert {app: norn.env(app) for app in envs} == envs, "no older password is handed out"
        assert estate.stored(one, other) == stored, "none is set, either"
        norn.run("recover", "--yes")
        estate.at_rest(one, other, bare)
        assert estate.stored(one, other) == stored
        assert {app: norn.env(app) for app in envs} == envs
        assert estate.ids(one, other) == ids
        assert {str(a) for a in estate.services.acls(one)} == acls
        for app in (one, other):
            estate.works(app, envs[app])
        assert not daemon.events("drift.detected"), daemon.log.read_text()


def test_the_master_key_is_lost(estate: Estate, norn: Norn, name) -> None:
    """A daemon that waits for it goes on by itself."""
    one, other = two_apps(estate, name)
    norn.run("apply")
    for app in (one, other):
        estate.settle_in(app)
    envs, ids = {app: norn.env(app) for app in (one, other)}, estate.ids(one, other)
    lose_key(norn)
    with norn.daemon() as daemon:
        until(lambda: daemon.events("credentials.held"), told=daemon.log.read_text)
        assert "norn recover --new-key" in daemon.events("credentials.held")[0]["error"]
        assert "norn recover --new-key" in norn.run("status")
        assert "norn recover --new-key" in norn.run("doctor", code=1)
        norn.run("recover", code=1)
        assert not key_file(norn).exists(), "none is made without a word"
        shown = norn.run("recover", "--new-key", "--yes")
        assert one in shown and other in shown and "Restart" in shown
        until(lambda: len(daemon.events("lease.acquired")) > 1, 30, told=daemon.log.read_text)
        later = name("later")
        norn.write("later.yaml", spec(later, kv=False, events=False))
        norn.until_ready(later)  # the daemon is at work again
        estate.at_rest(one, other)
    assert key_file(norn).stat().st_mode & 0o777 == 0o600
    assert estate.ids(one, other) == ids
    for app, old in envs.items():
        new = norn.env(app)
        estate.works(app, new)
        estate.refused(old)


def test_the_master_key_of_another_installation_is_there(estate: Estate, norn: Norn, name) -> None:
    one, other = two_apps(estate, name)
    norn.run("apply")
    for app in (one, other):
        estate.settle_in(app)
    ids = estate.ids(one, other)
    lose_key(norn)
    norn.run("key", "create")
    theirs = key_file(norn).read_bytes()
    norn.run("apply", code=1)
    norn.run("recover", "--new-key", "--yes")
    assert key_file(norn).read_bytes() == theirs, "a file that is there is never replaced"
    estate.at_rest(one, other)
    assert estate.ids(one, other) == ids
    for app in (one, other):
        estate.works(app, norn.env(app))
    assert "nothing is lost" in refusal(norn, "recover", "--new-key", "--yes")


def test_a_daemon_that_has_the_key_in_memory_is_not_robbed_of_it(estate, norn, name) -> None:
    one, _ = two_apps(estate, name)
    with norn.daemon(NORN_INSTANCE="the-daemon"):
        norn.until_ready(one)
        env = norn.env(one)
        lose_key(norn)
        assert "the-daemon" in refusal(norn, "recover", "--new-key", "--yes")
        assert not key_file(norn).exists()
        assert norn.env(one) == env


def refusal(norn: Norn, *arguments: str) -> str:
    done = norn.ended(*arguments)
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_norn_db_and_the_master_key_are_lost(estate: Estate, norn: Norn, name) -> None:
    """Nothing derives the passwords any more: each is set anew, and the data stays."""
    one, other = two_apps(estate, name)
    norn.run("apply")
    for app in (one, other):
        estate.settle_in(app)
    ids, old = estate.ids(one, other), norn.env(one)
    lose_key(norn)
    estate.empty_norn_db()
    norn.run("apply", code=1)  # makes a key, since norn_db knows of none
    steps = norn.json("recover", one, code=1)["steps"]  # nobody agrees: standard input is empty
    assert {s["action"] for s in steps if s["object"] == "password"} == {"set"}
    estate.works(one, old)
    norn.run("recover", "--yes")
    estate.at_rest(one, other)
    assert estate.ids(one, other) == ids
    for app in (one, other):
        estate.works(app, norn.env(app))
    estate.refused(old)


@contextmanager
def dying(norn: Norn, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is killed at the end of the block."""
    with (norn.folder / "dying.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "norn_reconciler", *arguments],
            cwd=norn.folder,
            env=norn.environment(),
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("moment", ["the file is there", "norn_db is of it", "one is delivered"])
def test_a_new_key_is_killed_over(estate: Estate, norn: Norn, name, moment: str) -> None:
    one, other = two_apps(estate, name)
    norn.run("apply")
    for app in (one, other):
        estate.settle_in(app)
    envs, ids = {app: norn.env(app) for app in (one, other)}, estate.ids(one, other)
    known = norn.rows("SELECT key_fingerprint FROM reconciler.meta")
    lose_key(norn)
    reached = {
        "the file is there": lambda: key_file(norn).exists(),
        "norn_db is of it": lambda: (
            norn.rows("SELECT key_fingerprint FROM reconciler.meta") != known
        ),
        "one is delivered": lambda: any(norn.env(app) != env for app, env in envs.items()),
    }[moment]
    with dying(norn, "recover", "--new-key", "--yes") as process:
        while not reached():
            assert process.poll() is None, (norn.folder / "dying.log").read_text()
    made = key_file(norn).read_bytes()
    if norn.rows("SELECT key_fingerprint FROM reconciler.meta") == known:
        norn.run("recover", "--new-key", "--yes")
    else:
        norn.run("apply")
    assert key_file(norn).read_bytes() == made
    estate.at_rest(one, other)
    assert estate.ids(one, other) == ids
    for app, old in envs.items():
        estate.works(app, norn.env(app))
        estate.refused(old)


@pytest.mark.parametrize("moment", ["asked", "recorded"])
def test_a_recovery_is_killed_over(estate: Estate, norn: Norn, name, moment: str) -> None:
    one, other = two_apps(estate, name)
    norn.run("apply")
    for app in (one, other):
        estate.settle_in(app)
    envs, ids = {app: norn.env(app) for app in (one, other)}, estate.ids(one, other)
    stored = estate.stored(one, other)
    estate.empty_norn_db()
    norn.run("db", "upgrade")
    table = {"asked": "operations", "recorded": "inventory"}[moment]
    with dying(norn, "recover", "--yes") as process:
        while not norn.rows(f"SELECT 1 FROM reconciler.{table}"):
            assert process.poll() is None, (norn.folder / "dying.log").read_text()
    norn.run("apply", code=None)  # what was asked for is done by whoever comes next
    norn.run("recover", "--yes")
    estate.at_rest(one, other)
    ended = norn.rows("SELECT state FROM reconciler.operations WHERE kind = 'recover'")
    assert {r["state"] for r in ended} == {"done"}
    assert estate.ids(one, other) == ids
    assert estate.stored(one, other) == stored
    for app, env in envs.items():
        assert norn.env(app) == env
        estate.works(app, env)
