"""Planning as a pure function, tried against a model of the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Origin, Owned
from norn_reconciler.model.moves import GIVER
from norn_reconciler.model.plan import Effect, Plan, Severity, Wanted
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from norn_reconciler.providers.events.acl import AclBinding, wanted_acls
from norn_reconciler.providers.events.actions import (
    AlterConfig,
    CreateTopic,
    DeleteAcl,
    DropMechanism,
    DropUser,
    EventsAction,
    GrantAcl,
    GrowPartitions,
    RevokeAcl,
    SetPassword,
    TakeOverAcl,
)
from norn_reconciler.providers.events.state import (
    ConfigValue,
    Desired,
    Observed,
    TopicState,
    same_value,
)

APP = AppName("mail")
MARK = CredentialMark("key", 1)
CREDENTIAL = Credential(Secret("s3cret"), MARK)
PROVIDER = EventsProvider(brokers="kafka:9092")
OWNED: Owned = {
    ("topic", "in"): Held("topic", "in", server_id="id-in"),
    ("scram-user", "mail"): Held("scram-user", "mail"),
}
CLAIMED: Owned = {
    ("scram-user", "mail"): Held("scram-user", "mail", HeldState.CLAIMED),
}


def desired(*topics: object, declared: bool = True) -> Desired:
    section = {"events": EventsSection.model_validate({"topics": list(topics)})}
    return PROVIDER.desired(App(APP, section if declared else {}), CREDENTIAL)


def wanted(
    *topics: object, owned: Owned = OWNED, applied: CredentialMark | None = MARK
) -> Wanted[Desired]:
    return Wanted(APP, desired(*topics), owned, applied)


def gone(owned: Owned = OWNED) -> Wanted[Desired]:
    return Wanted(APP, desired(declared=False), owned, MARK)


def server(
    topics: Mapping[str, TopicState] | None = None,
    acls: Iterable[AclBinding] | None = None,
    **fields: object,
) -> Observed:
    """A broker on which app mail with topic `in` has converged, but for what is given."""
    found = Observed(
        topics={"in": TopicState("id-in", 1, 1)} if topics is None else topics,
        mechanisms={"SCRAM-SHA-256": 4096},
        acls=frozenset(wanted_acls(APP, ["in"]) if acls is None else acls),
    )
    return replace(found, **fields)  # type: ignore[arg-type]


def summaries(plan: Plan[EventsAction]) -> list[str]:
    return [action.summary() for action in plan.actions]


def after(actions: Iterable[EventsAction], observed: Observed) -> Observed:
    """What a broker holds once it has done these actions."""
    topics, mechanisms, acls = dict(observed.topics), dict(observed.mechanisms), set(observed.acls)
    for action in actions:
        match action:
            case CreateTopic():
                config = {key: ConfigValue(value, True) for key, value in action.spec.config}
                topics[action.name] = TopicState(
                    f"new-{action.name}",
                    action.spec.partitions or 1,
                    action.spec.replication or 1,
                    config,
                )
            case GrowPartitions():
                topics[action.name] = replace(topics[action.name], partitions=action.partitions)
            case AlterConfig():
                config = dict(topics[action.name].config)
                config |= {key: ConfigValue(value, True) for key, value in action.setting}
                config |= {key: ConfigValue("default", False) for key in action.resetting}
                topics[action.name] = replace(topics[action.name], config=config)
            case SetPassword():
                mechanisms["SCRAM-SHA-256"] = 4096
            case DropMechanism():
                del mechanisms[action.mechanism]
            case DropUser():
                mechanisms.clear()
            case GrantAcl():
                acls.update(action.rule.bindings())
            case DeleteAcl():
                acls.difference_update(action.rule.bindings())
            case _:
                raise AssertionError(action)
    return Observed(topics, mechanisms, frozenset(acls), observed.foreign)


def test_a_new_app_is_made_whole_revokes_first_grants_last() -> None:
    stray = AclBinding("User:mail", "TOPIC", "old", "LITERAL", "*", "ALLOW", "ALL")
    plan = PROVIDER.plan(
        wanted({"name": "in", "partitions": 3, "config": {"retention.ms": 5}}, owned=CLAIMED,
               applied=None),
        Observed(acls=frozenset({stray})),
    )  # fmt: skip
    assert summaries(plan)[:3] == [
        "DELETE ACL ALLOW User:mail ALL ON TOPIC LITERAL old",
        "CREATE TOPIC in partitions=3 retention.ms=5",
        "CREATE USER mail SCRAM-SHA-256 iterations=4096",
    ]
    assert {type(action) for action in plan.actions[3:]} == {GrantAcl}
    assert [a.key for a in plan.actions if a.effect is Effect.CREATE] == [
        ("topic", "in"), ("scram-user", "mail"),
    ]  # fmt: skip
    assert not any(action.lost for action in plan.actions)


def test_converged_is_empty() -> None:
    assert PROVIDER.plan(wanted("in"), server()) == Plan()


def test_a_topic_that_vanished_is_made_again_as_lost() -> None:
    plan = PROVIDER.plan(wanted("in"), server(topics={}))
    assert [(a.summary(), a.lost) for a in plan.actions] == [("CREATE TOPIC in", True)]
    claimed = {**OWNED, ("topic", "in"): Held("topic", "in", HeldState.CLAIMED)}
    plan = PROVIDER.plan(wanted("in", owned=claimed), server(topics={}))
    assert [a.lost for a in plan.actions] == [False]


def test_a_replaced_topic_is_reported_once() -> None:
    found = server(topics={"in": TopicState("id-other", 1, 1)})
    plan = PROVIDER.plan(wanted("in"), found)
    assert [p.reason for p in plan.problems] == ["TopicReplaced"]
    assert not plan.actions
    assert plan.blocked is None
    rows = PROVIDER.confirm(wanted("in"), found, ())
    assert PROVIDER.plan(wanted("in", owned=rows), found) == Plan()


def test_a_broker_without_topic_ids_replaces_nothing() -> None:
    found = server(topics={"in": TopicState(None, 1, 1)})
    assert PROVIDER.plan(wanted("in"), found) == Plan()
    assert PROVIDER.confirm(wanted("in"), found, ()) == OWNED


@pytest.mark.parametrize(
    ("topic", "state", "action", "problem"),
    [
        ({"partitions": 4}, TopicState("id-in", 2, 1), "ALTER TOPIC in partitions=4 (from 2)", ""),
        ({"partitions": 1}, TopicState("id-in", 2, 1), "", "PartitionsShrink"),
        ({"replication": 3}, TopicState("id-in", 2, 1), "", "ReplicationDiffers"),
        ({}, TopicState("id-in", 9, 3), "", ""),
    ],
)
def test_partitions_and_replication(
    topic: dict[str, int], state: TopicState, action: str, problem: str
) -> None:
    plan = PROVIDER.plan(wanted({"name": "in", **topic}), server(topics={"in": state}))
    assert summaries(plan) == ([action] if action else [])
    assert [p.reason for p in plan.problems] == ([problem] if problem else [])
    assert all(p.severity is Severity.WARNING and p.remedy for p in plan.problems)


@pytest.mark.parametrize(
    ("found", "ours", "expected"),
    [
        (ConfigValue("1000", True), {}, []),
        (ConfigValue("2000", True), {}, ["retention.ms=1000"]),
        (ConfigValue("1000", False), {}, ["retention.ms=1000"]),
        (ConfigValue("1000", False), {"retention.ms": "1000"}, []),
        (ConfigValue("2000", False), {"retention.ms": "1000"}, ["retention.ms=1000"]),
    ],
)
def test_config_is_compared_by_value_and_source(
    found: ConfigValue, ours: dict[str, str], expected: list[str]
) -> None:
    owned = {**OWNED, ("topic", "in"): Held("topic", "in", server_id="id-in", settings=ours)}
    state = TopicState("id-in", 1, 1, {"retention.ms": found})
    plan = PROVIDER.plan(
        wanted({"name": "in", "config": {"retention.ms": 1000}}, owned=owned),
        server(topics={"in": state}),
    )
    assert summaries(plan) == [f"ALTER TOPIC in CONFIG {change}" for change in expected]


def test_a_dropped_key_that_norn_set_goes_back_and_others_stay() -> None:
    owned = {
        **OWNED,
        ("topic", "in"): Held("topic", "in", server_id="id-in", settings={"retention.ms": "1"}),
    }
    config = {"retention.ms": ConfigValue("1", True), "segment.ms": ConfigValue("9", True)}
    found = server(topics={"in": TopicState("id-in", 1, 1, config)})
    plan = PROVIDER.plan(wanted("in", owned=owned), found)
    assert summaries(plan) == ["ALTER TOPIC in CONFIG retention.ms=<broker default>"]
    assert plan.actions[0].found == "retention.ms=1"
    settled = after(plan.actions, found)
    rows = PROVIDER.confirm(wanted("in", owned=owned), settled, plan.actions)
    assert rows["topic", "in"].settings == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.50", "0.5", True), ("1000", "1000.0", True), ("1000", "1001", False),
        ("TRUE", "true", True), ("true", "false", False),
        ("compact, delete", "compact,delete", True), ("delete,compact", "compact,delete", False),
        ("", "0", False),
    ],
)  # fmt: skip
def test_values_that_mean_the_same(one: str, other: str, same: bool) -> None:
    assert same_value(one, other) is same


@pytest.mark.parametrize(
    ("mechanisms", "applied", "expected"),
    [
        ({}, MARK, ["CREATE USER mail"]),
        ({"SCRAM-SHA-256": 4096}, None, ["ALTER USER mail SCRAM-SHA-256"]),
        ({"SCRAM-SHA-256": 4096}, CredentialMark("key", 2), ["ALTER USER mail SCRAM-SHA-256"]),
        ({"SCRAM-SHA-256": 4096}, CredentialMark("other", 1), ["ALTER USER mail SCRAM-SHA-256"]),
        ({"SCRAM-SHA-256": 8192}, MARK, ["ALTER USER mail SCRAM-SHA-256"]),
        (
            {"SCRAM-SHA-512": 4096},
            MARK,
            ["ALTER USER mail DROP SCRAM-SHA-512", "ALTER USER mail SCRAM-SHA-256"],
        ),
        (
            {"SCRAM-SHA-256": 4096, "SCRAM-SHA-512": 4096},
            MARK,
            ["ALTER USER mail DROP SCRAM-SHA-512"],
        ),
    ],
)
def test_the_user(
    mechanisms: dict[str, int], applied: CredentialMark | None, expected: list[str]
) -> None:
    found = server(mechanisms=mechanisms)
    plan = PROVIDER.plan(wanted("in", applied=applied), found)
    assert len(plan.actions) == len(expected)
    assert all(s.startswith(e) for s, e in zip(summaries(plan), expected, strict=True))


def test_a_user_that_is_not_norns_blocks_all() -> None:
    plan = PROVIDER.plan(wanted("in", owned={}), server(topics={}, acls=()))
    assert plan.actions == ()
    assert plan.blocked is not None
    assert (plan.blocked.reason, plan.blocked.remedy) == ("Conflict", "norn adopt mail")


def test_a_principal_without_a_user_is_somebodys_and_can_be_taken_over() -> None:
    theirs = AclBinding("User:mail", "TOPIC", "ledger", "LITERAL", "*", "ALLOW", "READ")
    found = Observed(acls=frozenset({theirs}))
    first = wanted("in", owned={}, applied=None)
    plan = PROVIDER.plan(first, found)
    assert plan.actions == (), "nothing of it is deleted"
    assert plan.blocked is not None
    assert plan.blocked.reason == "Conflict"
    assert plan.blocked.remedy.startswith("norn adopt mail")
    assert "LITERAL ledger" in plan.blocked.message
    rows = PROVIDER.adoptable(first, found)
    assert rows == CLAIMED, "the user itself is norn's to make, and to drop"
    agreed = PROVIDER.plan(replace(first, owned=rows), found)
    assert agreed.blocked is None
    assert summaries(agreed)[0] == "DELETE ACL ALLOW User:mail READ ON TOPIC LITERAL ledger"
    # What a removal was killed over is norn's to finish: its row goes last.
    assert summaries(PROVIDER.plan(gone(rows), found)) == [
        "DELETE ACL ALLOW User:mail READ ON TOPIC LITERAL ledger"
    ]
    assert PROVIDER.confirm(gone(rows), found, ()) == rows


def test_a_prefix_over_others_topics_is_given_only_when_a_person_agrees() -> None:
    theirs = {"mail.cards": TopicState("id-cards", 3, 1), "mail.in": TopicState("id-in", 1, 1)}
    found = Observed(topics=theirs)
    first = wanted("mail.in", owned={}, applied=None)
    plan = PROVIDER.plan(first, found)
    assert plan.actions == ()
    assert plan.blocked is not None
    assert plan.blocked.reason == "Conflict"
    assert "mail.cards, mail.in" in plan.blocked.message
    assert "norn adopt mail" in plan.blocked.remedy
    rows = PROVIDER.adoptable(first, found)
    assert {key: (row.origin, row.state) for key, row in rows.items()} == {
        ("topic", "mail.cards"): (Origin.ADOPTED, HeldState.RETAINED),
        ("topic", "mail.in"): (Origin.ADOPTED, HeldState.OWNED),
        ("scram-user", "mail"): (Origin.MADE, HeldState.CLAIMED),
    }
    agreed = replace(first, owned=rows)
    plan = PROVIDER.plan(agreed, found)
    assert plan.blocked is None
    settled = after(plan.actions, found)
    confirmed = PROVIDER.confirm(agreed, settled, plan.actions)
    assert confirmed["topic", "mail.cards"] == rows["topic", "mail.cards"]
    resting = replace(agreed, owned=confirmed, applied=MARK)
    assert PROVIDER.plan(resting, settled) == Plan()


def test_groups_that_somebody_was_given_are_in_use() -> None:
    for name, pattern in (("mail", "LITERAL"), ("mail.workers", "LITERAL"), ("mail.", "PREFIXED")):
        theirs = AclBinding("User:legacy", "GROUP", name, pattern, "*", "ALLOW", "READ")
        found = Observed(foreign=frozenset({theirs}))
        plan = PROVIDER.plan(wanted("in", owned={}, applied=None), found)
        assert plan.blocked is not None
        assert name in plan.blocked.message
        assert PROVIDER.adoptable(wanted("in", owned={}), found) == CLAIMED
    monitor = AclBinding("User:monitor", "GROUP", "*", "LITERAL", "*", "ALLOW", "DESCRIBE")
    found = Observed(foreign=frozenset({monitor}))
    assert PROVIDER.plan(wanted("in", owned={}, applied=None), found).blocked is None


def test_an_app_that_norn_made_keeps_its_prefix_whoever_comes_later() -> None:
    theirs = {"mail.cards": TopicState("id-cards", 3, 1), "in": TopicState("id-in", 1, 1)}
    assert PROVIDER.plan(wanted("in"), server(topics=theirs)) == Plan()


def test_a_topic_that_is_not_norns_is_never_granted() -> None:
    plan = PROVIDER.plan(wanted("in", owned={}, applied=None), server(mechanisms={}, acls=()))
    assert plan.blocked is not None
    assert plan.blocked.remedy == "norn adopt mail"
    assert not any("LITERAL in" in summary for summary in summaries(plan))
    assert any("PREFIXED mail." in summary for summary in summaries(plan))


def test_an_extra_acl_is_drift_and_a_dropped_topic_is_a_removal() -> None:
    extra = AclBinding("User:mail", "TOPIC", "in", "LITERAL", "*", "ALLOW", "ALTER")
    plan = PROVIDER.plan(wanted("in"), server(acls={*wanted_acls(APP, ["in"]), extra}))
    assert [(type(a), a.effect) for a in plan.actions] == [(DeleteAcl, Effect.CHANGE)]

    plan = PROVIDER.plan(wanted(), server())
    assert [(type(a), a.effect, a.destructive) for a in plan.actions] == [
        (RevokeAcl, Effect.REMOVAL, True)
    ]
    found = after(plan.actions, server())
    rows = PROVIDER.confirm(wanted(), found, plan.actions)
    assert rows["topic", "in"].state is HeldState.RETAINED
    # Once retained, the same ACL again is somebody's doing: drift.
    again = PROVIDER.plan(wanted(owned=rows), server())
    assert [a.effect for a in again.actions] == [Effect.CHANGE]


def test_a_dropped_topic_is_retained_only_once_its_access_is_gone() -> None:
    assert PROVIDER.confirm(wanted(), server(), ())["topic", "in"].state is HeldState.OWNED


def test_a_dropped_key_stays_norns_until_it_is_reset() -> None:
    row = Held("topic", "in", server_id="id-in", settings={"retention.ms": "1"})
    owned = {**OWNED, ("topic", "in"): row}
    config = {"retention.ms": ConfigValue("1", True)}
    found = server(topics={"in": TopicState("id-in", 1, 1, config)})
    assert PROVIDER.confirm(wanted("in", owned=owned), found, ())["topic", "in"] == row


def test_no_section_takes_acls_then_the_user() -> None:
    plan = PROVIDER.plan(gone(), server())
    assert [a.effect for a in plan.actions] == [Effect.REMOVAL] * len(plan.actions)
    assert plan.actions[-1].summary() == "DROP USER mail SCRAM-SHA-256"
    found = after(plan.actions, server())
    rows = PROVIDER.confirm(gone(), found, plan.actions)
    assert {key: row.state for key, row in rows.items()} == {("topic", "in"): HeldState.RETAINED}
    assert PROVIDER.plan(gone(rows), found) == Plan()
    # Handed back: the topic is still norn's, and nothing counts as lost.
    back = PROVIDER.plan(wanted("in", owned=rows, applied=None), found)
    assert back.blocked is None
    assert not any(isinstance(a, CreateTopic) for a in back.actions)


def test_no_section_and_no_row_is_none_of_norns_business() -> None:
    assert PROVIDER.plan(gone({}), server()) == Plan()


def test_an_adopted_user_loses_its_access_and_stays() -> None:
    owned = {("scram-user", "mail"): Held("scram-user", "mail", origin=Origin.ADOPTED)}
    plan = PROVIDER.plan(gone(owned), server())
    assert {type(a) for a in plan.actions} == {RevokeAcl}
    found = after(plan.actions, server())
    rows = PROVIDER.confirm(gone(owned), found, plan.actions)
    assert rows["scram-user", "mail"].state is HeldState.RETAINED
    assert PROVIDER.plan(gone(rows), found) == Plan()


def test_a_retained_topic_that_is_gone_is_forgotten_and_a_wanted_one_is_not() -> None:
    owned = {("topic", "in"): Held("topic", "in", HeldState.RETAINED, server_id="id-in")}
    assert PROVIDER.confirm(gone(owned), Observed(), ()) == {}
    assert PROVIDER.confirm(wanted("in"), server(topics={}), ()) == OWNED


def test_adoption_takes_over_what_is_there() -> None:
    rows = PROVIDER.adoptable(wanted("in", "out", owned={}), server())
    assert {key: (row.origin, row.server_id) for key, row in rows.items()} == {
        ("topic", "in"): (Origin.ADOPTED, "id-in"),
        ("scram-user", "mail"): (Origin.ADOPTED, None),
    }
    assert PROVIDER.plan(wanted("in", owned=rows), server()).blocked is None
    assert PROVIDER.adoptable(gone({}), server()) == {}


def test_a_foreign_grant_is_reported_with_what_to_type() -> None:
    grant = AclBinding("User:eve", "TOPIC", "in", "LITERAL", "*", "ALLOW", "READ")
    plan = PROVIDER.plan(wanted("in"), server(foreign=frozenset({grant})))
    assert plan.actions == ()
    (problem,) = plan.problems
    assert (problem.severity, problem.reason) == (Severity.WARNING, "ForeignGrant")
    assert problem.remedy == (
        "rpk security acl delete --allow-principal 'User:eve' --allow-host '*' --operation read "
        "--topic 'in' --resource-pattern-type literal"
    )


@pytest.mark.parametrize(
    ("acl", "severity", "reason", "remedy"),
    [
        (
            AclBinding("User:*", "CLUSTER", "kafka-cluster", "LITERAL", "*", "ALLOW", "ALTER"),
            Severity.BLOCKING,
            "OpenToAll",
            "rpk security acl delete --allow-principal 'User:*' --allow-host '*' --operation alter "
            "--cluster",
        ),
        (
            AclBinding("User:*", "GROUP", "*", "LITERAL", "*", "ALLOW", "READ"),
            Severity.BLOCKING,
            "OpenToAll",
            "rpk security acl delete --allow-principal 'User:*' --allow-host '*' --operation read "
            "--group '*' --resource-pattern-type literal",
        ),
        (
            AclBinding("User:*", "USER", "mail", "LITERAL", "*", "ALLOW", "CREATE_TOKENS"),
            Severity.BLOCKING,
            "OpenToAll",
            "kafka-acls --bootstrap-server HOST:PORT --command-config ADMIN --remove "
            "--allow-principal 'User:*' --operation CreateTokens --user-principal 'mail'",
        ),
        (
            AclBinding("User:*", "USER", "mail", "LITERAL", "10.0.0.7", "ALLOW", "CREATE_TOKENS"),
            Severity.BLOCKING,
            "OpenToAll",
            "kafka-acls --bootstrap-server HOST:PORT --command-config ADMIN --remove "
            "--allow-principal 'User:*' --allow-host '10.0.0.7' --operation CreateTokens "
            "--user-principal 'mail'",
        ),
        (
            AclBinding("User:*", "TOPIC", "in", "LITERAL", "*", "DENY", "WRITE"),
            Severity.WARNING,
            "ForeignDeny",
            "rpk security acl delete --deny-principal 'User:*' --deny-host '*' --operation write "
            "--topic 'in' --resource-pattern-type literal",
        ),
    ],
)
def test_rules_for_everybody(acl: AclBinding, severity: Severity, reason: str, remedy: str) -> None:
    (problem,) = PROVIDER.plan(wanted("in"), server(foreign=frozenset({acl}))).problems
    assert (problem.severity, problem.reason, problem.remedy) == (severity, reason, remedy)


def test_what_is_the_administrators_is_refused_unless_norn_holds_it() -> None:
    keys = {"redpanda.remote.write": "true", "confluent.value.schema.validation": "true"}
    asked = ("_audit", {"name": "in", "config": {**keys, "retention.ms": "5"}})
    plan = PROVIDER.plan(wanted(*asked), server(topics={}))
    assert [p.reason for p in plan.problems] == ["NameReserved", "ConfigReserved"]
    assert plan.blocked is not None
    assert [s for s in summaries(plan) if "_audit" in s] == [], "neither made nor granted"
    made = [a.spec for a in plan.actions if isinstance(a, CreateTopic)]
    assert [(s.name, s.config) for s in made] == [("in", (("retention.ms", "5"),))]
    # What the broker says of itself does not make it norn's.
    there = {key: ConfigValue("true", True) for key in keys}
    found = server(topics={"in": TopicState("id-in", 1, 1, there)})
    rows = PROVIDER.confirm(wanted(*asked), found, ())
    assert rows["topic", "in"].settings == {}
    theirs = server(topics={"_audit": TopicState("id", 1, 1)})
    assert ("topic", "_audit") not in PROVIDER.adoptable(wanted(*asked), theirs)
    # An earlier version made both.
    owned = {
        **OWNED,
        ("topic", "_audit"): Held("topic", "_audit", server_id="id"),
        ("topic", "in"): Held("topic", "in", server_id="id-in", settings=keys),
    }
    plan = PROVIDER.plan(wanted(*asked, owned=owned), server(topics={}))
    assert plan.blocked is None
    assert {a.name for a in plan.actions if isinstance(a, CreateTopic)} == {"_audit", "in"}


def test_the_desired_state_prints_the_same_whatever_the_order() -> None:
    one, other = desired("a", "b"), desired("b", "a")
    assert repr(one) == repr(other)
    assert "s3cret" not in repr(one)


names = st.sampled_from(["in", "out", "mail.x", "dead-letters"])
topic_specs = st.dictionaries(
    names,
    st.fixed_dictionaries(
        {},
        optional={
            "partitions": st.integers(1, 5),
            "config": st.dictionaries(
                st.sampled_from(["retention.ms", "segment.ms"]), st.integers(1, 3)
            ),
        },
    ),
    max_size=3,
)
topic_states = st.dictionaries(
    names,
    st.builds(
        TopicState,
        topic_id=st.sampled_from(["id-1", "id-2"]),
        partitions=st.integers(1, 5),
        replication=st.just(1),
        config=st.dictionaries(
            st.sampled_from(["retention.ms", "segment.ms"]),
            st.builds(ConfigValue, st.sampled_from(["1", "2", "3"]), st.booleans()),
        ),
    ),
)
bindings = st.frozensets(
    st.builds(
        AclBinding,
        principal=st.just("User:mail"),
        type=st.sampled_from(["TOPIC", "GROUP", "CLUSTER"]),
        name=st.sampled_from(["in", "out", "mail", "mail.", "*"]),
        pattern=st.sampled_from(["LITERAL", "PREFIXED"]),
        host=st.sampled_from(["*", "10.0.0.1"]),
        permission=st.sampled_from(["ALLOW", "DENY"]),
        operation=st.sampled_from(["READ", "WRITE", "DESCRIBE", "ALL"]),
    )
)
rows = st.dictionaries(
    names.map(lambda name: ("topic", name)),
    st.sampled_from(list(HeldState)),
)


@given(
    specs=topic_specs,
    declared=st.booleans(),
    topics=topic_states,
    acls=bindings,
    mechanisms=st.dictionaries(
        st.sampled_from(["SCRAM-SHA-256", "SCRAM-SHA-512"]), st.sampled_from([4096, 8192])
    ),
    held=rows,
    user_held=st.booleans(),
    config=st.dictionaries(st.sampled_from(["retention.ms"]), st.just("1")),
)
def test_any_state_converges_in_one_plan(
    specs: dict[str, dict[str, object]],
    declared: bool,
    topics: dict[str, TopicState],
    acls: frozenset[AclBinding],
    mechanisms: dict[str, int],
    held: dict[ObjectKey, HeldState],
    user_held: bool,
    config: dict[str, str],
) -> None:
    owned: dict[ObjectKey, Held] = {
        key: Held(*key, state=state, server_id="id-1", settings=config)
        for key, state in held.items()
    }
    if user_held:
        owned["scram-user", "mail"] = Held("scram-user", "mail")
    want = Wanted(
        APP,
        desired(*({"name": n, **s} for n, s in specs.items()), declared=declared),
        owned,
        None,
    )
    observed = Observed(topics, mechanisms, acls)
    plan = PROVIDER.plan(want, observed)
    assert [a.phase for a in plan.actions] == sorted(a.phase for a in plan.actions)
    if plan.blocked:
        return
    settled = after(plan.actions, observed)
    confirmed = PROVIDER.confirm(want, settled, plan.actions)
    resting = Wanted(APP, want.desired, confirmed, MARK)
    second = PROVIDER.plan(resting, settled)
    assert second.actions == ()
    assert second.blocked is None
    assert PROVIDER.confirm(resting, settled, ()) == confirmed
    if declared:
        assert settled.acls == set(want.desired.acls)
    elif user_held:
        assert not settled.acls
        assert not settled.mechanisms
    # What the spec never named is as it was.
    for name in topics.keys() - specs.keys():
        assert settled.topics[name] == topics[name]


def test_a_topic_that_came_from_another_app_is_used_only_once_that_one_cannot() -> None:
    row = Held("topic", "in", server_id="id-in", settings={GIVER: "giver"})
    want = wanted("in", owned={**OWNED, row.key: row})
    taken = [acl for acl in wanted_acls(APP, ["in"]) if acl.name != "in"]
    waiting = server(acls=taken, late=frozenset({"in"}))
    found = PROVIDER.plan(want, waiting)
    assert {type(action) for action in found.actions} == {TakeOverAcl}
    kept = PROVIDER.confirm(want, waiting, ())
    assert kept[row.key].settings == {GIVER: "giver"}, "until it is over"
    gone = server(acls=taken)
    now = PROVIDER.plan(want, gone)
    assert {type(action) for action in now.actions} == {GrantAcl}
    assert summaries(now) == summaries(found)
    assert PROVIDER.confirm(want, gone, ())[row.key].settings == {}
    # What it has by now it keeps, whatever is seen of the other one.
    assert PROVIDER.plan(want, server(late=frozenset({"in"}))).actions == ()
