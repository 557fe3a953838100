"""Each kind of description, asked for and read: one request each, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.providers.events.acl import AclBinding
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import REFUSED, UNKNOWN_TOPIC, item_fault
from norn_reconciler.providers.events.state import ConfigValue, TopicSpec

if TYPE_CHECKING:
    from norn_reconciler.providers.events.wire import Metadata


async def read_topics(client: EventsClient, names: Sequence[str] | None = None) -> Metadata:
    """The named topics that exist, or all of them, without their config."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415  -- imports the driver

    found = wire.metadata(await client.ask(wire.metadata_request(names)))
    client.heard(found.controller)
    return found


async def read_acls(client: EventsClient, principal: str | None = None) -> list[AclBinding]:
    """Every ACL of the cluster, or of one principal (`User:app`)."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    response = await client.ask(wire.describe_acls_request(principal))
    _whole(client, response, "the list of ACLs")
    return wire.acls(response)


async def read_users(client: EventsClient) -> dict[str, dict[str, int]]:
    """Every SCRAM user: mechanism → iterations."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    response = await client.ask(wire.describe_users_request())
    _whole(client, response, "the list of SCRAM users")
    return wire.users(response)


async def read_configs(
    client: EventsClient, keys: Mapping[str, Sequence[str] | None]
) -> dict[str, Mapping[str, ConfigValue] | ServiceError]:
    """Some config keys of some topics, or all of them (None). A topic that has just vanished is
    left out; one that may not be described has an error in its place. No request for no topic."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    if not keys:
        return {}
    found: dict[str, Mapping[str, ConfigValue] | ServiceError] = {}
    for topic, values in wire.configs(
        await client.ask(wire.describe_configs_request(keys))
    ).items():
        if not isinstance(values, wire.ItemError):
            found[topic] = values
        elif values.code != UNKNOWN_TOPIC:
            found[topic] = item_fault(
                values.code, values.message, object=topic, username=client.username
            )
    return found


async def denied_on_topic(client: EventsClient, name: str) -> list[str]:
    """Which of the operations that norn needs on topics its user lacks on this one, which does not
    exist. Nothing is made: what would write is only validated."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    limit = int(client.endpoint.timeout * 1000)
    spec = TopicSpec(name, 1)
    made = await client.ask(
        wire.create_topics_request([spec], limit, validate_only=True), controller=True
    )
    grown = await client.ask(
        wire.create_partitions_request({name: 2}, limit, validate_only=True), controller=True
    )
    altered = await client.ask(
        wire.alter_configs_request({name: {"retention.ms": "1"}}, validate_only=True)
    )
    asked = await client.ask(wire.describe_configs_request({name: ["retention.ms"]}))
    described = await client.ask(wire.metadata_request([name]))
    codes = {
        "CREATE": made.topics,
        "ALTER": grown.results,
        "ALTER_CONFIGS": altered.responses,
        "DESCRIBE_CONFIGS": asked.results,
        "DESCRIBE": described.topics,
    }
    return sorted(
        operation
        for operation, answers in codes.items()
        if any(answer.error_code in REFUSED for answer in answers)
    )


def _whole(client: EventsClient, response: Any, what: str) -> None:
    """Raise when the request as a whole was refused."""
    if response.error_code:
        raise item_fault(
            response.error_code, response.error_message, object=what, username=client.username
        )
