"""What the inventory should say about an app's user and namespace, from what is seen. Pure.

A namespace has no object on the server; its row is what keeps its keys the app's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Origin, Owned
from norn_reconciler.model.plan import Effect, Wanted
from norn_reconciler.providers.kv.actions import (
    DeleteUser,
    DisableUser,
    KvAction,
    SaveUsers,
    SetUser,
)
from norn_reconciler.providers.kv.plan import (
    RULES,
    SAVED,
    looks_like_norns,
    owns,
    wanted_rules,
)
from norn_reconciler.providers.kv.rules import Rules, differences
from norn_reconciler.providers.kv.state import NAMESPACE, USER, Desired, Observed


def confirm(wanted: Wanted[Desired], observed: Observed, done: Sequence[KvAction]) -> Owned:
    """The rows as they should be now; equal to `wanted.owned` when nothing moved."""
    rows: dict[ObjectKey, Held] = dict(wanted.owned)
    for action in done:
        if action.effect is Effect.CREATE:
            rows.setdefault(action.key, Held(action.kind, action.name, HeldState.CLAIMED))
    desired = wanted.desired
    key = (USER, desired.app)
    now = replace(wanted, owned=rows)
    user = observed.user if observed.user is not None and owns(now, observed.user) else None
    if (row := rows.pop(key, None)) is not None:
        kept = _user(row, now, replace(observed, user=user), done)
        if kept is not None:
            rows[key] = kept
    if desired.namespace is not None and _reaches(user, desired.namespace):
        name = (NAMESPACE, desired.namespace)
        rows[name] = replace(rows.get(name, Held(*name)), state=HeldState.OWNED, settings={})
    for name, row in list(rows.items()):
        if row.kind == NAMESPACE and row.name != desired.namespace and not _reaches(user, row.name):
            rows[name] = replace(row, state=HeldState.RETAINED)
    return rows


def adoptable(wanted: Wanted[Desired], observed: Observed) -> Owned:
    """A row for the app's user, when one is there and is not norn's; and for its namespace, when
    others use it: a person has agreed to that then."""
    desired = wanted.desired
    found: dict[ObjectKey, Held] = {}
    if desired.namespace is None:
        return found
    if observed.user is not None and not owns(wanted, observed.user):
        found[USER, desired.app] = Held(USER, desired.app, origin=Origin.ADOPTED)
    key = (NAMESPACE, desired.namespace)
    if observed.claimants and key not in wanted.owned:
        found[key] = Held(*key, HeldState.CLAIMED, Origin.ADOPTED)
    return found


def recoverable(wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
    """A row for the app's user, when norn_db has none and it is norn's."""
    desired, key = wanted.desired, (USER, wanted.desired.app)
    if desired.namespace is None or observed.user is None or key in wanted.owned:
        return {}
    if proven:
        return {key: Held(*key)}
    return {key: Held(*key, origin=Origin.ADOPTED)} if looks_like_norns(wanted, observed) else {}


def _user(
    row: Held, wanted: Wanted[Desired], observed: Observed, done: Sequence[KvAction]
) -> Held | None:
    """None when nothing of it remains."""
    if wanted.desired.namespace is not None:
        if observed.user is None:
            return row
        # `wanted` has been robbed of this row on its way: it says whether the user was adopted.
        whole = replace(wanted, owned={**wanted.owned, row.key: row})
        return _settled(row, wanted_rules(whole, observed), observed.user, observed, done)
    saved = not observed.persistence.durable or (
        not observed.unsaved and any(isinstance(a, DeleteUser | SaveUsers) for a in done)
    )
    if observed.user is None:
        # A claim that led to nothing leaves nothing in a file.
        return None if saved or row.state is HeldState.CLAIMED else row
    if row.origin is Origin.MADE or observed.user.enabled:
        return row
    settings = dict(row.settings)
    if observed.persistence.durable and not observed.unsaved and _has(done, DisableUser, SaveUsers):
        settings[SAVED] = observed.user.fingerprint
    elif observed.unsaved:
        settings.pop(SAVED, None)
    return replace(row, state=HeldState.RETAINED, settings=settings)


def _settled(
    row: Held, rules: Rules, user: Rules, observed: Observed, done: Sequence[KvAction]
) -> Held:
    settings = dict(row.settings)
    if not differences(rules, user):
        if _has(done, SetUser) or not user.flags:
            settings[RULES] = user.fingerprint
        if observed.persistence.durable and _has(done, SetUser, SaveUsers):
            settings[SAVED] = user.fingerprint
    if observed.unsaved:
        settings.pop(SAVED, None)
    return replace(row, state=HeldState.OWNED, settings=settings)


def _has(done: Sequence[KvAction], *kinds: type[KvAction]) -> bool:
    return any(isinstance(action, kinds) for action in done)


def _reaches(user: Rules | None, namespace: str) -> bool:
    """Whether the user still has the access that norn gave it to this namespace."""
    return user is not None and user.enabled and f"~{namespace}:*" in user.keys
