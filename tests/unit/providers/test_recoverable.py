"""Which witness makes an object norn's own again, on each service. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.providers.events import inventory as events_rows
from norn_reconciler.providers.events.acl import AclBinding, wanted_acls
from norn_reconciler.providers.events.observe import marked
from norn_reconciler.providers.events.provider import EventsProvider
from norn_reconciler.providers.kv import inventory as kv_rows
from norn_reconciler.providers.kv.rules import app_rules
from norn_reconciler.providers.kv.state import USER
from norn_reconciler.providers.postgres import inventory
from norn_reconciler.providers.postgres.state import INVALID
from tests.unit.providers import test_events_plan as events
from tests.unit.providers import test_kv_plan as kv
from tests.unit.providers import test_postgres_plan as postgres

ROLE, DATABASE = ("role", postgres.APP), ("database", postgres.DB)
TOPIC, SCRAM = ("topic", "in"), ("scram-user", "mail")


def origins(rows: Owned) -> dict[tuple[str, str], Origin]:
    return {key: row.origin for key, row in rows.items()}


def test_a_role_by_its_comment_or_its_password_and_what_it_owns() -> None:
    lost = postgres.wanted(owned={})
    rows = inventory.recoverable(lost, postgres.CONVERGED, False)
    assert origins(rows) == {ROLE: Origin.ADOPTED, DATABASE: Origin.ADOPTED}
    assert {row.server_id for row in rows.values()} == {"110", "20"}
    bare = postgres.observed(replace(postgres.ROLE, comment=None), postgres.DATABASE)
    assert inventory.recoverable(lost, bare, False) == {}
    assert origins(inventory.recoverable(lost, bare, True)) == {
        ROLE: Origin.MADE,
        DATABASE: Origin.ADOPTED,
    }
    other = postgres.observed(replace(postgres.ROLE, comment="norn: app other"))
    assert inventory.recoverable(lost, other, False) == {}


def test_a_group_of_readers_by_its_comment_whatever_became_of_the_owner() -> None:
    """A readers' group outlives a role that was dropped."""
    desired = replace(postgres.DESIRED, readers=("reader",))
    lost = postgres.wanted(desired, {}, applied=None)
    group = postgres.Role(f"{postgres.APP}.readers", 111, comment=postgres.ROLE.comment)
    seen = replace(postgres.observed(None), group=group)
    assert set(inventory.recoverable(lost, seen, False)) == {("group", group.name)}
    blocked = postgres.plan(lost, seen).blocked
    assert blocked is not None
    assert blocked.remedy.startswith("norn recover mail-agent")
    theirs = replace(seen, group=replace(group, comment=None))
    assert inventory.recoverable(lost, theirs, False) == {}
    blocked = postgres.plan(lost, theirs).blocked
    assert blocked is not None
    assert blocked.remedy == (
        'as a superuser: ALTER ROLE "mail-agent.readers" RENAME TO …, '
        'or DROP ROLE "mail-agent.readers"'
    )


@pytest.mark.parametrize(
    "database",
    [
        replace(postgres.DATABASE, owner="alice"),
        replace(postgres.DATABASE, connection_limit=INVALID),
    ],
)
def test_a_database_of_another_owner_or_half_dropped_is_not_taken(database) -> None:
    seen = postgres.observed(postgres.ROLE, database)
    assert set(inventory.recoverable(postgres.wanted(owned={}), seen, True)) == {ROLE}


def test_rows_whose_ids_no_longer_fit_are_not_taken_over() -> None:
    role = replace(postgres.ROLE, oid=11, comment=None)
    seen = postgres.observed(role, replace(postgres.DATABASE, oid=21))
    for proven in (False, True):
        assert inventory.recoverable(postgres.wanted(), seen, proven) == {}


def test_a_database_that_an_older_norn_db_does_not_know() -> None:
    known = {ROLE: postgres.OWNED[ROLE]}
    wanted = postgres.wanted(owned=known)
    assert set(inventory.recoverable(wanted, postgres.CONVERGED, False)) == {DATABASE}
    blocked = postgres.plan(wanted, postgres.CONVERGED).blocked
    assert blocked is not None
    assert blocked.remedy.startswith("norn recover mail-agent")
    assert inventory.recoverable(postgres.wanted(), postgres.CONVERGED, True) == {}
    gone = postgres.wanted(postgres.EMPTY, {})
    assert inventory.recoverable(gone, postgres.CONVERGED, True) == {}


def test_an_acl_user_by_its_password_or_by_norns_rules() -> None:
    ours = app_rules("mail", "ns", kv.SHA)
    theirs = replace(ours, passwords=frozenset({kv.OTHER}))
    wider = replace(theirs, keys=frozenset({"~*"}))
    for user, proven, expected in (
        (ours, False, {kv.KEY: Origin.ADOPTED}),
        (theirs, False, {kv.KEY: Origin.ADOPTED}),
        (replace(ours, keys=frozenset({"~*"})), False, {kv.KEY: Origin.ADOPTED}),
        (wider, False, {}),
        (replace(theirs, nopass=True), False, {}),
        (wider, True, {kv.KEY: Origin.MADE}),
        (None, True, {}),
    ):
        server = kv.Server(user=user)
        rows = kv_rows.recoverable(server.wanted("ns"), server.seen, proven)
        assert origins(rows) == expected
        blocked = server.plan("ns").blocked
        if user is not None and not proven:
            assert blocked is not None
            assert ("norn recover mail" in blocked.remedy) == bool(expected)
    claimed = kv.Server(user=theirs, owned={kv.KEY: Held(*kv.KEY, HeldState.CLAIMED)})
    assert kv_rows.recoverable(claimed.wanted("ns"), claimed.seen, True) == {}
    assert kv_rows.recoverable(kv.Server(user=ours).wanted(None), claimed.seen, True) == {}
    assert kv.KEY[0] == USER


def test_a_scram_user_by_its_acls_and_topics_by_theirs() -> None:
    lost = events.wanted("in", "late", owned={})
    topics = {name: events.TopicState(f"id-{name}", 1, 1) for name in ("in", "late")}
    seen = events.server(topics)
    rows = events_rows.recoverable(lost, seen, False)
    assert origins(rows) == {SCRAM: Origin.ADOPTED, TOPIC: Origin.ADOPTED}
    assert rows[TOPIC].server_id == "id-in"
    bare = events.server(topics, acls=())
    assert events_rows.recoverable(lost, bare, False) == {}
    assert origins(events_rows.recoverable(lost, bare, True)) == {SCRAM: Origin.MADE}
    absent = events.server(topics, mechanisms={})
    assert events_rows.recoverable(lost, absent, True) == {}
    assert events_rows.recoverable(events.gone({}), seen, True) == {}


def test_what_is_reserved_is_never_recovered() -> None:
    """Whatever an administrator granted: a topic of the broker's, or the user norn logs in as."""
    lost = events.wanted("in", "_audit", owned={SCRAM: Held(*SCRAM)})
    topics = {name: events.TopicState(f"id-{name}", 1, 1) for name in ("in", "_audit")}
    seen = events.server(topics, acls=wanted_acls(events.APP, ["in", "_audit"]))
    for proven in (False, True):
        assert set(events_rows.recoverable(lost, seen, proven)) == {TOPIC}
    reasons = [problem.reason for problem in events.PROVIDER.plan(lost, seen).problems]
    assert sorted(reasons) == ["Conflict", "NameReserved"]
    norns = EventsProvider(brokers="localhost:9", username=events.APP)
    for row_of in (norns.adoptable, lambda *of: norns.recoverable(*of, True)):
        assert row_of(events.wanted("in", owned={}), events.server()) == {}
    plan = norns.plan(events.wanted("in"), events.server(acls=()))
    assert plan.actions == ()
    assert plan.blocked is not None
    assert plan.blocked.reason == "NameReserved"


def test_an_app_keeps_its_acls_on_a_topic_that_an_older_norn_db_does_not_know() -> None:
    known = {SCRAM: Held(*SCRAM)}
    plan = events.PROVIDER.plan(events.wanted("in", owned=known), events.server())
    assert plan.actions == ()
    assert plan.blocked is not None
    assert plan.blocked.remedy.startswith("norn recover mail")
    # A right that norn does not give is no witness, and goes.
    half = [a for a in wanted_acls(events.APP, ["in"]) if a[1:3] != ("TOPIC", "in")]
    stray = AclBinding("User:mail", "TOPIC", "in", "LITERAL", "*", "ALLOW", "ALL")
    found = events.server(acls=[*half, stray])
    plan = events.PROVIDER.plan(events.wanted("in", owned=known), found)
    assert events.summaries(plan) == ["DELETE ACL ALLOW User:mail ALL ON TOPIC LITERAL in"]
    assert plan.blocked is not None
    assert plan.blocked.remedy == "norn adopt mail"


def test_what_bears_norns_acls_is_listed_with_its_topics() -> None:
    acls = [
        *wanted_acls("mail", ["in"], ["others"]),
        AclBinding("User:eve", "TOPIC", "in", "LITERAL", "*", "ALLOW", "READ"),
    ]
    assert marked(acls) == {"mail": {SCRAM, TOPIC}}
