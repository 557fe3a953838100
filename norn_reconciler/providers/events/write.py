"""One phase of a batch as one request (or a few, by size). Each function takes actions of its own
kind and gives back an error, or None, for each of them in order.

Doing an action a second time is no error: what is there stays, what is gone stays gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.actions import (
    AlterConfig,
    CreateTopic,
    DeleteAcl,
    DropMechanism,
    DropUser,
    EventsAction,
    GrantAcl,
    GrowPartitions,
    SetPassword,
)
from norn_reconciler.providers.events.chunks import topic_records
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import (
    INVALID_PARTITIONS,
    RESOURCE_NOT_FOUND,
    TOPIC_ALREADY_EXISTS,
    item_fault,
)
from norn_reconciler.providers.events.read import read_topics
from norn_reconciler.providers.events.state import ITERATIONS, MECHANISM

if TYPE_CHECKING:
    from norn_reconciler.providers.events.wire import ItemError, Upsert

Errors = list[ServiceError | None]

_SALT_BYTES = 24
_SERVER_SHARE = 0.8  # of the client's time limit is what the broker is told to take at most


def records(action: EventsAction) -> int:
    """About how many of a controller's records an action takes."""
    match action:
        case CreateTopic():
            return topic_records(action.spec)
        case GrowPartitions():
            return max(1, action.partitions - action.before)
        case AlterConfig():
            return len(action.setting) + len(action.resetting)
        case GrantAcl() | DeleteAcl():
            return len(action.rule.operations)
        case _:
            return 2


async def salted(passwords: Mapping[str, Secret]) -> dict[str, Upsert]:
    """User → its new SCRAM credential, computed here: no clear text travels. In worker threads
    (hashlib lets the others run): a millisecond each."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415  -- imports the driver

    def one(user: str, password: Secret) -> Upsert:
        salt = os.urandom(_SALT_BYTES)
        key = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, ITERATIONS)
        return wire.Upsert(user, MECHANISM, ITERATIONS, salt, key)

    made = await asyncio.gather(
        *(asyncio.to_thread(one, user, password) for user, password in passwords.items())
    )
    return {upsert.user: upsert for upsert in made}


async def create_acls(client: EventsClient, actions: Sequence[GrantAcl]) -> Errors:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    bindings = [acl for action in actions for acl in action.rule.bindings()]
    response = await client.ask(wire.create_acls_request(bindings))
    return _by_rule(client, actions, wire.by_position(response.results))


async def delete_acls(client: EventsClient, actions: Sequence[DeleteAcl]) -> Errors:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    bindings = [acl for action in actions for acl in action.rule.bindings()]
    response = await client.ask(wire.delete_acls_request(bindings))
    return _by_rule(client, actions, wire.by_position(response.filter_results))


async def alter_users(
    client: EventsClient, actions: Sequence[EventsAction], upserts: Mapping[str, Upsert]
) -> Errors:
    """SetPassword, DropMechanism and DropUser alike."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    deletions: list[tuple[str, str]] = []
    written: list[Upsert] = []
    for action in actions:
        if isinstance(action, SetPassword):
            written.append(upserts[action.name])
        elif isinstance(action, DropMechanism):
            deletions.append((action.name, action.mechanism))
        elif isinstance(action, DropUser):
            deletions += [(action.name, mechanism) for mechanism in action.mechanisms]
    response = await client.ask(wire.alter_users_request(written, deletions))
    failed = wire.by_name(response.results, "user")
    gone = {user for user, error in failed.items() if error.code == RESOURCE_NOT_FOUND}
    return [
        None if action.name in gone else _fault(client, action, failed.get(action.name))
        for action in actions
    ]


async def create_topics(client: EventsClient, actions: Sequence[CreateTopic]) -> Errors:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    request = wire.create_topics_request([a.spec for a in actions], server_limit(client))
    failed = wire.by_name((await client.ask(request, controller=True)).topics, "name")
    errors: Errors = []
    for action in actions:
        error = failed.get(action.name)
        exists = error is not None and error.code == TOPIC_ALREADY_EXISTS
        errors.append(None if exists else _fault(client, action, error))
    return errors


async def grow_partitions(client: EventsClient, actions: Sequence[GrowPartitions]) -> Errors:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    counts = {action.name: action.partitions for action in actions}
    request = wire.create_partitions_request(counts, server_limit(client))
    failed = wire.by_name((await client.ask(request, controller=True)).results, "name")
    doubtful = [name for name, error in failed.items() if error.code == INVALID_PARTITIONS]
    # The same code says "has as many already" and "no such number".
    now = (await read_topics(client, doubtful)).topics if doubtful else {}
    done = {name for name in now if now[name].partitions >= counts[name]}
    return [
        None if action.name in done else _fault(client, action, failed.get(action.name))
        for action in actions
    ]


async def alter_configs(client: EventsClient, actions: Sequence[AlterConfig]) -> Errors:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    changes: dict[str, dict[str, str | None]] = {
        action.name: {**dict(action.setting), **dict.fromkeys(action.resetting)}
        for action in actions
    }
    response = await client.ask(wire.alter_configs_request(changes))
    failed = wire.by_name(response.responses, "resource_name")
    return [_fault(client, action, failed.get(action.name)) for action in actions]


def _by_rule(
    client: EventsClient, actions: Sequence[GrantAcl | DeleteAcl], results: list[ItemError | None]
) -> Errors:
    """The first error among each rule's bindings."""
    errors: Errors = []
    start = 0
    for action in actions:
        end = start + len(action.rule.operations)
        first = next((error for error in results[start:end] if error is not None), None)
        errors.append(_fault(client, action, first))
        start = end
    return errors


def _fault(
    client: EventsClient, action: EventsAction, error: ItemError | None
) -> ServiceError | None:
    if error is None:
        return None
    return item_fault(
        error.code,
        error.message,
        object=f"{action.kind} {action.name}",
        username=client.username,
    )


def server_limit(client: EventsClient) -> int:
    """Milliseconds the broker may take, so that its answer comes before the client gives up."""
    return int(client.endpoint.timeout * _SERVER_SHARE * 1000)
