"""Read your writes: an acknowledged change shows in descriptions some time later, after a large
batch of topics seconds later. Until it shows, the lag would look like drift."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.providers.events.acl import AclBinding
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
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.read import (
    read_acls,
    read_configs,
    read_topics,
    read_users,
)
from norn_reconciler.providers.events.state import MECHANISM, same_value

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
_GROWTH = 1.5


@dataclass
class Expected:
    """What descriptions should come to show; what they have shown is taken out."""

    present: set[AclBinding] = field(default_factory=set)
    absent: set[AclBinding] = field(default_factory=set)
    users: dict[str, str] = field(default_factory=dict)  # user → mechanism it should have
    no_users: set[tuple[str, str]] = field(default_factory=set)  # (user, mechanism)
    topics: dict[str, int] = field(default_factory=dict)  # topic → partitions, at least
    configs: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @classmethod
    def after(cls, done: Iterable[EventsAction]) -> Expected:
        """What these acknowledged actions, in this order, should lead to."""
        new = cls()
        for action in done:
            new._add(action)
        return new

    def _add(self, action: EventsAction) -> None:
        match action:
            case GrantAcl():
                self.present.update(action.rule.bindings())
                self.absent.difference_update(action.rule.bindings())
            case DeleteAcl():
                self.absent.update(action.rule.bindings())
            case SetPassword():
                self.users[action.name] = MECHANISM
            case DropMechanism():
                self.no_users.add((action.name, action.mechanism))
            case DropUser():
                self.no_users.update((action.name, each) for each in action.mechanisms)
            case CreateTopic():
                self.topics[action.name] = action.spec.partitions or 1
            case GrowPartitions():
                self.topics[action.name] = action.partitions
            case AlterConfig():
                self.configs[action.name] = {
                    **dict(action.setting),
                    **dict.fromkeys(action.resetting),
                }
            case _:
                raise TypeError(f"no description shows {type(action).__name__}")

    def __bool__(self) -> bool:
        return bool(
            self.present or self.absent or self.users or self.no_users or self.topics
            or self.configs
        )  # fmt: skip

    def still(self, missing: Expected) -> Expected:
        """The part of this that is also in `missing`."""
        return Expected(
            present=self.present & missing.present,
            absent=self.absent & missing.absent,
            users={u: m for u, m in self.users.items() if u in missing.users},
            no_users=self.no_users & missing.no_users,
            topics={t: n for t, n in self.topics.items() if t in missing.topics},
            configs={t: k for t, k in self.configs.items() if t in missing.configs},
        )

    def words(self) -> str:
        """What is still missing, in a few words."""
        counts = {
            "ACLs": len(self.present) + len(self.absent),
            "users": len(self.users) + len(self.no_users),
            "topics": len(self.topics),
            "topic configs": len(self.configs),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    async def look(self, client: EventsClient) -> None:
        """Ask for each kind that is still awaited, once, and take out what shows."""
        if self.topics:
            await self._look_at_topics(client)
        if self.configs:
            await self._look_at_configs(client)
        if self.present or self.absent:
            whose = {acl.principal for acl in self.present | self.absent}
            # Of one app alone: a large fleet's list takes longer to read than the app to make.
            shown = set(await read_acls(client, min(whose) if len(whose) == 1 else None))
            self.present -= shown
            self.absent &= shown
        if self.users or self.no_users:
            users = await read_users(client)
            self.users = {u: m for u, m in self.users.items() if m not in users.get(u, {})}
            self.no_users = {(u, m) for u, m in self.no_users if m in users.get(u, {})}

    async def _look_at_topics(self, client: EventsClient) -> None:
        found = await read_topics(client, sorted(self.topics))
        self.topics = {
            name: count
            for name, count in self.topics.items()
            if name not in found.topics
            or name in found.leaderless
            or found.topics[name].partitions < count
        }

    async def _look_at_configs(self, client: EventsClient) -> None:
        asked = {topic: sorted(keys) for topic, keys in self.configs.items()}
        found = await read_configs(client, asked)
        for topic, values in found.items():
            if isinstance(values, ServiceError):
                raise values
            for key, wanted in list(self.configs[topic].items()):
                value = values.get(key)
                shown = value is not None and (
                    not value.own if wanted is None else same_value(wanted, value.value)
                )
                if shown:
                    del self.configs[topic][key]
            if not self.configs[topic]:
                del self.configs[topic]


async def until_visible(client: EventsClient, expected: Expected, seconds: float) -> None:
    """Look again and again, less and less often, until all of it shows or the time is up.

    Afterwards `expected` holds what has not shown. Raises what reading raises.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    pause = _FIRST_PAUSE
    while expected:
        await expected.look(client)
        if not expected or clock() >= deadline:
            return
        await asyncio.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)
