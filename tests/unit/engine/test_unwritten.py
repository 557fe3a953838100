"""What norn_db did not take: kept, written when it is back, and no more than that."""

from __future__ import annotations

import asyncio

import pytest

from norn_reconciler import logs
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError, StoreUnavailable, Unavailable
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.outcome import Converged
from norn_reconciler.model.records import Changes, ServiceRecord
from norn_reconciler.model.secret import CredentialMark
from tests.unit.engine.world import World, fleet, member

OTHER = CredentialMark("e" * 8, 7)


async def unwritten(world: World) -> None:
    """a is made, and norn_db is gone before it hears of it."""
    await world.engine.accept(fleet(member("a", "one")))
    apply = world.service.apply

    async def and_then_away(plans, fence):
        result = await apply(plans, fence)
        world.store.away = True
        return result

    world.service.apply = and_then_away  # type: ignore[method-assign]
    await world.round()
    world.service.apply = apply  # type: ignore[method-assign]


async def test_norn_db_away_during_the_report_is_made_good_by_the_next_round() -> None:
    world = World()
    await unwritten(world)
    assert world.book.owned("box", AppName("a"))["box", "one"].state is HeldState.CLAIMED
    world.store.away = False
    await world.round()
    assert world.book.owned("box", AppName("a"))["box", "one"].state is HeldState.OWNED
    assert isinstance(world.outcome("a"), Converged)


async def test_what_norn_db_did_not_take_is_written_when_it_is_back(monkeypatch) -> None:
    """Not only with the next look at the app: that may be a resync away."""
    monkeypatch.setattr("norn_reconciler.engine.engine.AWAY", 0.0)
    world, a = World(), AppName("a")
    await unwritten(world)
    world.engine.queues["box"].take_due()
    looks = len(world.service.observations)
    serving = asyncio.create_task(world.engine.serve())
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.store.changes[-1].apps[0].conditions == {}, "still away"
    world.store.away = False
    for _ in range(10):
        await asyncio.sleep(0)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert len(world.service.observations) == looks
    assert world.book.records[a].conditions["Ready"].status == "True"
    assert world.book.owned("box", a)["box", "one"].state is HeldState.OWNED
    assert world.book.service("box", a).mark is not None
    assert [d.status for c in world.store.changes for d in c.deployments] == ["deployed"]
    events = world.store.events()
    rows = len(world.store.changes)
    await world.book.report(())
    assert len(world.store.changes) == rows, "once"
    assert len(set(events)) == len(events)


async def test_of_what_norn_db_did_not_take_the_newest_is_written() -> None:
    world, a = World(), AppName("a")
    await unwritten(world)
    world.service.down = Unavailable("box", "gone, too")
    for _ in range(3):
        await world.round()
    world.store.away = False
    await world.book.report(())
    assert "gone, too" in world.book.records[a].conditions["BoxesReady"].message
    told = [e for c in world.store.changes for e in c.events if e.event == logs.PROBLEM_FOUND]
    assert [e.message for e in told] == ["Unavailable: gone, too"], "said once"


async def test_what_was_decided_meanwhile_is_not_undone_by_what_norn_db_did_not_take() -> None:
    world, a = World(), AppName("a")
    await unwritten(world)
    world.store.away = False
    async with world.book.turn:
        await world.book.write(Changes(services={("box", a): ServiceRecord(None, OTHER)}))
        await world.book.write(Changes(inventory={("box", a): {}}))
    await world.book.report(())
    assert world.book.service("box", a).mark == OTHER
    assert world.book.owned("box", a) == {}


async def test_what_norn_db_refuses_is_not_kept() -> None:
    """It would be refused for ever, and everything that is written with it."""
    world = World()
    record = world.store.record

    async def refuses(epoch, changes):
        if any(row.conditions for row in changes.apps):
            raise NornError("norn_db refused a statement")
        await record(epoch, changes)

    world.store.record = refuses  # type: ignore[method-assign]
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert world.book.unwritten
    world.store.record = record  # type: ignore[method-assign]
    await world.book.report(())
    assert world.book.records[AppName("a")].conditions == {}


async def test_accept_changes_nothing_while_norn_db_is_away() -> None:
    world = World()
    world.store.away = True
    with pytest.raises(StoreUnavailable):
        await world.engine.accept(fleet(member("a", "one")))
    assert world.book.entries == {}
