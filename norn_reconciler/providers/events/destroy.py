"""The end of a topic with its data. What is deleted is the topic that norn knows, not another that
has its name by now."""

from __future__ import annotations

import asyncio

from norn_reconciler.model.errors import Rejected
from norn_reconciler.model.inventory import Held
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import UNKNOWN_TOPIC, item_fault
from norn_reconciler.providers.events.read import read_topics
from norn_reconciler.providers.events.state import SERVICE
from norn_reconciler.providers.events.write import server_limit

_LOOKS = 40  # until it is seen to be gone: brokers hear of it one after the other
_PAUSE = 0.25  # seconds between two of them


async def delete_topic(client: EventsClient, held: Held) -> bool:
    """Whether it was there. Raises ServiceError."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    there = (await read_topics(client, [held.name])).topics.get(held.name)
    if there is None:
        return False
    if held.server_id is not None and there.topic_id != held.server_id:
        raise Rejected(
            SERVICE,
            f"topic {held.name} is another than norn knew: somebody made it anew",
            object=held.name,
            remedy="norn forget the app, and it stays",
        )
    request = wire.delete_topics_request([held.name], server_limit(client))
    response = await client.ask(request, controller=True)
    for name, error in wire.by_name(response.responses, "name").items():
        if error.code != UNKNOWN_TOPIC:
            raise item_fault(
                error.code, error.message, object=f"topic {name}", username=client.username
            )
    for _ in range(_LOOKS):
        if held.name not in (await read_topics(client, [held.name])).topics:
            return True
        await asyncio.sleep(_PAUSE)
    raise Rejected(SERVICE, f"topic {held.name} is still there", object=held.name)
