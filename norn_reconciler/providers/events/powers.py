"""Who is there besides norn's own user and the apps, and who of them has rights by which any app's
names can be reached. Pure: from users and ACLs alone, since a broker does not say who its
superusers are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.providers.events.acl import AclBinding, principal, rules
from norn_reconciler.providers.events.observe import marked
from norn_reconciler.providers.events.problems import removal, some_of

# By any of these one may give oneself, take away, or act as, what belongs to apps.
_POWERS: Mapping[str, frozenset[str]] = {
    "CLUSTER": frozenset({"ALL", "ALTER", "CLUSTER_ACTION", "ALTER_CONFIGS", "CREATE", "DELETE"}),
    "USER": frozenset({"ALL", "CREATE_TOKENS"}),
    "TOPIC": frozenset({"ALL", "ALTER", "ALTER_CONFIGS", "DELETE"}),
    "GROUP": frozenset({"ALL", "ALTER", "DELETE"}),
}
_OF_EVERYTHING = frozenset({"TOPIC", "GROUP"})  # powers only where they are about every name


def other_admins(acls: Iterable[AclBinding], own: str | None) -> list[Problem]:
    """One warning a principal, with the commands that take its powers away."""
    held: dict[str, set[AclBinding]] = {}
    for acl in acls:
        if acl.permission == "ALLOW" and acl.operation in _POWERS.get(acl.type, ()):
            everything = acl.name == "*" and acl.pattern == "LITERAL"
            if acl.type not in _OF_EVERYTHING or everything:
                held.setdefault(acl.principal, set()).add(acl)
    held.pop(principal(own or ""), None)
    return [_admin(who, held[who]) for who in sorted(held)]


def unknown_users(
    users: Iterable[str], acls: Iterable[AclBinding], own: str | None
) -> list[Problem]:
    """SCRAM users that are neither norn's own nor, by their ACLs, an app's. A password is a way in
    to all that is open to everybody, and what becomes of it nobody may watch."""
    unknown = sorted({*users} - marked(acls).keys() - {own})
    if not unknown:
        return []
    return [
        Problem(
            Severity.WARNING,
            "UnknownUsers",
            f"SCRAM users that are neither norn's own nor an app's: {some_of(unknown)}",
            "each that nobody needs: rpk security user delete NAME",
        )
    ]


def _admin(who: str, acls: set[AclBinding]) -> Problem:
    grouped = rules(acls)
    shown = "; ".join(f"{', '.join(r.operations)} on {r.type} {r.name}" for r in grouped)
    return Problem(
        Severity.WARNING,
        "ForeignAdmin",
        f"{who} has rights that reach every app: {shown}",
        f"if it need not: {'; '.join(removal(rule) for rule in grouped)}",
    )
