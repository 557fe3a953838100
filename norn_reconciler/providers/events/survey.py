"""Users and topics that could be apps': what `norn import` makes specs of. Four requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Denied, ServiceError
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Owned
from norn_reconciler.providers.events.access import Access
from norn_reconciler.providers.events.acl import AclBinding, own_prefix
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import SCRAM_NEEDED
from norn_reconciler.providers.events.read import read_acls, read_configs, read_topics, read_users
from norn_reconciler.providers.events.section import may_be_app
from norn_reconciler.providers.events.state import (
    MECHANISM,
    SERVICE,
    TOPIC,
    USER,
    ConfigValue,
    TopicState,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """topics: without the brokers' own. users: SCRAM user → its mechanisms."""

    topics: Mapping[str, TopicState]
    acls: Collection[AclBinding]
    users: Mapping[str, Collection[str]]


async def survey(client: EventsClient, held: Mapping[AppName, Owned]) -> list[Found]:
    """Raises ServiceError."""
    if not await client.has_scram():
        raise Denied(SERVICE, SCRAM_NEEDED, remedy="upgrade the broker")
    rows = {key for owned in held.values() for key in owned}
    topics = {
        name: state
        for name, state in (await read_topics(client)).topics.items()
        if not _brokers_own(name) and (TOPIC, name) not in rows
    }
    acls = await read_acls(client)
    users = await read_users(client)
    configs = await read_configs(client, dict.fromkeys(topics))
    seen = {
        name: TopicState(s.topic_id, s.partitions, s.replication, _config(configs.get(name, {})))
        for name, s in topics.items()
    }
    norn = {name for kind, name in rows if kind == USER} | {client.username or ""}
    return judge(Cluster(seen, acls, users), norn)


def _brokers_own(topic: str) -> bool:
    return topic.startswith(("__", "_redpanda")) or topic == "_schemas"


def _config(found: Mapping[str, ConfigValue] | ServiceError) -> Mapping[str, ConfigValue]:
    """What was set on the topic itself. Raises what the broker said instead."""
    if isinstance(found, ServiceError):
        raise found
    return {key: value for key, value in found.items() if value.own}


def judge(cluster: Cluster, norn: Collection[str]) -> list[Found]:
    """Would-be apps by name, then what leads to none. norn: users that are norn's. Pure."""
    access = Access.of(cluster.acls)
    names = (set(cluster.users) | access.users) - set(norn) - {"*"}
    admins = {user for user in names if user in access.admins}
    topics, notes, loose = _assigned(cluster.topics, access, names - admins)
    apps = [
        _app(user, cluster, access, topics.get(user, []), notes.get(user, []))
        for user in sorted(names - admins)
    ]
    words = [
        *loose,
        *(
            f"user {user} may administer the cluster: it is left out"
            for user in sorted(admins)
        ),
        *(
            f"ACLs of {who} are no user's, and stay: {count} of them"
            for who, count in sorted(access.others.items())
        ),
    ]  # fmt: skip
    return [*apps, *(Found("", notes=(text,)) for text in words)]


def _assigned(
    topics: Mapping[str, TopicState], access: Access, names: Collection[str]
) -> tuple[dict[str, list[dict[str, object]]], dict[str, list[str]], list[str]]:
    """Each topic with the one user that writes it (or alone reads it); words to those who share
    one, and about topics that nobody's user leads to."""
    given: dict[str, list[dict[str, object]]] = defaultdict(list)
    notes: dict[str, list[str]] = defaultdict(list)
    loose: list[str] = []
    for name, state in sorted(topics.items()):
        users = {user: ops for user, ops in access.to(name).items() if user in names}
        writers = sorted(user for user, ops in users.items() if ops & {"WRITE", "ALL"})
        readers = sorted(u for u, ops in users.items() if "READ" in ops and u not in writers)
        if len(writers) == 1 or (not writers and len(readers) == 1):
            owner = (writers or readers)[0]
            others = [reader for reader in readers if reader != owner]
            given[owner].append(_topic(name, state, [r for r in others if may_be_app(r)]))
            notes[owner] += [
                f"topic {name} is read by {r}, which can't be an app by that name; its ACL stays"
                for r in others
                if not may_be_app(r)
            ]
            if not writers:
                notes[owner].append(f"topic {name}: it only reads it now, and could write it then")
            continue
        if not writers and not readers:
            loose.append(
                f"topic {name} is granted to no user: name it in the spec of the app that it is for"
            )
            continue
        how = f"is written by {', '.join(writers)}" if writers else "has readers only"
        read = f"read by {', '.join(readers)}" if readers else ""
        loose.append(
            f"topic {name} {how}{' and ' if read and writers else ': ' if read else ''}{read}: "
            "a spec gives it to one app, which alone writes it then, and names as `readers` the "
            "others that may read it"
        )
        for user in (*writers, *readers):
            notes[user].append(
                f"topic {name} {how}: it is in nobody's spec yet, and adopting takes it away from "
                "this app unless its spec names it, or the owner's names this app among `readers`"
            )
    return given, notes, loose


def _topic(name: str, state: TopicState, readers: list[str]) -> dict[str, object]:
    topic: dict[str, object] = {
        "name": name,
        "partitions": state.partitions,
        "replication": state.replication,
    }
    if readers:
        topic["readers"] = readers
    if state.config:
        topic["config"] = {key: value.value for key, value in sorted(state.config.items())}
    return topic


def _app(
    user: str,
    cluster: Cluster,
    access: Access,
    topics: list[dict[str, object]],
    notes: list[str],
) -> Found:
    said = list(notes)
    mechanisms = cluster.users.get(user, ())
    if not mechanisms:
        said.append("there are ACLs for it and no SCRAM user: norn makes one as soon as it may")
    elif MECHANISM not in mechanisms:
        said.append(
            f"it logs in by {', '.join(sorted(mechanisms))}: norn rotate makes that {MECHANISM}"
        )
    if user not in access.users:
        said.append(
            "nothing is granted to it: if the brokers' settings name it as a superuser, which "
            "cannot be seen from outside, it is no app"
        )
    beyond = sorted(
        prefix
        for prefix, by in access.prefixed.items()
        if user in by and not prefix.startswith(own_prefix(user))
    )
    for prefix in beyond:
        said.append(
            f"it has every topic that begins with {prefix}: a spec names topics one by one (beside "
            f"its own, {own_prefix(user)}…), so those that come later are not its"
        )
    return Found(user, {"topics": topics}, tuple(said))
