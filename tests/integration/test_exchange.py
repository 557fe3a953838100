"""A restore is taken back, whatever is heard of it, and as often as somebody likes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.inventory import Held, HeldState, Owned
from norn_reconciler.model.records import AppRecord, Changes, Operation, ServiceRecord, SpecRecord
from norn_reconciler.model.secret import Secret
from norn_reconciler.model.status import Condition, Event
from norn_reconciler.model.work import Subject
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.whole import WholeDatabases
from norn_reconciler.snapshots import exchange
from tests.integration.postgres_admin import app_with
from tests.integration.provider_contract import credential, fresh_name
from tests.isolation.postgres_cluster import Cluster, running

AT = datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running("18") as cluster:
        yield cluster


@dataclass
class Written:
    """Implements model.work.Steps: norn_db, as far as this app goes."""

    app: AppName
    owned: Owned
    arguments: dict[str, object] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    async def begin(self, step: str, **facts: object) -> None:
        self.arguments.update(facts)

    async def tell(self, progress: str) -> None: ...

    async def show(self, kind: str, condition: Condition | None) -> None: ...

    async def write(self, changes: Changes) -> None:
        self.owned = changes.inventory.get(("postgres", self.app), self.owned)
        self.events += changes.events


class Story:
    """An app whose restore has put a database aside."""

    def __init__(self, provider: PostgresProvider, app: AppName, owned: Owned) -> None:
        self.provider, self.app = provider, app
        self.whole: Databases = provider.whole()
        self.database = next(name for kind, name in owned if kind == "database")
        self.written = Written(app, owned)

    async def seen(self, name: str) -> Seen:
        found = await self.whole.seen(name)
        assert found is not None, name
        return found

    async def put_aside(self) -> None:
        before = AT - timedelta(hours=1)
        name, settings = trash.named(self.database, before), trash.settings(self.database, before)
        made = await self.whole.make(name, self.app)
        row = Held("database", name, HeldState.RETAINED, server_id=made.id, settings=settings)
        self.written.owned = {**self.written.owned, row.key: row}

    @property
    def aside(self) -> str:
        (name,) = (row.name for row in self.written.owned.values() if trash.since(row) is not None)
        return name

    async def undo(self) -> Operation:
        live, other = await self.seen(self.database), await self.seen(self.aside)
        arguments = {"aside": other.name}
        asked = Operation(
            7, exchange.KIND, self.app, arguments=arguments, digest=exchange.agreed(live, other)
        )
        self.written.arguments = dict(arguments)
        await self.run(asked)
        return replace(asked, arguments=self.written.arguments)

    async def run(self, operation: Operation) -> None:
        own, spec = credential(self.app), SpecRecord("a.yaml", "", 0, 0, "{}")
        subject = Subject(
            app_with(self.app),
            AppRecord(self.app, spec, 1),
            {"postgres": self.written.owned},
            {"postgres": ServiceRecord(mark=own.mark)},
            {"postgres": own},
        )
        work = exchange.ExchangeWork(self.provider, lambda: self.whole, lambda: AT)
        await work.run(operation, subject, self.written)

    async def as_written(self) -> None:
        """norn_db says of both databases what the server says."""
        for row in self.written.owned.values():
            if row.kind == "database":
                found = await self.seen(row.name)
                assert (found.id, found.open) == (row.server_id, row.name == self.database), row


class Unheard(WholeDatabases):
    """The connection is lost at the very end, and the server is away for a moment."""

    away = 0

    async def swap(self, live: Seen, other: Seen, aside: str) -> None:
        await super().swap(live, other, aside)
        self.away = 1
        raise Unavailable("postgres", "the connection is lost")

    async def seen(self, name: str) -> Seen | None:
        if self.away:
            self.away -= 1
            raise Unavailable("postgres", "the server is away")
        return await super().seen(name)


@pytest.fixture
def story(cluster: Cluster) -> Iterator[Story]:
    app = AppName(fresh_name("undo"))
    owned = cluster.provision(app).owned[app]
    yield Story(cluster.provider(), app, owned)


def test_two_within_one_second_are_two(story: Story) -> None:
    async def told() -> None:
        try:
            await story.put_aside()
            first, second = await story.seen(story.database), await story.seen(story.aside)
            for live in (second, first, second):
                await story.undo()
                assert (await story.seen(story.database)).id == live.id
                await story.as_written()
        finally:
            await story.provider.close()

    asyncio.run(told())


def test_done_and_not_heard_of_is_done_once(cluster: Cluster, story: Story) -> None:
    async def told() -> None:
        try:
            await story.put_aside()
            other = await story.seen(story.aside)
            story.whole = Unheard(Secret(cluster.server.admin_url), "test", 5.0)
            asked = await story.undo()
            assert (await story.seen(story.database)).id == other.id
            await story.as_written()
            # Nor has anybody heard that it was written.
            before = story.written.owned
            await story.run(asked)
            assert story.written.owned == before
            assert len(story.written.events) == 1
            await story.as_written()
        finally:
            await story.provider.close()

    asyncio.run(told())
