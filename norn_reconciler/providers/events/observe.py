"""What the service holds of a batch of apps: four requests, however many apps."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Denied, ServiceError
from norn_reconciler.model.inventory import ObjectKey
from norn_reconciler.model.moves import configured, giver
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.events.acl import (
    AclBinding,
    bears_norns_acls,
    granted_by_norn,
    grants_reaching,
    principal,
)
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import SCRAM_NEEDED
from norn_reconciler.providers.events.read import (
    read_acls,
    read_configs,
    read_topics,
    read_users,
)
from norn_reconciler.providers.events.state import (
    SERVICE,
    TOPIC,
    USER,
    ConfigValue,
    Desired,
    Observed,
    TopicState,
)


async def observe(
    client: EventsClient,
    wanted: Mapping[AppName, Wanted[Desired]],
    norn_apps: Iterable[str],
    norn_topics: Container[str] = (),
) -> Mapping[AppName, Observed | ServiceError]:
    """wanted: the batch. norn_apps: every app whose user is norn's, as far as known: what their
    principals hold is their own plans' business, and is not reported as foreign. norn_topics: all
    that some app has a row for, as far as known."""
    asked = {app: one for app, one in wanted.items() if one.desired.declared or one.owned}
    result: dict[AppName, Observed | ServiceError] = {app: Observed() for app in wanted}
    if not asked:
        return result
    if not await client.has_scram():
        denied = Denied(SERVICE, SCRAM_NEEDED, remedy="upgrade the broker")
        return result | dict.fromkeys(asked, denied)
    topics = (await read_topics(client)).topics
    acls = await read_acls(client)
    users = await read_users(client)
    configs = await read_configs(client, _config_keys(asked, topics))

    by_principal: dict[str, set[AclBinding]] = {}
    for acl in acls:
        by_principal.setdefault(acl.principal, set()).add(acl)
    ours = {principal(app) for app in norn_apps} | {principal(app) for app in asked}
    ours.add(principal(client.username or ""))
    # A declared reader may be a user that norn has not adopted yet.
    declared = {acl for one in asked.values() for acl in one.desired.readable_by}
    foreign = grants_reaching(
        (acl for acl in acls if acl.principal not in ours and acl not in declared),
        {
            app: frozenset(spec.name for spec in one.desired.topics)
            for app, one in asked.items()
            if one.desired.declared
        },
    )
    beneath = _beneath(topics) if not all(names_norn_user(one) for one in asked.values()) else {}
    for app, one in asked.items():
        state = _topics(one, topics, configs, () if names_norn_user(one) else beneath.get(app, ()))
        if isinstance(state, ServiceError):
            result[app] = state
            continue
        result[app] = Observed(
            topics=state,
            mechanisms=users.get(app, {}),
            acls=frozenset(by_principal.get(principal(app), ())),
            foreign=foreign.get(app, frozenset()),
            strangers=frozenset(
                name
                for _, name in one.desired.withheld
                if name in topics and name not in norn_topics
            ),
            late=_late(one, by_principal),
        )
    return result


def _late(wanted: Wanted[Desired], by_principal: Mapping[str, set[AclBinding]]) -> frozenset[str]:
    return frozenset(
        held.name
        for held in wanted.owned.values()
        if (before := giver(held)) is not None
        and any(
            acl.type == "TOPIC" and acl.pattern == "LITERAL" and acl.name == held.name
            for acl in by_principal.get(principal(before), set()) - wanted.desired.readable_by
        )
    )


def names_norn_user(wanted: Wanted[Desired]) -> bool:
    """Whether the user of this name is norn's, so that its ACLs are no stranger's."""
    return (USER, wanted.desired.app) in wanted.owned


def marked(acls: Iterable[AclBinding]) -> Mapping[AppName, frozenset[ObjectKey]]:
    """Users with the ACLs that norn gives an app, and the topics that it gave them. Pure."""
    by_principal: dict[str, set[AclBinding]] = {}
    for acl in acls:
        by_principal.setdefault(acl.principal, set()).add(acl)
    found: dict[AppName, frozenset[ObjectKey]] = {}
    for who, theirs in by_principal.items():
        app = AppName(who.removeprefix(principal("")))
        if not bears_norns_acls(app, theirs):
            continue
        literal = {a.name for a in theirs if a.type == "TOPIC" and a.pattern == "LITERAL"}
        topics = {(TOPIC, name) for name in literal if granted_by_norn(app, name, theirs)}
        found[app] = frozenset({(USER, app), *topics})
    return found


def _config_keys(
    wanted: Mapping[AppName, Wanted[Desired]], topics: Mapping[str, TopicState]
) -> dict[str, tuple[str, ...]]:
    """Which keys to ask for: those declared, and those that norn once set. Asking for every key
    of every topic would take most of a clean round."""
    keys: dict[str, tuple[str, ...]] = {}
    for one in wanted.values():
        for spec in one.desired.topics:
            held = one.owned.get((TOPIC, spec.name))
            asked = {key for key, _ in spec.config} | set(configured(held) if held else ())
            if asked and spec.name in topics:
                keys[spec.name] = tuple(sorted(asked))
    return keys


def _beneath(topics: Iterable[str]) -> Mapping[str, list[str]]:
    """App → the topics that begin with its prefix, whoever made them."""
    found: dict[str, list[str]] = {}
    for topic in topics:
        head, dot, _ = topic.partition(".")
        if dot:
            found.setdefault(head, []).append(topic)
    return found


def _topics(
    wanted: Wanted[Desired],
    topics: Mapping[str, TopicState],
    configs: Mapping[str, Mapping[str, ConfigValue] | ServiceError],
    beneath: Iterable[str],
) -> Mapping[str, TopicState] | ServiceError:
    names = {spec.name for spec in wanted.desired.topics} | set(beneath)
    names |= {held.name for held in wanted.owned.values() if held.kind == TOPIC}
    found: dict[str, TopicState] = {}
    for name in sorted(names & topics.keys()):
        config = configs.get(name, {})
        if isinstance(config, ServiceError):
            return config
        found[name] = replace(topics[name], config=config) if config else topics[name]
    return found
