"""Isolation is proven by logging in as the app, before it is Ready and ever after; a password that
somebody changed is found and set again; a stack that is open to all is never Ready."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import valkey
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.kafka_server import Kafka
from infra.ports import free_port
from infra.stack import Stack
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.login import LoginRefused, log_in
from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import Services

Logins = dict[str, Callable[[], bool]]


def logins(env: dict[str, str], corrupt: bool = False) -> Logins:
    """service → whether the delivered values let us in. corrupt: with one character changed."""

    def bent(password: str) -> str:
        return password if not corrupt else ("A" if password[0] != "A" else "B") + password[1:]

    def postgres() -> bool:
        head, _, rest = env["DATABASE_URL"].partition("://")
        user, _, tail = rest.partition(":")
        password, _, place = tail.partition("@")
        try:
            psycopg.connect(f"{head}://{user}:{bent(password)}@{place}").close()
        except psycopg.OperationalError as refused:
            assert "password authentication failed" in str(refused)
            return False
        return True

    def kv() -> bool:
        _, _, rest = env["VALKEY_URL"].partition("://")
        user, _, tail = rest.partition(":")
        password, _, place = tail.partition("@")
        client = valkey.Valkey.from_url(f"redis://{user}:{bent(password)}@{place}")
        try:
            client.get(f"{env['KV_NAMESPACE']}:x")
        except valkey.AuthenticationError:
            return False
        finally:
            client.close()
        return True

    def events() -> bool:
        endpoint = Endpoint.parse(env["KAFKA_BOOTSTRAP_SERVERS"], "SASL_PLAINTEXT", None, 5.0)
        password = Secret(bent(env["KAFKA_SASL_PASSWORD"]))
        try:
            asyncio.run(log_in(endpoint, "SCRAM-SHA-256", env["KAFKA_SASL_USERNAME"], password))
        except LoginRefused:
            return False
        return True

    return {"postgres": postgres, "kv": kv, "events": events}


def test_each_app_is_verified_and_its_health_is_recorded(norn: Norn, name) -> None:
    one, two = name("one"), name("two")
    for app in (one, two):
        norn.write(f"{app}.yaml", spec(app))
    norn.run("apply")
    for app in (one, two):
        shown = norn.condition(app, "IsolationVerified")
        assert (shown["status"], shown["reason"]) == ("True", "Verified")
        assert "refused" in shown["message"]
    found = norn.json("health", "--apps")["apps"]
    assert {(r["app"], r["service"]) for r in found} == {
        (app, service) for app in (one, two) for service in ("postgres", "kv", "events")
    }
    assert all(r["healthy"] and r["reason"] == "Verified" for r in found)
    rows = norn.rows("SELECT count(*) AS n FROM public.health_checks")[0]["n"]
    norn.run("apply")
    assert norn.rows("SELECT count(*) AS n FROM public.health_checks")[0]["n"] == rows


def test_every_corrupted_password_fails(norn: Norn, name) -> None:
    app = name("corrupt")
    norn.write("corrupt.yaml", spec(app))
    norn.run("apply")
    env = norn.env(app)
    assert {service: works() for service, works in logins(env).items()} == {
        "postgres": True, "kv": True, "events": True,
    }  # fmt: skip
    assert not any(works() for works in logins(env, corrupt=True).values())


def other_password(services: Services, service: str, app: str) -> None:
    if service == "postgres":
        services.sql(f"ALTER ROLE \"{app}\" PASSWORD 'somebody-elses'")
    elif service == "kv":
        services.valkey.execute_command("ACL", "SETUSER", app, "resetpass", ">somebody-elses")
    else:
        services.kafka.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(app, ScramMechanism.SCRAM_SHA_256, b"somebody-elses")]
        )


@pytest.mark.parametrize("service", ["postgres", "kv", "events"])
def test_a_password_that_somebody_changed_is_set_again(
    norn: Norn, services: Services, name, service: str
) -> None:
    app, bystander = name("drifts"), name("stays")
    norn.write("drifts.yaml", spec(app))
    norn.write("stays.yaml", spec(bystander))
    with norn.daemon():
        norn.until_ready(app, bystander)
        env = norn.env(app)
        other_password(services, service, app)
        until(lambda: not logins(env)[service]())
        norn.run("reconcile", app, "--wait")
        until(logins(env)[service], told=norn.story)
        norn.until_ready(app)
        told = [e for e in norn.events("drift.detected", app) if e["service"] == service]
        assert told and "password" in str(told[0]["fields"]) + told[0]["message"]
        assert norn.env(app) == env
        assert norn.events("drift.detected", bystander) == []


@contextmanager
def trusting(stack: Stack) -> Iterator[None]:
    """PostgreSQL lets everybody in as anybody."""

    def superuser(statement: str) -> str:
        with psycopg.connect(stack.postgres.url(), autocommit=True) as conn:
            row = conn.execute(statement).fetchone()
            return str(row[0]) if row else ""

    rules = Path(superuser("SHOW hba_file"))
    strict = rules.read_text()
    rules.write_text("host all all 127.0.0.1/32 trust\n" + strict)
    superuser("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        rules.write_text(strict)
        superuser("SELECT pg_reload_conf()")


@contextmanager
def unlocked(services: Services) -> Iterator[None]:
    """Valkey's default user may do everything."""
    services.valkey.execute_command("ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all")
    try:
        yield
    finally:
        services.valkey.execute_command("ACL", "SETUSER", "default", "reset", "off")


@pytest.mark.parametrize("service", ["postgres", "kv"])
def test_a_server_that_takes_anybody_is_found_by_the_first_probe(
    breakable: Norn, breakable_services: Services, private_stack: Stack, name, service: str
) -> None:
    norn, app = breakable, name("open")
    norn.write("open.yaml", spec(app, events=False))
    door = trusting(private_stack) if service == "postgres" else unlocked(breakable_services)
    with door:
        norn.run("apply", code=1)
        shown = norn.condition(app, "IsolationVerified")
        assert (shown["status"], shown["reason"]) == ("False", "WrongPasswordAccepted"), shown
        assert service in shown["message"]
        assert norn.condition(app, "Ready")["status"] == "False"
        assert norn.events("isolation.failed", app)
        assert not (norn.folder / ".norn" / "credentials" / f"{app}.env").exists()
        norn.run("health", "--apps", code=1)
    norn.run("apply")
    assert norn.condition(app, "Ready")["status"] == "True"
    assert norn.events("isolation.verified", app)


class Lenient(Kafka):
    """Whatever no ACL is about, everybody may do."""

    def _properties(self) -> str:
        strict = "allow.everyone.if.no.acl.found=false"
        return super()._properties().replace(strict, strict.replace("false", "true"))


@pytest.fixture
def lenient() -> Iterator[Kafka]:
    folder = Path(tempfile.mkdtemp(prefix="norn-test-"))
    folder.chmod(0o711)  # the server's user passes through
    port = free_port()
    kafka = Lenient(folder, "kafka", port, secrets.token_urlsafe(24), free_port([port]))
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_broker_where_everybody_may_do_what_no_acl_is_about_is_found_by_the_first_probe(
    norn: Norn, lenient: Kafka, name
) -> None:
    one, two = name("one"), name("two")
    norn.settings = {
        **norn.settings,
        "NORN_REDPANDA_BROKERS": lenient.brokers,
        "NORN_REDPANDA_PASSWORD": lenient.password,
    }
    for app in (one, two):
        norn.write(f"{app}.yaml", spec(app, postgres=False, kv=False))
    norn.run("apply", code=1)
    for app in (one, two):
        shown = norn.condition(app, "IsolationVerified")
        assert (shown["status"], shown["reason"]) == ("False", "ServerOpen"), shown
        assert norn.condition(app, "Ready")["status"] == "False"
        assert norn.events("isolation.failed", app)
        assert not (norn.folder / ".norn" / "credentials" / f"{app}.env").exists()
    (seen,) = [s for s in norn.json("doctor", code=1)["services"] if s["service"] == "events"]
    assert "AuthorisationOff" in {f["reason"] for f in seen["findings"]}


EVERYBODY = {
    "cluster": (ResourceType.CLUSTER, "kafka-cluster", ACLOperation.ALTER),
    "groups": (ResourceType.GROUP, "*", ACLOperation.READ),
}


@pytest.mark.parametrize("what", list(EVERYBODY))
def test_an_acl_for_everybody_keeps_every_app_from_ready(
    breakable: Norn, breakable_services: Services, name, what: str
) -> None:
    norn, app = breakable, name("open")
    kind, resource, operation = EVERYBODY[what]
    rule = ACL("User:*", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, resource))
    breakable_services.kafka.create_acls([rule])
    norn.write("open.yaml", spec(app, postgres=False, kv=False))
    try:
        norn.run("apply", code=1)
        shown = norn.condition(app, "TopicsReady")
        assert shown["reason"] == "OpenToAll", shown
        assert "rpk security acl delete --allow-principal 'User:*'" in shown["message"]
        isolation = norn.condition(app, "IsolationVerified")
        assert (isolation["status"], isolation["reason"]) == ("False", "OpenToAll")
        assert not (norn.folder / ".norn" / "credentials" / f"{app}.env").exists()
    finally:
        breakable_services.kafka.delete_acls([rule])
    norn.run("apply")
    assert norn.condition(app, "Ready")["status"] == "True"


def test_what_somebody_denies_an_app_is_seen(norn: Norn, services: Services, name) -> None:
    app = name("denied")
    norn.write("denied.yaml", spec(app, postgres=False, kv=False))
    norn.run("apply")
    topic = ResourcePattern(ResourceType.TOPIC, f"{app}.in")
    rule = ACL("User:*", "*", ACLOperation.WRITE, ACLPermissionType.DENY, topic)
    services.kafka.create_acls([rule])
    try:
        with norn.daemon():
            norn.run("reconcile", app, "--wait")
            until(
                lambda: norn.condition(app, "IsolationVerified").get("reason") == "NoRights",
                told=norn.story,
            )
            assert "WRITE" in norn.condition(app, "IsolationVerified")["message"]
            assert norn.condition(app, "TopicsReady")["reason"] == "ForeignDeny"
    finally:
        services.kafka.delete_acls([rule])


def test_an_app_with_all_its_connections_in_use_is_not_mistaken_for_one_with_another_password(
    norn: Norn, name
) -> None:
    app = name("full")
    text = spec(app, kv=False, events=False) + "    connections: 1\n"
    norn.write("full.yaml", text)
    with norn.daemon():
        norn.until_ready(app)
        env = norn.env(app)
        with psycopg.connect(env["DATABASE_URL"]):
            norn.run("reconcile", app, "--wait")
            until(
                lambda: norn.condition(app, "IsolationVerified")["status"] == "Unknown",
                told=norn.story,
            )
        assert norn.events("drift.detected", app) == []
        assert norn.env(app) == env


def test_rotation_changes_every_password_of_one_app_and_nothing_else(norn: Norn, name) -> None:
    app, bystander = name("rotates"), name("stays")
    norn.write("rotates.yaml", spec(app))
    norn.write("stays.yaml", spec(bystander))
    with norn.daemon():
        norn.until_ready(app, bystander)
        old, theirs = norn.env(app), norn.env(bystander)
        with psycopg.connect(old["DATABASE_URL"], autocommit=True) as open_session:
            norn.run("rotate", app)
            until(lambda: norn.env(app) != old, told=norn.story)
            new = norn.env(app)
            assert all(works() for works in logins(new).values())
            assert not any(works() for works in logins(old).values())
            assert open_session.execute("SELECT 1").fetchone() == (1,)
        assert norn.env(bystander) == theirs
        norn.until_ready(app)
    with norn.daemon():
        norn.until_ready(app)
        other_generation = norn.env(app)
        assert other_generation == new, "the generation outlives the process"
    assert norn.run("plan", "--check")
