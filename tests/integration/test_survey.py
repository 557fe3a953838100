"""What each real server holds beside norn's, and that no name on it breaks out of a spec."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import valkey

from norn_reconciler.engine.survey import joined
from norn_reconciler.model.app import AppName
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import provider as events
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.settings import Settings
from norn_reconciler.spec.draft import Draft, text
from norn_reconciler.spec.load import load
from norn_reconciler.spec.read import Content, Stamp
from norn_reconciler.spec.trial import check
from norn_reconciler.specs_folder import rules_of
from tests.integration.events_admin import Admin as EventsAdmin
from tests.integration.postgres_admin import Admin
from tests.integration.provider_contract import fresh_name
from tests.servers import PostgresServer, Servers

HOSTILE = "\"'\nrole: webserver # \x1b[31m\u202e{[*&!%"


def specs(key: str, found: Iterable[Found]) -> dict[str, str]:
    """Name → the text of its spec; each is looked at as a terminal and as norn would."""
    rules = rules_of(Settings())
    drafts = [Draft(w.name, w.sections, w.notes) for w in joined({key: found}, frozenset())]
    texts = {draft.app: text(draft) for draft in check(drafts, rules, {}).drafts}
    for name, spec in texts.items():
        assert all(char == "\n" or char.isprintable() for char in spec)
        loaded = load(Content(Stamp(0, 0, 0, 0, 0), spec.encode(), ""), "x.yaml", rules)
        if loaded.document is None:
            assert all(line.startswith("#") for line in spec.splitlines()), name
        else:
            assert loaded.document.spec.role == "worker"
    return texts


@pytest.fixture
async def admin(postgres: PostgresServer) -> AsyncIterator[Admin]:
    admin = Admin(postgres)
    before = await admin.roles()
    yield admin
    await admin.sweep(before)


async def test_postgres_tells_of_roles_and_databases_in_one_request(admin: Admin) -> None:
    name, other = fresh_name(), fresh_name()
    evil = f"{fresh_name()}{HOSTILE}"
    for role, database in ((name, f"db_{name}"), (other, f"db_{other}"), (evil, evil)):
        await admin.run("CREATE ROLE {} LOGIN CONNECTION LIMIT 7 PASSWORD 'never shown'", role)
        await admin.run("CREATE DATABASE {} OWNER {}", database, role)
    rows = {
        (kind, what): Held(kind, what)
        for kind, what in (("role", other), ("database", f"db_{other}"))
    }
    provider = PostgresProvider(
        Secret(admin.server.admin_url),
        norn_users=frozenset({"norn"}),
        norn_databases=frozenset({"norn_db"}),
        instance="survey",
    )
    try:
        await provider.connect()
        before = provider.requests
        found = await provider.survey({AppName(other): rows})
        assert provider.requests - before == 1
    finally:
        await provider.close()
    apps = {one.user: one for one in found}
    assert apps[name].section == {"database": f"db_{name}", "connections": 7}
    assert apps[evil].section == {"database": evil, "connections": 7}
    assert not apps.keys() & {"postgres", "norn", "norn_admin", other}
    assert f"db_{other}" not in str(found) and "never shown" not in str(found)
    assert "SCRAM-SHA-256$" not in str(found)
    made = specs("postgres", found)
    assert f"database: db_{name}\n" in made[name] and "connections: 7" in made[name]
    assert "can't be imported as it is" in made[evil]
    await admin.run("DROP DATABASE {}", evil)


async def test_valkey_tells_of_its_users_in_one_request(servers: Servers) -> None:
    name, other = fresh_name(), fresh_name()
    server = valkey.Valkey.from_url(servers.valkey_url, decode_responses=True)
    odd = f"{fresh_name()}-\"'[31m{{:#"
    users = {name: f"~{name}:*", other: "~x:*", odd: f"~{odd}:*"}
    for user, keys in users.items():
        server.execute_command("ACL", "SETUSER", user, "on", ">never shown", keys, "+@all")
    provider = KvProvider(Endpoint(Secret(servers.valkey_url), None))
    try:
        await provider.connect()
        before = provider.requests
        found = await provider.survey(
            {AppName(other): {("acl-user", other): Held("acl-user", other)}}
        )
        assert provider.requests - before == 1
    finally:
        await provider.close()
        server.execute_command("ACL", "DELUSER", *users)
        server.close()
    apps = {one.user: one for one in found}
    assert apps[name].section == {"namespace": name} and "+@all" in str(apps[name].notes)
    assert not apps.keys() & {"default", other}
    assert "never shown" not in str(found)
    made = specs("kv", found)
    assert f"namespace: {name}\n" in made[name] and "can't be imported" in made[odd]


async def test_a_broker_tells_of_users_and_topics_in_four_requests(servers: Servers) -> None:
    writer, reader, other = fresh_name(), fresh_name(), fresh_name()
    provider = events.EventsProvider(
        brokers=servers.brokers,
        username=servers.kafka_username,
        password=Secret(servers.kafka_password),
    )
    admin = EventsAdmin(provider)
    topic, held, lonely = f"{writer}-in", f"{other}.out", f"{writer}-lonely"
    evil = f"User:{writer}{HOSTILE}"
    try:
        for each in (topic, held, lonely):
            await admin.create_topic(each)
        await admin.alter_config(topic, "retention.ms", "7200000")
        for user in (writer, reader, other):
            await admin.set_password(user, "SCRAM-SHA-256", Secret("never shown"), 4096)
        for who, operation in ((writer, "WRITE"), (writer, "READ"), (reader, "READ")):
            await admin.create_acl(f"User:{who}", "TOPIC", topic, "LITERAL", operation)
        await admin.create_acl(evil, "TOPIC", lonely, "LITERAL", "WRITE")
        rows = {
            (kind, what): Held(kind, what)
            for kind, what in (("scram-user", other), ("topic", held))
        }
        before = provider.requests
        found = await provider.survey({AppName(other): rows})
        assert provider.requests - before == 4
        await admin.delete_acl(evil, "TOPIC", lonely, "LITERAL", "WRITE")
        after: Any = await provider.survey({AppName(other): rows})
    finally:
        await provider.close()
    apps = {one.user: one for one in found}
    assert apps[writer].section == {
        "topics": [
            {
                "name": topic,
                "partitions": 1,
                "replication": 1,
                "readers": [reader],
                "config": {"retention.ms": "7200000"},
            }
        ]
    }
    assert apps[reader].section == {"topics": []}
    assert not apps.keys() & {other, servers.kafka_username}
    assert held not in str(found) and "__consumer_offsets" not in str(found)
    assert "never shown" not in str(found)
    made = specs("events", found)
    assert f"- name: {topic}\n" in made[writer]
    assert "can't be imported as it is" in made[evil.removeprefix("User:")]
    assert any(f"topic {lonely} is granted to no user" in str(one.notes) for one in after)
