"""ACLs as values: what an app is given, and which foreign grants reach it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.providers.events.acl import (
    AclBinding,
    grants_reaching,
    rules,
    wanted_acls,
)


def acl(
    name: str,
    *,
    type: str = "TOPIC",
    pattern: str = "LITERAL",
    operation: str = "READ",
    permission: str = "ALLOW",
    who: str = "User:eve",
) -> AclBinding:
    return AclBinding(who, type, name, pattern, "*", permission, operation)


def test_an_app_is_given_exactly_this() -> None:
    assert [str(rule) for rule in rules(wanted_acls("mail", ["in.box"]))] == [
        "ALLOW User:mail DESCRIBE, READ ON GROUP LITERAL mail",
        "ALLOW User:mail DESCRIBE, READ ON GROUP PREFIXED mail.",
        "ALLOW User:mail DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE ON TOPIC LITERAL in.box",
        "ALLOW User:mail DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE ON TOPIC PREFIXED mail.",
        "ALLOW User:mail DESCRIBE, WRITE ON TRANSACTIONAL_ID LITERAL mail",
        "ALLOW User:mail DESCRIBE, WRITE ON TRANSACTIONAL_ID PREFIXED mail.",
    ]


@given(st.lists(st.text("ab.-_", min_size=1, max_size=4), unique=True), st.randoms())
def test_rules_are_the_same_bindings_in_any_order(names: list[str], random: object) -> None:
    bindings = list(wanted_acls("app", names))
    random.shuffle(bindings)  # type: ignore[attr-defined]
    gathered = rules(bindings)
    assert gathered == rules(sorted(bindings))
    assert sorted(b for rule in gathered for b in rule.bindings()) == sorted(bindings)


@pytest.mark.parametrize(
    ("grant", "reached"),
    [
        (acl("in.box"), {"mail"}),
        (acl("in.bo"), set()),
        (acl("in.bo", pattern="PREFIXED"), {"mail"}),
        (acl("*"), {"mail", "web"}),
        (acl("*", who="User:*"), {"mail", "web"}),
        (acl("web.anything"), {"web"}),
        (acl("web"), set()),
        (acl("web.a", pattern="PREFIXED"), {"web"}),
        (acl("w", pattern="PREFIXED"), {"web"}),
        (acl("webx.", pattern="PREFIXED"), set()),
        (acl("web", type="GROUP"), {"web"}),
        (acl("web.g", type="TRANSACTIONAL_ID"), {"web"}),
        (acl("in.box", type="GROUP"), set()),
        (acl("in.box", permission="DENY"), set()),
        (acl("in.box", permission="DENY", who="User:*"), {"mail"}),
        (acl("kafka-cluster", type="CLUSTER"), set()),
        (acl("kafka-cluster", type="CLUSTER", who="User:*"), {"mail", "web"}),
        (acl("kafka-cluster", type="CLUSTER", who="User:*", permission="DENY"), set()),
        (acl("somebody", type="USER", who="User:*"), {"mail", "web"}),
        (acl("token", type="DELEGATION_TOKEN", who="User:*"), {"mail", "web"}),
    ],
)
def test_whom_a_foreign_grant_reaches(grant: AclBinding, reached: set[str]) -> None:
    topics_of = {"mail": frozenset({"in.box"}), "web": frozenset()}
    assert grants_reaching([grant], topics_of) == {app: frozenset({grant}) for app in reached}


def test_what_producers_once_needed_is_no_power() -> None:
    old = acl("kafka-cluster", type="CLUSTER", who="User:*")._replace(operation="IDEMPOTENT_WRITE")
    assert grants_reaching([old], {"mail": frozenset()}) == {}
