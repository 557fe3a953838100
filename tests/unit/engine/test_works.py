"""Long work beside the lanes: how many at once, when it is ended, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.works import Works
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseLost, NornError
from norn_reconciler.model.records import Operation, OperationState
from norn_reconciler.model.work import Steps, Subject
from tests.unit.engine.fakes import MemoryStore, Secrets


@dataclass
class Digging:
    """Goes on until it is told to stop."""

    kind: str = "dig"
    running: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None
    exclusive: bool = False
    of_removed: bool = False
    subject: Subject | None = None

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        self.subject = subject
        await steps.begin("dig", spade=1)
        self.running.append(operation.id)
        try:
            if self.fault:
                raise self.fault
            await steps.tell("2 feet")
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(operation.id)
            raise
        finally:
            self.running.remove(operation.id)
        return "there"


@dataclass
class Fence:
    open: bool = True

    def check(self) -> None:
        if not self.open:
            raise LeaseLost("gone")


@dataclass
class World:
    store: MemoryStore = field(default_factory=MemoryStore)
    fence: Fence = field(default_factory=Fence)
    digging: Digging = field(default_factory=Digging)

    def __post_init__(self) -> None:
        book = Mirror(self.store, Secrets(), frozenset())
        self.works = Works(book, self.store, self.fence, [self.digging])

    def ask(self, number: int, app: str | None = None) -> None:
        operation = Operation(number, "dig", AppName(app) if app else None)
        self.store.operations[number] = operation
        self.works.take(operation)

    def state(self, number: int) -> OperationState:
        return self.store.operations[number].state


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 -- what it asks has no event
            await asyncio.sleep(0.01)


async def test_a_few_run_at_once_and_the_others_wait() -> None:
    world = World()
    for number in range(1, 5):
        world.ask(number)
        world.ask(number)  # the row is seen again and again while it is pending
    await until(lambda: len(world.digging.running) == 2)
    await until(lambda: world.store.operations[1].step == "dig: 2 feet")
    assert world.store.operations[1].arguments == {"spade": 1}
    assert world.state(3) is OperationState.QUEUED
    world.digging.go.set()
    await world.works.drain()
    assert {world.state(n) for n in range(1, 5)} == {OperationState.DONE}
    assert world.store.operations[4].result == "there"


async def test_it_is_ended_when_the_lease_is_lost_and_begun_anew_by_who_has_it() -> None:
    world = World()
    world.ask(1)
    await until(lambda: world.store.operations[1].step == "dig: 2 feet")
    world.fence.open = False
    await world.works.drain()
    assert world.digging.cancelled == [1]
    assert world.state(1) is OperationState.RUNNING
    world.fence.open = True
    world.digging.go.set()
    world.works.take(world.store.operations[1])
    await world.works.drain()
    assert world.state(1) is OperationState.DONE


async def test_it_waits_for_norn_db_as_long_as_the_lease_lasts() -> None:
    world = World()
    world.ask(1)
    await until(lambda: world.store.operations[1].step == "dig: 2 feet")
    world.store.away = True
    world.digging.go.set()
    await until(lambda: not world.digging.running)
    world.store.away = False
    await world.works.drain()
    assert world.state(1) is OperationState.DONE


async def test_closed_nothing_runs_and_nothing_begins() -> None:
    world = World()
    world.ask(1)
    await until(lambda: world.digging.running)
    await world.works.close()
    assert world.digging.cancelled == [1]
    world.works.take(world.store.operations[1])
    await world.works.drain()
    assert not world.digging.running
    assert world.state(1) is OperationState.RUNNING


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (NornError("no spade"), "no spade"),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
        (KeyError("x"), "internal: KeyError"),
    ],
)
async def test_a_fault_ends_the_operation_alone(fault: Exception, told: str) -> None:
    world = World()
    world.digging.fault = fault
    world.ask(1)
    await world.works.drain()
    assert world.state(1) is OperationState.FAILED
    assert world.store.operations[1].result == told


async def test_an_app_that_no_file_asks_for() -> None:
    world = World()
    world.ask(1, "nobody")
    await world.works.drain()
    assert world.store.operations[1].result == "no file asks for nobody"
