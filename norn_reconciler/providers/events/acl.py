"""ACL bindings as values: what an app is given, and whom else an ACL gives a way in.

Pure. Names are Kafka's own, upper case (`TOPIC`, `READ`, `ALLOW`, `LITERAL`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import ObjectKey

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
READER_OPERATIONS = ("DESCRIBE", "READ")
GROUP_OPERATIONS = ("DESCRIBE", "READ")
TRANSACTION_OPERATIONS = ("DESCRIBE", "WRITE")


EVERYBODY = "User:*"
_NAMED = frozenset({"TOPIC", "GROUP", "TRANSACTIONAL_ID"})


class AclBinding(NamedTuple):
    """One rule, with all that tells two rules apart. Operations are not expanded: ALL is ALL.

    A tuple, since each round makes, hashes and compares twenty of them an app.
    """

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


def wanted_acls(
    app: str, topics: Iterable[str], readable: Iterable[str] = ()
) -> tuple[AclBinding, ...]:
    """All that an app needs to produce, consume and run transactions, sorted; nothing on CLUSTER,
    and no CREATE, DELETE or ALTER. readable: others' topics that it may read."""
    who, prefix = principal(app), own_prefix(app)
    patterns: list[tuple[str, str, str, tuple[str, ...]]]
    patterns = [("TOPIC", name, "LITERAL", TOPIC_OPERATIONS) for name in topics]
    patterns += [("TOPIC", name, "LITERAL", READER_OPERATIONS) for name in readable]
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


def bears_norns_acls(app: str, acls: Collection[AclBinding]) -> bool:
    """Whether these, of the app's principal, hold all that norn gives every app of this name."""
    return set(wanted_acls(app, ())) <= set(acls)


def granted_by_norn(app: str, topic: str, acls: Collection[AclBinding]) -> bool:
    """Whether these hold all that norn gives on an app's own topic."""
    who = principal(app)
    return all(
        AclBinding(who, "TOPIC", topic, "LITERAL", "*", "ALLOW", operation) in acls
        for operation in TOPIC_OPERATIONS
    )


def reader_acls(readers: Mapping[AppName, Iterable[ObjectKey]]) -> frozenset[AclBinding]:
    """All that the readers of topics are given for it. readers: app → topics' inventory keys."""
    return frozenset(
        AclBinding(principal(app), "TOPIC", topic, "LITERAL", "*", "ALLOW", operation)
        for app, topics in readers.items()
        for _, topic in topics
        for operation in READER_OPERATIONS
    )


def rules(bindings: Iterable[AclBinding]) -> tuple[AclRule, ...]:
    """Bindings gathered by everything but the operation, sorted."""

    def head(b: AclBinding) -> tuple[str, str, str, str, str, str]:
        return (b.principal, b.type, b.name, b.pattern, b.host, b.permission)

    return tuple(
        AclRule(*key, operations=tuple(b.operation for b in group))
        for key, group in groupby(sorted(bindings), key=head)
    )


def is_power(acl: AclBinding) -> bool:
    """Whether it lets somebody at the cluster, at users or at delegation tokens. IDEMPOTENT_WRITE
    names and changes nothing of anybody's; producers needed it before Kafka 2.8."""
    return (
        acl.permission == "ALLOW" and acl.type not in _NAMED and acl.operation != "IDEMPOTENT_WRITE"
    )


def grants_reaching(
    foreign: Iterable[AclBinding], topics_of: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[AclBinding]]:
    """Which of these bindings reach into which app's names, or are about every app.

    foreign: bindings of principals that are not norn's. topics_of: app → its declared topics.
    Result: app → the ALLOW rules that let others at its topics, groups or transactions, the rules
    for everybody that let it at what is an administrator's, and those that deny everybody what is
    the app's; apps that none reaches are left out.
    """
    names = _Names.of(topics_of)
    by_pattern: dict[tuple[str, str, str], set[AclBinding]] = {}
    powers: set[AclBinding] = set()
    for acl in foreign:
        if acl.type in _NAMED and (acl.permission == "ALLOW" or acl.principal == EVERYBODY):
            by_pattern.setdefault((acl.type, acl.pattern, acl.name), set()).add(acl)
        elif acl.principal == EVERYBODY and is_power(acl):
            powers.add(acl)
    reached: dict[str, set[AclBinding]] = {app: set(powers) for app in topics_of if powers}
    for (kind, pattern, name), acls in by_pattern.items():
        for app in names.reached(kind, pattern, name):
            reached.setdefault(app, set()).update(acls)
    return {app: frozenset(acls) for app, acls in reached.items()}


@dataclass(frozen=True, slots=True)
class _Names:
    """All apps' names, sorted, so that a pattern finds those it reaches without asking each app.

    prefixes: (own prefix, app). topics: (topic, app).
    """

    apps: frozenset[str]
    prefixes: list[tuple[str, str]]
    topics: list[tuple[str, str]]

    @classmethod
    def of(cls, topics_of: Mapping[str, frozenset[str]]) -> _Names:
        return cls(
            frozenset(topics_of),
            sorted((own_prefix(app), app) for app in topics_of),
            sorted((topic, app) for app, topics in topics_of.items() for topic in topics),
        )

    def reached(self, kind: str, pattern: str, name: str) -> Iterable[str]:
        """The apps into whose topics, groups or transactions an ACL of this pattern reaches."""
        if name == "*" and pattern == "LITERAL":
            return self.apps
        head, dot, _ = name.partition(".")
        # `mail.x` is inside mail's own prefix; `mail` alone is its group and its transaction.
        whole = pattern == "LITERAL" and kind != "TOPIC"
        apps = {head} if head in self.apps and (dot or whole) else set()
        if pattern == "LITERAL":
            return apps | {app for topic, app in _from(self.topics, name, kind) if topic == name}
        apps |= {app for _, app in _from(self.prefixes, name)}
        return apps | {app for _, app in _from(self.topics, name, kind)}


def _from(
    pairs: list[tuple[str, str]], prefix: str, kind: str = "TOPIC"
) -> Iterable[tuple[str, str]]:
    """The pairs whose first part begins with `prefix`; none of another kind than TOPIC."""
    if kind != "TOPIC":
        return
    for place in range(bisect_left(pairs, (prefix, "")), len(pairs)):
        if not pairs[place][0].startswith(prefix):
            return
        yield pairs[place]
