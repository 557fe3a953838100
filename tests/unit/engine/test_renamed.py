"""An app gets another name: what norn_db says of it from then on, and what comes in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Fleet
from norn_reconciler.model.moves import Move
from norn_reconciler.model.records import Changes
from norn_reconciler.model.secret import LOST, CredentialMark
from tests.unit.engine.world import World, fleet, member

MAIL, POST = AppName("mail"), AppName("post")
ROW = ("box", "m")


def called(new: AppName, old: AppName) -> Fleet:
    gone = replace(member(old), record=member(old, "m").record)
    found = fleet(member(new, "m"), vanished=(gone,))
    return replace(found, moves=(Move("box", ROW, old, new, renamed=True),))


async def started() -> World:
    world = World()
    await world.engine.accept(fleet(member("mail", "m")))
    await world.round()
    return world


async def test_no_password_that_was_told_under_a_name_is_used_again_under_it() -> None:
    """Whoever had it knows it, and another app may have the name by then."""
    world = await started()
    passwords = [world.book.credential(MAIL, "box")]
    for new, old in ((POST, MAIL), (MAIL, POST)):
        await world.engine.accept(called(new, old))
        assert world.book.owned("box", new).keys() == {ROW}
        mark = world.book.service("box", new).mark
        assert mark is not None
        assert mark.fingerprint == LOST
        passwords.append(world.book.credential(new, "box"))
    assert [p.mark.generation for p in passwords] == [1, 1, 2]
    assert world.book.service("box", POST).mark == CredentialMark(LOST, 2)


async def test_nothing_passes_from_an_app_that_long_work_has_begun_with_since_the_look() -> None:
    world = await started()
    async with world.engine.alone(MAIL):
        assert not await world.engine.accept(called(POST, MAIL))
        assert world.book.entries.keys() == {MAIL}
        assert world.book.owned("box", MAIL).keys() == {ROW}
    assert await world.engine.accept(called(POST, MAIL))
    assert world.book.owned("box", POST).keys() == {ROW}


async def test_long_work_begins_once_what_is_being_written_is_written() -> None:
    """Else it would start from rows that are another app's by then, and write them again."""
    world = await started()
    gate, inside = asyncio.Event(), asyncio.Event()
    record = world.store.record

    async def slow(epoch: int, changes: Changes) -> None:
        inside.set()
        await gate.wait()
        await record(epoch, changes)

    world.store.record = slow  # type: ignore[method-assign]
    accepting = asyncio.create_task(world.engine.accept(called(POST, MAIL)))
    await inside.wait()

    async def work() -> set[tuple[str, str]]:
        async with world.engine.alone(MAIL):
            return set(world.book.owned("box", MAIL))

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    gate.set()
    assert await working == set()
    await accepting


async def test_an_app_that_a_person_has_paused_is_so_under_its_new_name() -> None:
    world = await started()
    paused = replace(world.book.records[MAIL], paused=True)
    async with world.book.turn:
        await world.book.write(Changes(apps=[paused]))
    await world.engine.accept(called(POST, MAIL))
    assert world.book.entries[POST].record.paused
