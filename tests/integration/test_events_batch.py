"""Batches on a real broker: one app's fault stays its own, what moves changes hands, what is not
norn's is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Denied, Rejected, ServiceError
from norn_reconciler.model.plan import Effect, Plan
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from norn_reconciler.providers.events.actions import GrowPartitions
from tests.integration.events_admin import Admin
from tests.integration.provider_contract import World, credential, fresh_name


def app(name: AppName, *topics: object) -> App:
    return App(name, {"events": EventsSection.model_validate({"topics": list(topics)})})


def make(servers: Any, **changed: Any) -> EventsProvider:
    access = {
        "brokers": servers.brokers,
        "username": servers.kafka_username,
        "password": Secret(servers.kafka_password),
    }
    return EventsProvider(**{**access, **changed})


@pytest.fixture
async def provider(servers: Any) -> AsyncIterator[EventsProvider]:
    provider = make(servers)
    yield provider
    await provider.close()


def world(provider: EventsProvider) -> World:
    return World(provider)  # type: ignore[arg-type]  # the engine's view of every provider


@pytest.mark.parametrize(
    ("poison", "words"),
    [
        ({"config": {"retention.ms": "soon"}}, "retention.ms"),
        ({"config": {"no.such.key": 1}}, "no.such.key"),
        ({"replication": 30}, "eplication"),
    ],
)
async def test_a_poisoned_app_fails_alone(
    provider: EventsProvider, poison: dict[str, Any], words: str
) -> None:
    good, bad, w = fresh_name(), fresh_name(), world(provider)
    apps = (app(good, f"in-{good}"), app(bad, {"name": f"in-{bad}", **poison}, f"out-{bad}"))
    applied = await w.apply(await w.plans(apps))
    assert applied[good].error is None
    error = applied[bad].error
    assert isinstance(error, Rejected)
    assert words in str(error)
    assert [s.status for s in applied[bad].steps if f"in-{bad}" in s.step] == ["failed"]
    # The rest of its phase was acknowledged and is said to be; later phases were not tried.
    assert {a.name for a in applied[bad].done} == {f"out-{bad}"}
    await w.confirm(apps, applied)
    assert (await w.plans(apps))[good] == Plan()
    mended = app(bad, f"in-{bad}", f"out-{bad}")
    await w.converge(apps[0], mended)


async def test_a_topic_moves_from_one_app_to_another(provider: EventsProvider) -> None:
    a, b, w = fresh_name("a"), fresh_name("b"), world(provider)
    shared = f"shared-{a}"
    await w.converge(app(a, shared), app(b))
    # The inventory's row goes from one to the other; the engine decides that.
    w.owned[b] = {**w.owned[b], ("topic", shared): w.owned[a]["topic", shared]}
    await w.converge(app(a), app(b, shared))
    acls = {name: await Admin(provider).acls_of(name) for name in (a, b)}
    assert not [acl for acl in acls[a] if acl.name == shared]
    assert len([acl for acl in acls[b] if acl.name == shared]) == 4


async def test_a_topic_that_is_not_norns_blocks_and_is_left_alone(
    provider: EventsProvider,
) -> None:
    name, w, admin = fresh_name(), world(provider), Admin(provider)
    await admin.create_topic(f"in-{name}")
    before = (await admin.topics())[f"in-{name}"]
    wanted = app(name, f"in-{name}")
    plans = await w.plans([wanted])
    assert plans[name].blocked is not None
    applied = await w.apply(plans)
    await w.confirm([wanted], applied)
    assert (await admin.topics())[f"in-{name}"] == before
    assert not [acl for acl in await admin.acls_of(name) if acl.name == f"in-{name}"]
    # Adoption is what a person answers.
    seen = await w.observe([wanted])
    w.owned[name] = {
        **w.owned[name],
        **provider.adoptable(w.wanted(wanted), seen[name]),
    }
    await w.converge(wanted)
    assert [acl for acl in await admin.acls_of(name) if acl.name == f"in-{name}"]
    await w.converge(App(name, {}))
    assert (await admin.topics())[f"in-{name}"] == before


async def test_rights_without_a_user_are_neither_inherited_nor_deleted(
    provider: EventsProvider,
) -> None:
    """They may be of a client with a certificate, or left by a user that somebody deleted."""
    name, admin, w = fresh_name(), Admin(provider), world(provider)
    await admin.create_acl(f"User:{name}", "TOPIC", "somebody.elses", "LITERAL", "READ")
    plan = (await w.plans([app(name)]))[name]
    assert plan.actions == ()
    assert plan.blocked is not None
    assert (plan.blocked.reason, "somebody.elses" in plan.blocked.message) == ("Conflict", True)
    assert len(await admin.acls_of(name)) == 1
    seen = await w.observe([app(name)])
    w.owned[name] = provider.adoptable(w.wanted(app(name)), seen[name])
    done = await w.converge(app(name))
    assert "somebody.elses" in done[0].summary()
    assert done[0].effect is Effect.CHANGE
    assert not [acl for acl in await admin.acls_of(name) if "somebody" in acl.name]


async def test_a_foreign_grant_is_reported_and_left(provider: EventsProvider) -> None:
    name, eve, w, admin = fresh_name(), fresh_name("eve"), world(provider), Admin(provider)
    await w.converge(app(name, f"in-{name}"))
    await admin.create_acl(f"User:{eve}", "TOPIC", f"in-{name}", "LITERAL", "READ")
    await admin.create_acl(f"User:{eve}", "GROUP", f"{name}.", "PREFIXED", "READ")
    plan = (await w.plans([app(name, f"in-{name}")]))[name]
    assert plan.actions == ()
    reported = [p for p in plan.problems if eve in p.message]
    assert [p.reason for p in reported] == ["ForeignGrant", "ForeignGrant"]
    assert len(await admin.acls_of(eve)) == 2


async def test_a_declared_reader_is_no_stranger_before_norn_has_its_user(
    provider: EventsProvider,
) -> None:
    name, eve, w, admin = fresh_name(), fresh_name("eve"), world(provider), Admin(provider)
    shared = app(name, {"name": f"in-{name}", "readers": [eve]})
    await w.converge(shared)
    await admin.create_acl(f"User:{eve}", "TOPIC", f"in-{name}", "LITERAL", "READ")
    assert (await w.plans([shared]))[name] == Plan()
    await admin.create_acl(f"User:{eve}", "TOPIC", f"in-{name}", "LITERAL", "WRITE")
    (problem,) = (await w.plans([shared]))[name].problems
    assert problem.reason == "ForeignGrant" and "WRITE" in problem.message
    await w.converge(app(name, f"in-{name}"))
    (problem,) = (await w.plans([app(name, f"in-{name}")]))[name].problems
    assert "READ, WRITE" in problem.message, "taken off the list, it is a stranger again"


async def test_another_apps_grant_goes_by_its_own_plan(provider: EventsProvider) -> None:
    a, b, w, admin = fresh_name("a"), fresh_name("b"), world(provider), Admin(provider)
    apps = (app(a, f"in-{a}"), app(b))
    await w.converge(*apps)
    await admin.create_acl(f"User:{b}", "TOPIC", f"in-{a}", "LITERAL", "READ")
    plans = await w.plans(apps)
    assert plans[a] == Plan()
    assert [action.summary() for action in plans[b].actions] == [
        f"DELETE ACL ALLOW User:{b} READ ON TOPIC LITERAL in-{a}"
    ]
    # Looked at alone, the app still knows its neighbour for one of norn's.
    assert (await w.plans(apps[:1]))[a] == Plan()


async def test_partitions_grow_once(provider: EventsProvider) -> None:
    name, w = fresh_name(), world(provider)
    await w.converge(app(name, {"name": f"in-{name}", "partitions": 2}))
    more = app(name, {"name": f"in-{name}", "partitions": 5})
    plans = await w.plans([more])
    await w.converge(more)
    again = await w.apply(plans)
    assert again[name].error is None
    bad = GrowPartitions("topic", f"in-{name}", 3, 2)
    less = await w.apply({name: Plan((bad,))})
    assert less[name].error is None  # it has as many, and more
    shrunk = (await w.plans([app(name, {"name": f"in-{name}", "partitions": 1})]))[name]
    assert shrunk.actions == ()
    assert [p.reason for p in shrunk.problems] == ["PartitionsShrink"]


async def test_a_replaced_topic_is_said_once(provider: EventsProvider) -> None:
    name, w, admin = fresh_name(), world(provider), Admin(provider)
    wanted = app(name, f"in-{name}")
    await w.converge(wanted)
    await admin.delete_topic(f"in-{name}")
    await admin.create_topic(f"in-{name}")
    plan = (await w.plans([wanted]))[name]
    assert [p.reason for p in plan.problems] == ["TopicReplaced"]
    await w.converge(wanted)
    assert (await w.plans([wanted]))[name] == Plan()


async def test_an_admin_without_rights_is_told_what_to_grant(
    provider: EventsProvider, servers: Any
) -> None:
    weak, name = fresh_name("weak"), fresh_name()
    await Admin(provider).set_password(weak, "SCRAM-SHA-256", Secret("pw-of-weak"), 4096)
    powerless = make(servers, username=weak, password=Secret("pw-of-weak"))
    try:
        with pytest.raises(ServiceError) as caught:
            await world(powerless).plans([app(name)])
        assert isinstance(caught.value, Denied)
        assert f"User:{weak}" in caught.value.remedy
        health = await powerless.diagnose()
        assert not health.ok
        assert [f.reason for f in health.findings] == ["Denied"]
        assert f"User:{weak}" in health.findings[0].remedy
    finally:
        await powerless.close()


async def test_a_healthy_broker_has_nothing_to_report_and_nothing_left_behind(
    provider: EventsProvider,
) -> None:
    health = await provider.diagnose()
    assert health.ok
    others = {"ForeignAdmin", "UnknownUsers"}  # others' tests have some
    assert [f for f in health.findings if f.reason not in others] == []
    users = await Admin(provider).users()
    assert not [user for user in users if user.startswith("norn-doctor")]


async def test_a_user_that_nobody_knows_is_advice(provider: EventsProvider) -> None:
    stranger, known = fresh_name("a-stranger"), fresh_name()
    await Admin(provider).set_password(stranger, "SCRAM-SHA-256", Secret("pw-of-it"), 4096)
    await world(provider).converge(app(known))
    health = await provider.diagnose()
    assert health.ok
    (found,) = [f for f in health.findings if f.reason == "UnknownUsers"]
    assert known not in found.message
    assert stranger in found.message


async def test_a_published_password_is_reported(provider: EventsProvider, servers: Any) -> None:
    name = fresh_name("boss")
    admin = Admin(provider)
    await admin.set_password(name, "SCRAM-SHA-256", Secret("secretpassword"), 4096)
    for operation in ("ALTER", "CREATE", "DESCRIBE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"):
        await admin.create_acl(f"User:{name}", "CLUSTER", "kafka-cluster", "LITERAL", operation)
    await admin.create_acl(f"User:{name}", "TOPIC", "*", "LITERAL", "ALL")
    boss = make(servers, username=name, password=Secret("secretpassword"))
    try:
        health = await boss.diagnose()
        assert health.ok
        reasons = {f.reason for f in health.findings}
        assert "DefaultPassword" in reasons
        assert "secretpassword" not in repr(health)
        seen = [f for f in (await provider.diagnose()).findings if f.reason == "ForeignAdmin"]
        assert any(name in f.message and name in f.remedy for f in seen)
    finally:
        await Admin(provider).delete_acls_of(f"User:{name}", "")  # they reach everybody's topics
        await boss.close()


async def test_rights_on_the_cluster_alone_are_not_enough(
    provider: EventsProvider, servers: Any
) -> None:
    """Topics would be made, and never be seen."""
    name = fresh_name("blind")
    admin = Admin(provider)
    await admin.set_password(name, "SCRAM-SHA-256", Secret("pw-of-blind"), 4096)
    for operation in ("ALTER", "CREATE", "DESCRIBE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"):
        await admin.create_acl(f"User:{name}", "CLUSTER", "kafka-cluster", "LITERAL", operation)
    blind = make(servers, username=name, password=Secret("pw-of-blind"))
    topics = set(await admin.topics())
    try:
        health = await blind.diagnose()
        assert not health.ok
        (found,) = [f for f in health.findings if f.reason == "Denied"]
        assert "ALTER, ALTER_CONFIGS, DESCRIBE, DESCRIBE_CONFIGS on topics" in found.message
        assert f"--allow-principal 'User:{name}'" in found.remedy
        await admin.create_acl(f"User:{name}", "TOPIC", "*", "LITERAL", "ALL")
        assert (await blind.diagnose()).ok
    finally:
        await admin.delete_acls_of(f"User:{name}", "")  # it reaches everybody's topics
        await blind.close()
    assert not [t for t in set(await admin.topics()) - topics if t.startswith("Norn-Doctor")]


async def test_a_large_batch_goes_in_few_requests(provider: EventsProvider) -> None:
    """More ACLs than one request may carry, so that chunks are crossed."""
    names = [fresh_name() for _ in range(3)]
    topics = 180  # 4 ACLs each
    apps = [app(name, *(f"{name}.t{i}" for i in range(topics))) for name in names]
    w = world(provider)
    plans = await w.plans(apps)
    before = provider.requests
    applied = await w.apply(plans)
    assert all(one.error is None for one in applied.values())
    # Asking whether 540 topics and 2,160 ACLs show yet is most of them, on a busy machine.
    assert provider.requests - before < 300
    await w.confirm(apps, applied)
    assert [plan for plan in (await w.plans(apps)).values() if plan != Plan()] == []
    assert (await provider.prove(apps[0], credential(names[0]))).ok
