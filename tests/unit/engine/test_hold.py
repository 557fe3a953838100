"""Removals that wait for a person, by what the engine makes of the guard's verdict."""

from __future__ import annotations

import pytest

from norn_reconciler import logs
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.fleet import Folder
from tests.unit.engine.world import World, fleet, member


@pytest.mark.parametrize("folder", [Folder.EMPTY, Folder.MISSING, Folder.UNREADABLE])
async def test_absence_of_the_folder_is_no_intent(folder: Folder) -> None:
    world = World()
    one = member("a", "one")
    await world.engine.accept(fleet(one))
    await world.round()
    await world.engine.accept(fleet(vanished=(one,), folder=folder))
    world.clock.now += 100
    await world.engine.accept(fleet(vanished=(one,), folder=folder))
    await world.round()
    assert world.service.server["one"] == "whole"
    assert world.engine.hold is not None


async def test_many_apps_vanishing_at_once_wait_for_their_digest() -> None:
    world = World()
    members = [member(f"a{i}", f"box{i}") for i in range(10)]
    await world.engine.accept(fleet(*members))
    await world.round()
    gone, here = members[:4], members[4:]
    await world.engine.accept(fleet(*here, vanished=tuple(gone)))
    world.clock.now += 100
    await world.engine.accept(fleet(*here, vanished=tuple(gone)))
    await world.round()
    assert set(world.service.server.values()) == {"whole"}
    assert world.store.events().count(logs.REMOVAL_HELD) == 1
    await world.engine.confirm(world.engine.hold.digest)
    await world.engine.accept(fleet(*here, vanished=tuple(gone)))
    world.clock.now += 11
    await world.engine.accept(fleet(*here, vanished=tuple(gone)))
    await world.round()
    assert sorted(world.service.server.values()).count("closed") == 4


async def test_a_hold_stops_the_removal_of_sections_too() -> None:
    world = World()
    members = [member(f"a{i}", f"box{i}") for i in range(5)]
    await world.engine.accept(fleet(*members))
    await world.round()
    shrunk = member("a4")
    await world.engine.accept(fleet(shrunk, vanished=tuple(members[:4])))
    world.clock.now += 100
    await world.engine.accept(fleet(shrunk, vanished=tuple(members[:4])))
    await world.round()
    assert set(world.service.server.values()) == {"whole"}


async def test_a_hold_leaves_what_was_on_its_way_out_as_it_is() -> None:
    """Neither taken further nor given back, also after a restart."""
    world = World()
    apps = [member(f"a{i}", f"box{i}") for i in range(8)]
    await world.engine.accept(fleet(*apps))
    await world.round()
    await world.engine.accept(fleet(*apps[1:], vanished=(apps[0],)))
    world.service.down = Unavailable("box", "away")
    world.clock.now += 20
    await world.round()
    world.service.down = None
    gone = tuple(apps[:5])
    await world.engine.accept(fleet(*apps[5:], vanished=gone))
    assert world.engine.hold is not None
    await world.round()
    assert set(world.service.server.values()) == {"whole"}
    world.service.server["box0"] = "bent"
    for _ in range(2):
        await world.round()
        assert world.service.server["box0"] == "bent"
        ready = world.book.records[AppName("a0")].conditions["Ready"]
        assert ready.reason == "Removed" and "held" in ready.message
        ready = world.book.records[AppName("a1")].conditions["Ready"]
        assert (ready.status, ready.reason) == ("True", "RemovalHeld")
        world = world.restarted()
        await world.engine.accept(fleet(*apps[5:], vanished=gone))
    assert world.store.events().count(logs.REMOVAL_SCHEDULED) == 1
    await world.engine.accept(fleet(*apps))
    await world.round()
    assert set(world.service.server.values()) == {"whole"} and len(world.service.server) == 8
    assert world.book.records[AppName("a1")].conditions["Ready"].reason == "Converged"


async def test_small_steps_do_not_slip_under_the_threshold() -> None:
    world = World()
    members = [member(f"a{i:02}", f"box{i:02}") for i in range(30)]
    await world.engine.accept(fleet(*members))
    await world.round()
    for gone in range(3, 16, 3):
        world.clock.now += 0.25
        await world.engine.accept(fleet(*members[gone:], vanished=tuple(members[:gone])))
    assert world.engine.hold is not None
    world.clock.now += 100
    await world.round()
    assert list(world.service.server.values()).count("closed") == 0


@pytest.mark.parametrize(("ago", "held"), [(30.0, True), (601.0, False)])
async def test_a_restart_lets_no_more_vanish_than_one_process_would(ago: float, held: bool) -> None:
    """A run of `norn apply` is a process, too."""
    world = World()
    members = [member(f"a{i}", f"box{i}") for i in range(10)]
    await world.engine.accept(fleet(*members))
    await world.round()
    await world.engine.accept(fleet(*members[3:], vanished=tuple(members[:3])))
    assert world.engine.hold is None
    world.clock.now += 11
    await world.round()
    assert list(world.service.server.values()).count("closed") == 3
    world = world.restarted(ago)
    await world.engine.accept(fleet(*members[6:], vanished=tuple(members[3:6])))
    assert (world.engine.hold is not None) is held
    if held:
        assert world.engine.hold.apps == ("a3", "a4", "a5"), "what is gone needs no word any more"
        assert "6 of 10 apps" in world.engine.hold.message


async def test_a_digest_covers_neither_another_time_nor_a_worse_folder() -> None:
    world = World()
    members = [member(f"a{i}", f"box{i}") for i in range(5)]
    await world.engine.accept(fleet(*members))
    await world.round()
    await world.engine.accept(fleet(vanished=tuple(members)))
    await world.engine.confirm(world.engine.hold.digest)
    await world.engine.accept(fleet(*members))
    await world.engine.accept(fleet(vanished=tuple(members), folder=Folder.MISSING))
    world.clock.now += 100
    await world.engine.accept(fleet(vanished=tuple(members), folder=Folder.MISSING))
    await world.round()
    assert set(world.service.server.values()) == {"whole"}


async def test_a_confirmation_outlives_a_restart_within_the_grace() -> None:
    world = World()
    members = [member(f"a{i}", f"box{i}") for i in range(10)]
    gone, here = tuple(members[:4]), members[4:]
    await world.engine.accept(fleet(*members))
    await world.round()
    await world.engine.accept(fleet(*here, vanished=gone))
    await world.engine.confirm(world.engine.hold.digest)
    again = world.restarted()
    await again.engine.accept(fleet(*here, vanished=gone))
    assert again.engine.hold is None
    again.clock.now += 11
    await again.round()
    assert sorted(again.service.server.values()).count("closed") == 4
    await again.engine.accept(fleet(*members))
    await again.engine.accept(fleet(*here, vanished=gone))
    assert again.engine.hold is not None, "it was about that one time"
