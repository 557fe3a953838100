"""The events provider on a real broker: the contract of every provider, and each drift repaired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest

from norn_reconciler.model.app import App, AppName, Section
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from norn_reconciler.providers.events.acl import AclBinding
from norn_reconciler.providers.events.state import ConfigValue, Observed, TopicState
from tests.integration.events_admin import Admin, log_in_as, produce_and_count
from tests.integration.provider_contract import Mutation, ProviderContract, credential


def mutation(
    change: Callable[[Admin, str], Awaitable[None]], named: str, *, mended: bool = True
) -> Mutation:
    async def act(test: Any, app: App) -> None:
        await change(test.admin, app.name)

    return Mutation(act, named, mended)


async def _hide_acl(admin: Admin, app: str) -> None:
    await admin.delete_acl(f"User:{app}", "TOPIC", f"{app}.", "PREFIXED", "READ")


async def _widen(admin: Admin, app: str) -> None:
    await admin.create_acl(f"User:{app}", "TOPIC", "*", "LITERAL", "READ")


async def _deny(admin: Admin, app: str) -> None:
    await admin.create_acl(f"User:{app}", "GROUP", app, "LITERAL", "READ", permission="DENY")


async def _deletes(admin: Admin, app: str) -> None:
    await admin.create_acl(f"User:{app}", "TOPIC", f"in-{app}", "LITERAL", "DELETE")


async def _prefixed(admin: Admin, app: str) -> None:
    await admin.create_acl(f"User:{app}", "TOPIC", f"in-{app}", "PREFIXED", "READ")


async def _from_one_host(admin: Admin, app: str) -> None:
    await admin.delete_acl(f"User:{app}", "GROUP", app, "LITERAL", "READ")
    await admin.create_acl(f"User:{app}", "GROUP", app, "LITERAL", "READ", host="10.1.2.3")


async def _cluster(admin: Admin, app: str) -> None:
    await admin.create_acl(f"User:{app}", "CLUSTER", "kafka-cluster", "LITERAL", "ALTER")


async def _retain_less(admin: Admin, app: str) -> None:
    await admin.alter_config(f"in-{app}", "retention.ms", "1000")


async def _retain_default(admin: Admin, app: str) -> None:
    await admin.alter_config(f"in-{app}", "retention.ms", None)


async def _drop_topic(admin: Admin, app: str) -> None:
    await admin.delete_topic(f"in-{app}")


async def _more_partitions(admin: Admin, app: str) -> None:
    await admin.grow_topic(f"in-{app}", 3)


async def _made_again(admin: Admin, app: str) -> None:
    await admin.delete_topic(f"in-{app}")
    await admin.create_topic(f"in-{app}", partitions=2)


async def _one_way_only(admin: Admin, app: str) -> None:
    await _second_password(admin, app)
    await _drop_user(admin, app)


async def _drop_user(admin: Admin, app: str) -> None:
    await admin.delete_user(app, "SCRAM-SHA-256")


async def _second_password(admin: Admin, app: str) -> None:
    await admin.set_password(app, "SCRAM-SHA-512", Secret("a-way-round"), 4096)


async def _other_password(admin: Admin, app: str) -> None:
    await admin.set_password(app, "SCRAM-SHA-256", Secret("a-way-round"), 8192)


class TestEventsContract(ProviderContract):
    key: ClassVar[str] = "events"
    mutations: ClassVar[dict[str, Mutation]] = {
        "an ACL is deleted": mutation(_hide_acl, "ALLOW User:{app} READ ON TOPIC PREFIXED {app}."),
        "an ACL is added": mutation(_widen, "DELETE ACL ALLOW User:{app} READ ON TOPIC LITERAL *"),
        "a DENY is added": mutation(_deny, "DELETE ACL DENY User:{app} READ ON GROUP LITERAL"),
        "an operation more": mutation(_deletes, "DELETE ACL ALLOW User:{app} DELETE ON TOPIC"),
        "a whole prefix": mutation(_prefixed, "User:{app} READ ON TOPIC PREFIXED in-{app}"),
        "an ACL is tied to a host": mutation(_from_one_host, "FROM 10.1.2.3"),
        "power over the cluster": mutation(_cluster, "ALTER ON CLUSTER LITERAL kafka-cluster"),
        "a config value": mutation(_retain_less, "ALTER TOPIC in-{app} CONFIG retention.ms=60000"),
        "a config value is reset": mutation(
            _retain_default, "ALTER TOPIC in-{app} CONFIG retention.ms=60000"
        ),
        "the topic is deleted": mutation(_drop_topic, "CREATE TOPIC in-{app}"),
        "the topic is made again": mutation(
            _made_again, "topic in-{app} was deleted and made again", mended=False
        ),
        "more partitions": mutation(
            _more_partitions, "topic in-{app} has 3 partitions", mended=False
        ),
        "the user is deleted": mutation(_drop_user, "CREATE USER {app}"),
        "a second mechanism": mutation(_second_password, "DROP SCRAM-SHA-512"),
        "another mechanism alone": mutation(_one_way_only, "ALTER USER {app} SCRAM-SHA-256"),
        "another password": mutation(_other_password, "ALTER USER {app} SCRAM-SHA-256"),
    }

    observed: ClassVar = (Observed, TopicState, ConfigValue, AclBinding)
    compared: ClassVar = {
        "Observed.topics": "the topic is deleted",
        "Observed.mechanisms": "another password",
        "Observed.acls": "an ACL is deleted",
        "TopicState.topic_id": "the topic is made again",
        "TopicState.partitions": "more partitions",
        "TopicState.config": "a config value",
        "ConfigValue.value": "a config value",
        "ConfigValue.own": "a config value is reset",
        "AclBinding.type": "power over the cluster",
        "AclBinding.name": "an ACL is added",
        "AclBinding.pattern": "a whole prefix",
        "AclBinding.host": "an ACL is tied to a host",
        "AclBinding.permission": "a DENY is added",
        "AclBinding.operation": "an operation more",
    }
    elsewhere: ClassVar = {
        "Observed.foreign": "integration/test_events_batch.py"
        "::test_a_foreign_grant_is_reported_and_left",
        "AclBinding.principal": "integration/test_events_batch.py"
        "::test_a_foreign_grant_is_reported_and_left",
        "Observed.strangers": "acceptance/test_9_readers.py"
        "::test_an_owner_cannot_share_what_is_not_its_own",
        "Observed.late": "acceptance/test_h_handover.py"
        "::test_it_waits_for_whoever_is_left_alone_and_both_files_have_to_say_so",
        # A single broker takes no other number.
        "TopicState.replication": "unit/providers/test_events_plan.py"
        "::test_partitions_and_replication",
    }

    @pytest.fixture
    async def provider(self, servers: Any) -> AsyncIterator[AnyProvider]:
        provider = EventsProvider(
            brokers=servers.brokers,
            username=servers.kafka_username,
            password=Secret(servers.kafka_password),
        )
        self.admin = Admin(provider)
        self.brokers = servers.brokers
        yield provider  # type: ignore[misc]  # the engine's view of every provider
        await provider.close()

    def section(self, app: AppName) -> Section:
        return EventsSection.model_validate(
            {
                "topics": [
                    {"name": f"in-{app}", "partitions": 2, "config": {"retention.ms": 60000}},
                    f"out-{app}",
                ]
            }
        )

    def changed_section(self, app: AppName) -> Section:
        return EventsSection.model_validate(
            {
                "topics": [
                    {"name": f"in-{app}", "partitions": 3, "config": {"segment.ms": 70000}},
                    f"new-{app}",
                ]
            }
        )

    async def requests(self, provider: AnyProvider) -> int:
        assert isinstance(provider, EventsProvider)
        return provider.requests

    async def make_foreign(self, app: App) -> None:
        await self.admin.set_password(app.name, "SCRAM-SHA-256", Secret("theirs"), 4096)
        await self.admin.create_acl(f"User:{app.name}", "TOPIC", "theirs", "LITERAL", "READ")
        await self.admin.create_topic(f"in-{app.name}")

    async def foreign_state(self, app: App) -> object:
        topic = (await self.admin.topics())[f"in-{app.name}"]
        theirs = await log_in_as(self.brokers, app.name, Secret("theirs"))
        return (topic, await self.admin.acls_of(app.name), theirs)

    async def can_log_in(self, app: App) -> bool:
        return await log_in_as(self.brokers, app.name, credential(app.name).password)

    async def put_data(self, app: App) -> None:
        password = credential(app.name).password
        topic = f"in-{app.name}"
        count = await asyncio.to_thread(
            produce_and_count, self.brokers, app.name, password.reveal(), topic
        )
        assert count == 1

    async def has_data(self, app: App) -> bool:
        return await self.admin.end_offset(f"in-{app.name}") == 1
