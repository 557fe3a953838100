"""Exclusive long work and the lanes: neither comes in between the other."""

from __future__ import annotations

import asyncio

from norn_reconciler.engine.works import Works
from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import Held
from norn_reconciler.model.records import AppState, Changes, Operation, OperationState
from norn_reconciler.model.work import Steps, Subject
from tests.unit.engine.fakes import Boxes
from tests.unit.engine.test_works import Digging, until
from tests.unit.engine.world import World, fleet, member

MAIL = AppName("mail")


def works(world: World, digging: Digging) -> Works:
    digging.exclusive = True
    return Works(world.book, world.store, world.fence, [digging], alone=world.engine.alone)


def ask(world: World, works: Works) -> None:
    world.store.operations[1] = Operation(1, "dig", MAIL)
    works.take(world.store.operations[1])


async def test_no_lane_comes_near_while_it_runs_and_each_looks_at_its_end() -> None:
    world, digging = World(), Digging()
    dug = works(world, digging)
    await world.engine.accept(fleet(member("mail", "m"), member("other", "o")))
    await world.round()
    world.service.server.update({"m": "bent", "o": "bent"})
    ask(world, dug)
    await until(lambda: digging.running)
    await world.round()
    assert world.service.server == {"m": "bent", "o": "whole"}
    await world.engine.queues["box"].take(0.0)
    digging.go.set()
    await dug.drain()
    assert await world.engine.queues["box"].take(0.0) == (MAIL,)
    await world.round()
    assert world.service.server["m"] == "whole"


async def test_it_begins_when_the_round_under_way_has_ended() -> None:
    gate, inside = asyncio.Event(), asyncio.Event()

    class Slow(Boxes):
        async def apply(self, plans, fence):  # type: ignore[no-untyped-def]
            inside.set()
            await gate.wait()
            return await super().apply(plans, fence)

    world, digging = World(Slow()), Digging()
    dug = works(world, digging)
    await world.engine.accept(fleet(member("mail", "m")))
    turn = asyncio.create_task(world.round())
    await inside.wait()
    ask(world, dug)
    await asyncio.sleep(0.05)
    assert not digging.running
    gate.set()
    await turn
    await until(lambda: digging.running)
    assert world.service.server == {"m": "whole"}
    await dug.close()


async def test_what_it_writes_is_what_the_lanes_go_by() -> None:
    class Renaming(Digging):
        async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
            rows = {("box", "m2"): Held("box", "m2")}
            await steps.write(Changes(inventory={("box", MAIL): rows}))
            return "renamed"

    world = World()
    dug = works(world, Renaming())
    await world.engine.accept(fleet(member("mail", "m")))
    await world.round()
    ask(world, dug)
    await dug.drain()
    assert set(world.book.owned("box", MAIL)) == {("box", "m2")}


async def test_of_a_removed_app_it_is_given_what_norn_still_holds() -> None:
    world, digging = World(), Digging()
    dug = works(world, digging)
    await world.engine.accept(fleet(member("mail", "m"), member("other", "o")))
    await world.round()
    await world.engine.accept(fleet(member("other", "o"), vanished=(member("mail", "m"),)))
    world.clock.now += 11
    await world.round()
    assert world.book.records[MAIL].state is AppState.REMOVED
    ask(world, dug)
    await dug.drain()
    assert world.store.operations[1].state is OperationState.FAILED
    digging.of_removed = True
    digging.go.set()
    ask(world, dug)
    await dug.drain()
    assert world.store.operations[1].state is OperationState.DONE
    subject = digging.subject
    assert subject is not None
    assert subject.leaving
    assert not subject.app.sections
    assert set(subject.owned["box"]) == {("box", "m")}
