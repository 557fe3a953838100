"""What a person with the admin's password does to a broker, for tests: small changes behind norn's
back, each waited for until the broker shows it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, wire
from norn_reconciler.providers.events.acl import AclBinding
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.login import LoginRefused, log_in
from norn_reconciler.providers.events.read import read_acls, read_topics, read_users
from norn_reconciler.providers.events.state import TopicSpec, TopicState


async def shown(look: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await look():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the broker never showed the change")


class Admin:
    """Speaks through the provider's own connection, not through its plans."""

    def __init__(self, provider: EventsProvider) -> None:
        self._client = provider._client

    async def topics(self) -> Mapping[str, TopicState]:
        return (await read_topics(self._client)).topics

    async def users(self) -> Mapping[str, Mapping[str, int]]:
        return await read_users(self._client)

    async def acls_of(self, app: str) -> frozenset[AclBinding]:
        return frozenset(a for a in await read_acls(self._client) if a.principal == f"User:{app}")

    async def create_acl(self, *args: str, host: str = "*", permission: str = "ALLOW") -> None:
        acl = self._acl(*args, host=host, permission=permission)
        response = await self._client.ask(wire.create_acls_request([acl]))
        assert wire.by_position(response.results) == [None]

        async def there() -> bool:
            return acl in await read_acls(self._client)

        await shown(there)

    async def delete_acl(self, *args: str) -> None:
        acl = self._acl(*args, host="*", permission="ALLOW")
        assert acl in await read_acls(self._client)
        await self._client.ask(wire.delete_acls_request([acl]))

        async def gone() -> bool:
            return acl not in await read_acls(self._client)

        await shown(gone)

    async def delete_acls_of(self, who: str, naming: str) -> None:
        """All rules of a principal on names that hold `naming`."""

        async def theirs() -> list[AclBinding]:
            return [a for a in await read_acls(self._client, who) if naming in a.name]

        async def gone() -> bool:
            return not await theirs()

        if found := await theirs():
            await self._client.ask(wire.delete_acls_request(found))
            await shown(gone)

    @staticmethod
    def _acl(
        who: str, kind: str, name: str, pattern: str, operation: str, *, host: str, permission: str
    ) -> AclBinding:
        return AclBinding(who, kind, name, pattern, host, permission, operation)

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        spec = TopicSpec(name, partitions)
        response = await self._client.ask(wire.create_topics_request([spec], 5000))
        assert not wire.by_name(response.topics, "name")

        async def there() -> bool:
            return name in await self.topics()

        await shown(there)

    async def grow_topic(self, name: str, partitions: int) -> None:
        response = await self._client.ask(wire.create_partitions_request({name: partitions}, 5000))
        assert not wire.by_name(response.results, "name")

        async def grown() -> bool:
            return (await self.topics())[name].partitions == partitions

        await shown(grown)

    async def delete_topic(self, name: str) -> None:
        from kafka.protocol.admin import DeleteTopicsRequest  # noqa: PLC0415

        state = DeleteTopicsRequest.DeleteTopicState
        await self._client.ask(DeleteTopicsRequest(topics=[state(name=name)], timeout_ms=5000))

        async def gone() -> bool:
            return name not in await self.topics()

        await shown(gone)

    async def alter_config(self, topic: str, key: str, value: str | None) -> None:
        response = await self._client.ask(wire.alter_configs_request({topic: {key: value}}))
        assert not wire.by_name(response.responses, "resource_name")

        async def there() -> bool:
            request = wire.describe_configs_request({topic: [key]})
            found: Any = wire.configs(await self._client.ask(request))[topic]
            return found[key].own is (value is not None) and value in {None, found[key].value}

        await shown(there)

    async def set_password(
        self, user: str, mechanism: str, password: Secret, iterations: int
    ) -> None:
        salt = os.urandom(16)
        name = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        key = hashlib.pbkdf2_hmac(name, password.reveal().encode(), salt, iterations)
        upsert = wire.Upsert(user, mechanism, iterations, salt, key)
        response = await self._client.ask(wire.alter_users_request([upsert], []))
        assert not wire.by_name(response.results, "user")

        async def there() -> bool:
            return (await read_users(self._client)).get(user, {}).get(mechanism) == iterations

        await shown(there)

    async def delete_user(self, user: str, mechanism: str) -> None:
        response = await self._client.ask(wire.alter_users_request([], [(user, mechanism)]))
        assert not wire.by_name(response.results, "user")

        async def gone() -> bool:
            return mechanism not in (await read_users(self._client)).get(user, {})

        await shown(gone)

    async def end_offset(self, topic: str) -> int:
        """How many records were ever written to the topic."""
        from kafka.protocol.consumer import ListOffsetsRequest  # noqa: PLC0415

        message = ListOffsetsRequest.ListOffsetsTopic
        partitions = (await self.topics())[topic].partitions
        response = await self._client.ask(
            ListOffsetsRequest(
                replica_id=-1,
                isolation_level=0,
                topics=[
                    message(
                        name=topic,
                        partitions=[
                            message.ListOffsetsPartition(partition_index=i, timestamp=-1)
                            for i in range(partitions)
                        ],
                    )
                ],
                max_version=5,
            )
        )
        return sum(p.offset for p in response.topics[0].partitions)


async def log_in_as(brokers: str, user: str, password: Secret) -> bool:
    endpoint = Endpoint.parse(brokers, "SASL_PLAINTEXT", None, 5.0)
    try:
        await log_in(endpoint, "SCRAM-SHA-256", user, password)
    except LoginRefused:
        return False
    return True


def produce_and_count(brokers: str, user: str, password: str, topic: str) -> int:
    """As the app, with kafka-python's own producer and a consumer of its own group: write one
    record, read all of them back."""
    from kafka import KafkaConsumer, KafkaProducer  # noqa: PLC0415

    access: dict[str, Any] = {
        "bootstrap_servers": brokers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }
    producer = KafkaProducer(**access)
    try:
        producer.send(topic, b"kept").get(timeout=20)
    finally:
        producer.close()
    consumer = KafkaConsumer(
        topic, group_id=user, auto_offset_reset="earliest", consumer_timeout_ms=15000, **access
    )
    try:
        return sum(1 for _ in zip(range(1), consumer, strict=False))
    finally:
        consumer.close()
