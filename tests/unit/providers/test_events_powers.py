"""Who is named as another admin of the cluster."""

from __future__ import annotations

import pytest

from norn_reconciler.model.plan import Severity
from norn_reconciler.providers.events.acl import AclBinding, wanted_acls
from norn_reconciler.providers.events.powers import other_admins, unknown_users


def acl(kind: str, name: str, operation: str, who: str = "User:eve", **more: str) -> AclBinding:
    found = AclBinding(who, kind, name, "LITERAL", "*", "ALLOW", operation)
    return found._replace(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "power",
    [
        *(acl("CLUSTER", "kafka-cluster", op) for op in (
            "ALL", "ALTER", "CLUSTER_ACTION", "ALTER_CONFIGS", "CREATE", "DELETE")),
        acl("USER", "*", "CREATE_TOKENS"), acl("USER", "mail", "CREATE_TOKENS"),
        acl("TOPIC", "*", "ALTER"), acl("TOPIC", "*", "ALL"),
        acl("GROUP", "*", "ALTER"), acl("GROUP", "*", "ALL"),
    ],
)  # fmt: skip
def test_a_power_is_named_with_what_takes_it_away(power: AclBinding) -> None:
    (found,) = other_admins([power], "norn")
    assert found.reason == "ForeignAdmin"
    assert f"User:eve has rights that reach every app: {power.operation}" in found.message
    assert "…" not in found.remedy
    assert "'User:eve'" in found.remedy
    assert other_admins([power], "eve") == [], "norn's own user"


@pytest.mark.parametrize(
    "harmless",
    [
        acl("CLUSTER", "kafka-cluster", "DESCRIBE"),
        acl("CLUSTER", "kafka-cluster", "IDEMPOTENT_WRITE"),
        acl("TOPIC", "in", "ALL"),
        acl("TOPIC", "*", "READ"),
        acl("CLUSTER", "kafka-cluster", "ALTER", permission="DENY"),
    ],
)
def test_what_is_no_power(harmless: AclBinding) -> None:
    assert other_admins([harmless], "norn") == []


def test_all_powers_of_one_are_one_warning() -> None:
    found = other_admins(
        [acl("CLUSTER", "kafka-cluster", "ALTER"), acl("CLUSTER", "kafka-cluster", "CREATE"),
         acl("TOPIC", "*", "ALL")],
        "norn",
    )  # fmt: skip
    assert [f.remedy for f in found] == [
        "if it need not: rpk security acl delete --allow-principal 'User:eve' --allow-host '*' "
        "--operation alter,create --cluster; rpk security acl delete --allow-principal 'User:eve' "
        "--allow-host '*' --operation all --topic '*' --resource-pattern-type literal"
    ]


def test_users_that_nobody_of_norns_knows_are_listed() -> None:
    acls = [*wanted_acls("mail", ["in"]), acl("TOPIC", "in", "READ")]
    assert unknown_users({"mail", "norn"}, acls, "norn") == []
    (found,) = unknown_users({"norn", "mail", "eve", "bob"}, acls, "norn")
    assert (found.severity, found.reason) == (Severity.WARNING, "UnknownUsers")
    assert "bob, eve" in found.message
    assert "rpk security user delete" in found.remedy
    many = {f"u{n}" for n in range(7)}
    (found,) = unknown_users(many, (), None)
    assert "u0, u1, u2, u3, u4 and 2 more" in found.message
