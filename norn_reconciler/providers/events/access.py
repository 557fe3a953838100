"""Which user may do what with which topic, told from ACLs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from norn_reconciler.providers.events.acl import AclBinding

_PRINCIPAL = "User:"
_RULES_THE_CLUSTER = frozenset({"ALL", "ALTER", "ALTER_CONFIGS", "CLUSTER_ACTION"})


@dataclass(frozen=True, slots=True)
class Access:
    """literal: topic → user → operations; prefixed: prefix → the same. users: all that have an ACL;
    admins: those of them that rule the cluster. others: principals that are no single user → how
    many ACLs they have."""

    literal: Mapping[str, Mapping[str, set[str]]]
    prefixed: Mapping[str, Mapping[str, set[str]]]
    users: frozenset[str]
    admins: frozenset[str]
    others: Mapping[str, int]

    @classmethod
    def of(cls, acls: Iterable[AclBinding]) -> Access:
        literal: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        prefixed: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        users: set[str] = set()
        admins: set[str] = set()
        others: dict[str, int] = defaultdict(int)
        for acl in acls:
            user = acl.principal.removeprefix(_PRINCIPAL)
            if not acl.principal.startswith(_PRINCIPAL) or user == "*":
                others[acl.principal] += 1
                continue
            users.add(user)
            if acl.permission != "ALLOW":
                continue
            if acl.type == "CLUSTER" and acl.operation in _RULES_THE_CLUSTER:
                admins.add(user)
            if acl.type == "TOPIC" and acl.name != "*":
                where = literal if acl.pattern == "LITERAL" else prefixed
                where[acl.name][user].add(acl.operation)
        return cls(literal, prefixed, frozenset(users), frozenset(admins), others)

    def to(self, topic: str) -> dict[str, set[str]]:
        """User → what it may do with the topic, by ACLs that name it or what it begins with."""
        found: dict[str, set[str]] = defaultdict(set)
        rules = [self.literal.get(topic, {})]
        rules += [by for prefix, by in self.prefixed.items() if topic.startswith(prefix)]
        for by_user in rules:
            for user, operations in by_user.items():
                found[user] |= operations
        return found
