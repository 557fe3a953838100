"""(desired, observed, owned) → actions and problems. Pure, deterministic, no driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from norn_reconciler.model.inventory import HeldState, Origin
from norn_reconciler.model.moves import configured
from norn_reconciler.model.plan import Plan, Problem, Wanted
from norn_reconciler.providers.events.acl import AclBinding, granted_by_norn, rules
from norn_reconciler.providers.events.actions import (
    ACL,
    AlterConfig,
    CreateTopic,
    CreateUser,
    DeleteAcl,
    DropMechanism,
    DropUser,
    EventsAction,
    GrantAcl,
    GrowPartitions,
    RevokeAcl,
    SetPassword,
    TakeOverAcl,
    acl_name,
    user_key,
)
from norn_reconciler.providers.events.inventory import recoverable
from norn_reconciler.providers.events.problems import (
    foreign_grants,
    foreign_prefix,
    foreign_principal,
    foreign_topic,
    foreign_user,
    not_shared,
    reserved_settings,
    reserved_topic,
    topic_differs,
)
from norn_reconciler.providers.events.reserved import reserved_name, without_reserved
from norn_reconciler.providers.events.state import (
    ITERATIONS,
    MECHANISM,
    TOPIC,
    USER,
    Desired,
    Observed,
    TopicSpec,
    TopicState,
    same_value,
)
from norn_reconciler.providers.events.taken import beneath, groups_in_use


def plan(wanted: Wanted[Desired], observed: Observed) -> Plan[EventsAction]:
    """What leads from `observed` to `wanted`, ordered by phase, then by name.

    A user or a principal of that name that is not norn's blocks everything: granting to it would
    hand access to a stranger; and so would others' topics below the prefix, which the app could
    read. Another topic that is not norn's blocks only what is about that topic.
    """
    if wanted.desired.declared:
        planned = _declared(wanted, observed)
    else:
        planned = Plan(actions=tuple(_removed(wanted, observed)))
    ordered = sorted(planned.actions, key=lambda a: (a.phase, a.kind, a.name, a.summary()))
    return Plan(tuple(ordered), planned.problems)


def _declared(wanted: Wanted[Desired], observed: Observed) -> Plan[EventsAction]:
    desired, owned = wanted.desired, wanted.owned
    lost = recoverable(wanted, observed, proven=False)
    user = user_key(desired.app)
    if user not in owned:
        if user in lost:
            return Plan(problems=(wanted.record_lost(user),))
        if taken := tuple(_taken(wanted, observed)):
            return Plan(problems=taken)
    problems: list[Problem] = []
    actions: list[EventsAction] = []
    strangers: set[str] = set()
    for declared in desired.topics:
        state = observed.topics.get(declared.name)
        held = owned.get((TOPIC, declared.name))
        spec, refused = without_reserved(declared, held)
        if refused:
            problems.append(reserved_settings(spec.name, refused))
        if held is None and reserved_name(spec.name):
            strangers.add(spec.name)
            problems.append(reserved_topic(spec.name))
        elif state is None:
            confirmed = held is not None and held.state is HeldState.OWNED
            actions.append(CreateTopic.of(spec, made_before=confirmed))
        elif held is None:
            strangers.add(spec.name)
            key = (TOPIC, spec.name)
            problems.append(
                wanted.record_lost(key) if key in lost else foreign_topic(desired.app, spec.name)
            )
        else:
            problems += topic_differs(spec, state, held)
            actions += _topic_changes(spec, state, configured(held))
    actions += _user(wanted, observed)
    actions += _acls(wanted, observed, strangers)
    problems += foreign_grants(desired.app, observed.foreign)
    problems += [
        not_shared(owner, name) for owner, name in desired.withheld if name in observed.strangers
    ]
    if observed.mechanisms and wanted.keeps_password(user_key(desired.app)):
        problems.append(wanted.password_kept(user_key(desired.app)))
    return Plan(tuple(actions), tuple(problems))


def _taken(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    """What somebody else has under the app's name. Asked for only while there is no row of the
    user: norn writes that before it makes or grants anything, and drops it when nothing is left."""
    app = wanted.desired.app
    if observed.mechanisms:
        yield foreign_user(app)
    elif observed.acls:
        yield foreign_principal(app, observed.acls)
    if names := beneath(wanted, observed) or groups_in_use(app, observed.foreign):
        yield foreign_prefix(app, names)


def _topic_changes(
    spec: TopicSpec, state: TopicState, ours: Mapping[str, str]
) -> Iterator[EventsAction]:
    if spec.partitions is not None and spec.partitions > state.partitions:
        yield GrowPartitions(TOPIC, spec.name, spec.partitions, state.partitions)
    declared = dict(spec.config)
    setting = tuple(
        (key, value) for key, value in spec.config if not _holds(key, value, state, ours)
    )
    resetting = tuple(
        sorted(
            key
            for key in ours
            if key not in declared and key in state.config and state.config[key].own
        )
    )
    if setting or resetting:
        keys = sorted([key for key, _ in setting] + list(resetting))
        before = tuple((key, _found(key, state)) for key in keys)
        yield AlterConfig(TOPIC, spec.name, setting, resetting, before)


def _holds(key: str, value: str, state: TopicState, ours: Mapping[str, str]) -> bool:
    """Whether the topic has this value as its own. A broker that shows a value equal to its
    default as inherited is believed once norn has set it: asking again would change nothing."""
    found = state.config.get(key)
    if found is None or not same_value(value, found.value):
        return False
    return found.own or ours.get(key) == value


def _found(key: str, state: TopicState) -> str:
    found = state.config.get(key)
    if found is None:
        return "<unknown>"
    return found.value if found.own else f"{found.value} (inherited)"


def _user(wanted: Wanted[Desired], observed: Observed) -> Iterator[EventsAction]:
    app, credential = wanted.desired.app, wanted.desired.credential
    if not observed.mechanisms:
        yield CreateUser(USER, app, credential, "absent")
        return
    why = ""
    if wanted.keeps_password(user_key(app)):
        return
    if MECHANISM not in observed.mechanisms:
        why = f"has {', '.join(sorted(observed.mechanisms))} only"
    elif observed.mechanisms[MECHANISM] != ITERATIONS:
        why = f"iterations={observed.mechanisms[MECHANISM]}, so set by somebody else"
    elif wanted.applied is None:
        why = "password not set by norn yet"
    elif wanted.applied != credential.mark:
        why = "password of another generation"
    if why:
        yield SetPassword(USER, app, credential, why)
    for mechanism in sorted(set(observed.mechanisms) - {MECHANISM}):
        yield DropMechanism(USER, app, mechanism)


def _acls(
    wanted: Wanted[Desired], observed: Observed, strangers: set[str]
) -> Iterator[EventsAction]:
    want = {
        acl
        for acl in wanted.desired.acls
        if not (acl.type == "TOPIC" and acl.pattern == "LITERAL" and acl.name in strangers)
    }
    for rule in rules(want - observed.acls):
        late = rule.type == "TOPIC" and rule.pattern == "LITERAL" and rule.name in observed.late
        yield (TakeOverAcl if late else GrantAcl)(ACL, acl_name(rule), rule)
    surplus = observed.acls - want - _of_lost_topics(wanted, observed, strangers)
    dropped = {acl for acl in surplus if _of_dropped_topic(acl, wanted)}
    for rule in rules(dropped):
        yield RevokeAcl(ACL, acl_name(rule), rule)
    for rule in rules(surplus - dropped):
        yield DeleteAcl(ACL, acl_name(rule), rule)


def _of_lost_topics(
    wanted: Wanted[Desired], observed: Observed, strangers: set[str]
) -> frozenset[AclBinding]:
    """What the app has on topics that look like norn's own: it works with them, and keeps that
    until norn_db knows of them again."""
    app, acls = wanted.desired.app, observed.acls
    lost = {name for name in strangers if granted_by_norn(app, name, acls)}
    return frozenset(a for a in acls if a.pattern == "LITERAL" and a.name in lost)


def _of_dropped_topic(acl: AclBinding, wanted: Wanted[Desired]) -> bool:
    """Whether the app had this on a topic until the spec dropped it: a removal, not drift."""
    held = wanted.owned.get((TOPIC, acl.name))
    return (
        acl.type == "TOPIC"
        and acl.pattern == "LITERAL"
        and held is not None
        and held.state is not HeldState.RETAINED
        and all(spec.name != acl.name for spec in wanted.desired.topics)
    )


def _removed(wanted: Wanted[Desired], observed: Observed) -> Iterator[EventsAction]:
    """Take all access away. Without norn's row on the user its principal is none of norn's."""
    app = wanted.desired.app
    user = wanted.owned.get(user_key(app))
    if user is None:
        return
    for rule in rules(observed.acls):
        yield RevokeAcl(ACL, acl_name(rule), rule)
    if observed.mechanisms and user.origin is Origin.MADE:
        yield DropUser(USER, app, tuple(sorted(observed.mechanisms)))
