"""What becomes of an app, or of a section, whose file no longer asks for it."""

from __future__ import annotations

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.outcome import RequeueAfter
from norn_reconciler.model.records import AppState
from tests.unit.engine.world import World, fleet, member


async def test_a_vanished_file_is_removed_after_the_grace_and_comes_back_whole() -> None:
    world = World()
    one, two = member("a", "one"), member("b", "two")
    await world.engine.accept(fleet(one, two))
    await world.round()
    await world.engine.accept(fleet(two, vanished=(one,)))
    await world.round()
    assert isinstance(world.outcome("a"), RequeueAfter)
    assert world.service.server["one"] == "whole", "removed within the grace"
    world.clock.now += 11
    await world.engine.accept(fleet(two, vanished=(one,)))
    await world.round()
    assert world.service.server["one"] == "closed"
    assert world.book.records[AppName("a")].state is AppState.REMOVED
    held = world.book.owned("box", AppName("a"))["box", "one"]
    assert held.state is HeldState.RETAINED
    assert world.delivery.delivered == {"b"}
    await world.engine.accept(fleet(one, two))
    await world.round()
    assert world.service.server["one"] == "whole"
    assert world.book.records[AppName("a")].state is AppState.ACTIVE
    assert world.book.records[AppName("a")].generation == 1


async def test_a_file_that_is_back_within_the_grace_loses_nothing() -> None:
    world = World()
    one = member("a", "one")
    await world.engine.accept(fleet(one))
    await world.round()
    writes = len(world.service.writes)
    await world.engine.accept(fleet(vanished=(one,)))
    await world.round()
    world.clock.now += 5
    await world.engine.accept(fleet(one))
    world.clock.now += 20
    await world.round()
    assert len(world.service.writes) == writes


async def test_an_app_without_services_is_ready_at_once_and_leaves_at_once() -> None:
    world = World()
    await world.engine.accept(fleet(member("a")))
    assert world.book.records[AppName("a")].conditions["Ready"].status == "True"
    await world.engine.accept(fleet(vanished=(member("a"),)))
    # An only app that vanishes is below the threshold of a hold.
    assert world.book.records[AppName("a")].state is AppState.REMOVED


async def test_a_file_that_is_back_during_a_slow_look_keeps_its_access() -> None:
    """The removal was due when the round began to look, and nobody's wish when it had looked."""
    world = World()
    one, two = member("a", "one"), member("b", "two")
    await world.engine.accept(fleet(one, two))
    await world.round()
    await world.engine.accept(fleet(two, vanished=(one,)))
    world.clock.now += 11
    observe = world.service.observe

    async def slowly(wanted):
        seen = await observe(wanted)
        await world.engine.accept(fleet(one, two))
        return seen

    world.service.observe = slowly  # type: ignore[method-assign]
    await world.round()
    assert world.service.server["one"] == "whole"


async def test_a_report_of_the_former_wish_does_not_end_a_removal() -> None:
    world = World()
    one, two = member("a", "one"), member("b", "two")
    await world.engine.accept(fleet(one, two))
    await world.round()
    observe = world.service.observe

    async def vanishes(wanted):
        seen = await observe(wanted)
        await world.engine.accept(fleet(two, vanished=(one,)))
        return seen

    world.service.observe = vanishes  # type: ignore[method-assign]
    await world.round()
    assert world.book.records[AppName("a")].state is AppState.ACTIVE
    world.service.observe = observe  # type: ignore[method-assign]
    world.clock.now += 11
    await world.round()
    assert world.service.server["one"] == "closed"
    assert world.book.records[AppName("a")].state is AppState.REMOVED


async def test_a_section_under_removal_keeps_its_word_and_its_variables() -> None:
    """Until access is revoked the app has what it had."""
    world = World()
    await world.engine.accept(fleet(member("a", "one", "two")))
    await world.round()
    before = len(world.delivery.calls)
    await world.engine.accept(fleet(member("a")))
    await world.round()
    conditions = world.book.records[AppName("a")].conditions
    assert conditions["BoxesReady"].reason == "RemovalPending"
    assert "access is revoked at " in conditions["BoxesReady"].message
    assert conditions["Ready"].reason == "RemovalPending"
    assert len(world.delivery.calls) == before
    world.clock.now += 11
    await world.round()
    conditions = world.book.records[AppName("a")].conditions
    assert "BoxesReady" not in conditions
    assert conditions["Ready"].status == "True"
    assert len(world.delivery.calls) > before


async def test_an_env_file_that_cannot_be_deleted_keeps_the_removal_open(monkeypatch) -> None:
    world = World()
    one, two = member("a", "one"), member("b", "two")
    await world.engine.accept(fleet(one, two))
    await world.round()

    def refuse(app):
        raise OSError("read-only file system")

    withdraw = world.delivery.withdraw
    monkeypatch.setattr(world.delivery, "withdraw", refuse)
    await world.engine.accept(fleet(two, vanished=(one,)))
    world.clock.now += 11
    await world.round()
    assert world.book.records[AppName("a")].state is AppState.ACTIVE
    monkeypatch.setattr(world.delivery, "withdraw", withdraw)
    await world.round()
    assert world.book.records[AppName("a")].state is AppState.REMOVED
