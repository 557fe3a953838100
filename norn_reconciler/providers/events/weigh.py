"""How much is in an app's topics, and who still reads it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from norn_reconciler.model.errors import Denied, ServiceError
from norn_reconciler.model.inventory import Held
from norn_reconciler.model.stakes import Fact, Stake
from norn_reconciler.providers.events.acl import own_prefix
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import item_fault
from norn_reconciler.providers.events.state import TOPIC

if TYPE_CHECKING:
    from norn_reconciler.providers.events.amounts import Partition

_GROUPS = 20  # that are asked how far they are, a request each


async def weigh(
    client: EventsClient, topics: Sequence[Held], apps: Collection[str]
) -> Sequence[Stake]:
    """Those that are there. apps: whose consumer groups are told. Some requests a broker, and one a
    group. Raises ServiceError."""
    from norn_reconciler.providers.events import amounts, wire  # noqa: PLC0415

    response = await client.ask(wire.metadata_request([held.name for held in topics]))
    seen = wire.metadata(response)
    there = [
        held.name
        for held in topics
        if held.name in seen.topics
        and (held.server_id is None or seen.topics[held.name].topic_id == held.server_id)
    ]
    led = amounts.led(response)
    unread: dict[str, str] = {}
    first = await _offsets(client, led, amounts.FIRST)
    end = await _offsets(client, led, amounts.END)
    newest: dict[Partition, tuple[int, int]] = {}
    try:
        newest = await _offsets(client, led, amounts.NEWEST)
    except Denied as fault:  # an older broker
        unread["newest"] = str(fault)
    sizes = await _sizes(client, seen.brokers, led, unread)
    read = await _read(client, seen.brokers, apps, unread)
    stakes = []
    for name in there:
        parts = [part for part in end if part[0] == name]
        messages = sum(max(0, end[part][0] - first[part][0]) for part in parts if part in first)
        facts: dict[str, Fact] = {"messages": messages}
        if sizes is not None:
            facts["bytes"] = sizes.get(name, 0)  # of all replicas
        at = max((newest[part][1] for part in parts if part in newest), default=-1)
        if at >= 0:
            facts["newest"] = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
        lags = {
            group: sum(max(0, end[part][0] - done[part]) for part in parts if part in done)
            for group, done in read.items()
            if any(part in done for part in parts)
        }
        facts["lag"] = lags
        stakes.append(Stake(TOPIC, name, facts, unread))
    return stakes


async def _offsets(
    client: EventsClient, led: dict[int, dict[str, list[int]]], at: int
) -> dict[Partition, tuple[int, int]]:
    from norn_reconciler.providers.events import amounts  # noqa: PLC0415

    found: dict[Partition, tuple[int, int]] = {}
    for node, parts in led.items():
        request = amounts.offsets_request(parts, at)
        found |= amounts.offsets(await client.ask(request, node=node))
    return found


async def _sizes(
    client: EventsClient,
    brokers: Sequence[int],
    led: dict[int, dict[str, list[int]]],
    unread: dict[str, str],
) -> dict[str, int] | None:
    from norn_reconciler.providers.events import amounts  # noqa: PLC0415

    parts: dict[str, list[int]] = {}
    for by in led.values():
        for name, numbers in by.items():
            parts.setdefault(name, []).extend(numbers)
    found: dict[str, int] = {}
    for node in brokers:
        try:
            said = amounts.log_sizes(await client.ask(amounts.log_dirs_request(parts), node=node))
            if isinstance(said, int):
                raise item_fault(said, None, object="log folders", username=client.username)
        except ServiceError as fault:
            unread["bytes"] = str(fault)
            return None
        for name, size in said.items():
            found[name] = found.get(name, 0) + size
    return found


async def _read(
    client: EventsClient, brokers: Sequence[int], apps: Collection[str], unread: dict[str, str]
) -> dict[str, dict[Partition, int]]:
    """Group → how far it is."""
    from norn_reconciler.providers.events import amounts  # noqa: PLC0415

    prefixes = tuple(own_prefix(app) for app in apps)
    found: dict[str, dict[Partition, int]] = {}
    for node in brokers:
        try:
            said = amounts.groups(await client.ask(amounts.groups_request(), node=node))
            if isinstance(said, int):
                raise item_fault(said, None, object="consumer groups", username=client.username)
        except ServiceError as fault:
            unread["lag"] = str(fault)
            return {}
        for group in sorted(g for g in said if g in apps or g.startswith(prefixes)):
            if len(found) >= _GROUPS:
                unread["lag"] = f"there are more than {_GROUPS} groups"
                return found
            answer = await client.ask(amounts.committed_request(group), node=node)
            found[group] = amounts.committed(answer)
    return found
