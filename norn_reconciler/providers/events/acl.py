"""ACL bindings as values: what an app is given, and whom else an ACL gives a way in.

Pure. Names are Kafka's own, upper case (`TOPIC`, `READ`, `ALLOW`, `LITERAL`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

# The numbers on the wire: org.apache.kafka.common.resource.ResourceType and its neighbours.
TYPES = {
    2: "TOPIC", 3: "GROUP", 4: "CLUSTER", 5: "TRANSACTIONAL_ID", 6: "DELEGATION_TOKEN", 7: "USER",
}  # fmt: skip
OPERATIONS = {
    2: "ALL", 3: "READ", 4: "WRITE", 5: "CREATE", 6: "DELETE", 7: "ALTER", 8: "DESCRIBE",
    9: "CLUSTER_ACTION", 10: "DESCRIBE_CONFIGS", 11: "ALTER_CONFIGS", 12: "IDEMPOTENT_WRITE",
    13: "CREATE_TOKENS", 14: "DESCRIBE_TOKENS",
}  # fmt: skip
PERMISSIONS = {2: "DENY", 3: "ALLOW"}
PATTERNS = {3: "LITERAL", 4: "PREFIXED"}

TOPIC_OPERATIONS = ("DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE")
GROUP_OPERATIONS = ("DESCRIBE", "READ")
TRANSACTION_OPERATIONS = ("DESCRIBE", "WRITE")


@dataclass(frozen=True, slots=True, order=True)
class AclBinding:
    """One rule, with all that tells two rules apart. Operations are not expanded: ALL is ALL."""

    principal: str
    type: str
    name: str
    pattern: str
    host: str
    permission: str
    operation: str


@dataclass(frozen=True, slots=True, order=True)
class AclRule:
    """The bindings that differ in their operation only: how people read and write ACLs."""

    principal: str
    type: str
    name: str
    pattern: str
    host: str
    permission: str
    operations: tuple[str, ...]

    def bindings(self) -> tuple[AclBinding, ...]:
        """One binding per operation, in order."""
        return tuple(
            AclBinding(
                self.principal, self.type, self.name, self.pattern, self.host, self.permission, op
            )
            for op in self.operations
        )

    def __str__(self) -> str:
        host = "" if self.host == "*" else f" FROM {self.host}"
        return (
            f"{self.permission} {self.principal} {', '.join(self.operations)} "
            f"ON {self.type} {self.pattern} {self.name}{host}"
        )


def principal(app: str) -> str:
    """The Kafka principal of an app's SCRAM user."""
    return f"User:{app}"


def own_prefix(app: str) -> str:
    """What every name that belongs to the app without being declared begins with.

    The dot delimits: without it `mail` would reach into `mailbox.in`; app names hold no dot, so
    two apps' prefixes never overlap.
    """
    return f"{app}."


def wanted_acls(app: str, topics: Iterable[str]) -> tuple[AclBinding, ...]:
    """All that an app needs to produce, consume and run transactions, sorted; nothing on CLUSTER,
    and no CREATE, DELETE or ALTER."""
    who, prefix = principal(app), own_prefix(app)
    patterns: list[tuple[str, str, str, tuple[str, ...]]]
    patterns = [("TOPIC", name, "LITERAL", TOPIC_OPERATIONS) for name in topics]
    patterns.append(("TOPIC", prefix, "PREFIXED", TOPIC_OPERATIONS))
    for kind, operations in (
        ("GROUP", GROUP_OPERATIONS),
        ("TRANSACTIONAL_ID", TRANSACTION_OPERATIONS),
    ):
        patterns.append((kind, app, "LITERAL", operations))
        patterns.append((kind, prefix, "PREFIXED", operations))
    return tuple(
        sorted(
            AclBinding(who, kind, name, pattern, "*", "ALLOW", operation)
            for kind, name, pattern, operations in patterns
            for operation in operations
        )
    )


def rules(bindings: Iterable[AclBinding]) -> tuple[AclRule, ...]:
    """Bindings gathered by everything but the operation, sorted."""

    def head(b: AclBinding) -> tuple[str, str, str, str, str, str]:
        return (b.principal, b.type, b.name, b.pattern, b.host, b.permission)

    return tuple(
        AclRule(*key, operations=tuple(b.operation for b in group))
        for key, group in groupby(sorted(bindings), key=head)
    )


def grants_reaching(
    foreign: Iterable[AclBinding], topics_of: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[AclBinding]]:
    """Which of these ALLOW bindings reach into which app's names.

    foreign: bindings of principals that are not norn's. topics_of: app → its declared topics.
    Result: app → the bindings that reach its topics, groups or transactions; apps that none
    reaches are left out.
    """
    owner = {topic: app for app, topics in topics_of.items() for topic in topics}
    reached: dict[str, set[AclBinding]] = {}
    for acl in foreign:
        if acl.permission != "ALLOW" or acl.type not in {"TOPIC", "GROUP", "TRANSACTIONAL_ID"}:
            continue
        for app in _reached_by(acl, owner, topics_of):
            reached.setdefault(app, set()).add(acl)
    return {app: frozenset(acls) for app, acls in reached.items()}


def _reached_by(
    acl: AclBinding, owner: Mapping[str, str], topics_of: Mapping[str, frozenset[str]]
) -> Iterable[str]:
    if acl.pattern == "LITERAL" and acl.name != "*":
        head, dot, _ = acl.name.partition(".")
        by_name = owner.get(acl.name) if acl.type == "TOPIC" else None
        apps = {by_name} if by_name else set()
        if head in topics_of and (dot or acl.type != "TOPIC"):
            apps.add(head)
        return apps
    if acl.name == "*":
        return topics_of
    return [
        app
        for app, topics in topics_of.items()
        if own_prefix(app).startswith(acl.name)
        or acl.name.startswith(own_prefix(app))
        or (acl.type == "TOPIC" and any(topic.startswith(acl.name) for topic in topics))
    ]
