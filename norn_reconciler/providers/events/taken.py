"""What somebody else has under an app's name on the broker. Pure."""

from __future__ import annotations

from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.events.acl import AclBinding, own_prefix
from norn_reconciler.providers.events.state import TOPIC, Desired, Observed


def beneath(wanted: Wanted[Desired], observed: Observed) -> list[str]:
    """Others' topics that the app's prefix would open to it."""
    prefix, owned = own_prefix(wanted.desired.app), wanted.owned
    return sorted(n for n in observed.topics if n.startswith(prefix) and (TOPIC, n) not in owned)


def groups_in_use(app: str, foreign: frozenset[AclBinding]) -> list[str]:
    """Groups and transactions below the app's name that somebody else was given. Which groups
    exist is not asked: each broker knows its own only, and most are gone while nobody consumes."""
    return sorted(
        {
            acl.name
            for acl in foreign
            if acl.type in {"GROUP", "TRANSACTIONAL_ID"}
            and acl.permission == "ALLOW"
            and (acl.name == app or acl.name.startswith(own_prefix(app)))
        }
    )
