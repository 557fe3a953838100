"""What the inventory should say about an app's topics and user, from what is seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Origin, Owned
from norn_reconciler.model.moves import GIVER, configured
from norn_reconciler.model.plan import Effect, Wanted
from norn_reconciler.providers.events.acl import bears_norns_acls, granted_by_norn
from norn_reconciler.providers.events.actions import AlterConfig, EventsAction, user_key
from norn_reconciler.providers.events.reserved import reserved_key, reserved_name
from norn_reconciler.providers.events.state import (
    TOPIC,
    USER,
    Desired,
    Observed,
    TopicSpec,
    TopicState,
    same_value,
)
from norn_reconciler.providers.events.taken import beneath, groups_in_use


def confirm(wanted: Wanted[Desired], observed: Observed, done: Sequence[EventsAction]) -> Owned:
    """The rows as they should be now; equal to `wanted.owned` when nothing moved."""
    rows: dict[ObjectKey, Held] = dict(wanted.owned)
    for action in done:
        if action.effect is Effect.CREATE:
            rows.setdefault(action.key, Held(action.kind, action.name, HeldState.CLAIMED))
    specs = {spec.name: spec for spec in wanted.desired.topics}
    changed = {action.name: action for action in done if isinstance(action, AlterConfig)}
    confirmed: dict[ObjectKey, Held] = {}
    for key, row in rows.items():
        if row.kind == TOPIC:
            now = _topic(row, specs.get(row.name), observed, changed.get(row.name))
        elif row.kind == USER:
            now = _user(row, wanted.desired, observed)
        else:
            now = row
        if now is not None:
            confirmed[key] = now
    return confirmed


def adoptable(wanted: Wanted[Desired], observed: Observed) -> Owned:
    """Rows for the desired objects that are there and not owned."""
    desired = wanted.desired
    found: dict[ObjectKey, Held] = {}
    for spec in desired.topics:
        state, key = observed.topics.get(spec.name), (TOPIC, spec.name)
        if state is not None and key not in wanted.owned and not reserved_name(spec.name):
            found[key] = Held(
                TOPIC, spec.name, origin=Origin.ADOPTED, server_id=state.topic_id, settings={}
            )
    key = user_key(desired.app)
    if not desired.declared or key in wanted.owned:
        return found
    below = beneath(wanted, observed)
    for name in below:
        # Where the spec does not name it, the prefix opens it all the same.
        there = observed.topics[name].topic_id
        found.setdefault(
            (TOPIC, name), Held(TOPIC, name, HeldState.RETAINED, Origin.ADOPTED, there)
        )
    if observed.mechanisms:
        found[key] = Held(USER, desired.app, origin=Origin.ADOPTED)
    elif observed.acls or below or groups_in_use(desired.app, observed.foreign):
        # The name alone is taken over: the user itself is norn's to make.
        found[key] = Held(USER, desired.app, HeldState.CLAIMED)
    return found


def recoverable(wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
    """See Provider.recoverable. The ACLs that norn gives are the witness, beside a SCRAM user."""
    desired = wanted.desired
    found: dict[ObjectKey, Held] = {}
    key = user_key(desired.app)
    ours = key in wanted.owned
    if desired.declared and observed.mechanisms and not ours:
        ours = proven or bears_norns_acls(desired.app, observed.acls)
        if ours:
            origin = Origin.MADE if proven else Origin.ADOPTED
            found[key] = Held(USER, desired.app, origin=origin)
    for spec in desired.topics if ours else ():
        state, name = observed.topics.get(spec.name), (TOPIC, spec.name)
        if (
            state is not None
            and name not in wanted.owned
            and not reserved_name(spec.name)
            and granted_by_norn(desired.app, spec.name, observed.acls)
        ):
            found[name] = Held(*name, origin=Origin.ADOPTED, server_id=state.topic_id)
    return found


def _topic(
    row: Held, spec: TopicSpec | None, observed: Observed, altered: AlterConfig | None
) -> Held | None:
    state = observed.topics.get(row.name)
    if state is None:
        # Wanted and gone: the row stays, so that the next plan knows that data was lost.
        return row if spec is not None else None
    server_id = state.topic_id or row.server_id
    if spec is not None:
        settings = _settings(configured(row), spec, state, altered)
        if row.name in observed.late:
            settings = {**settings, GIVER: row.settings[GIVER]}
        return replace(row, state=HeldState.OWNED, server_id=server_id, settings=settings)
    reachable = any(
        acl.type == "TOPIC" and acl.pattern == "LITERAL" and acl.name == row.name
        for acl in observed.acls
    )
    kept = row.state if reachable else HeldState.RETAINED
    return replace(row, state=kept, server_id=server_id)


def _settings(
    before: Mapping[str, str], spec: TopicSpec, state: TopicState, altered: AlterConfig | None
) -> Mapping[str, str]:
    """The keys that norn answers for: declared ones that are in force, and dropped ones that are
    still to be reset."""
    sent = dict(altered.setting) if altered is not None else {}
    settings = {
        key: value
        for key, value in spec.config
        if (key in before or not reserved_key(key))
        and (found := state.config.get(key)) is not None
        and same_value(value, found.value)
        and (found.own or sent.get(key) == value or before.get(key) == value)
    }
    for key, value in before.items():
        found = state.config.get(key)
        if key not in settings and found is not None and found.own:
            settings[key] = value
    return settings


def _user(row: Held, desired: Desired, observed: Observed) -> Held | None:
    if desired.declared:
        return replace(row, state=HeldState.OWNED) if observed.mechanisms else row
    if observed.acls:
        return row
    if not observed.mechanisms:
        return None
    # An adopted user is never dropped; without an ACL it can log in and do nothing.
    return replace(row, state=HeldState.RETAINED) if row.origin is Origin.ADOPTED else row
