"""(a) The daemon, killed (SIGKILL) at every write while an app is made, removed or repaired: the
next one ends converged, without a Conflict, nothing lost or left over, and no other app notices."""

from __future__ import annotations

from tests.acceptance.harness import Norn, until
from tests.acceptance.kill_stories import DRIFT_LOST, SESSION_LIVES, Creation, Removal, Repair
from tests.acceptance.kill_world import World, opened
from tests.acceptance.killer import AtBoundaries, Killer, Story
from tests.acceptance.services import Services

# Who passes boundaries: what is sent to the services, and what the lanes write in norn_db.
LANES = {f"{kind}{s}" for kind in ("", "lane-") for s in ("postgres", "kv", "events")}


def killed_everywhere(world: World, story: Story, reference: str) -> list[str]:
    """The boundaries at which a daemon died."""
    killer = Killer(world, story, reference, AtBoundaries(world))
    try:
        killer.everywhere()
    finally:
        print(killer.table())
    assert SESSION_LIVES not in killer.table()
    assert DRIFT_LOST not in killer.table()
    # What came but once in the lives of others comes in each.
    assert [n for n in killer.seen if n.endswith(" 1") and n not in killer.died] == []
    return killer.died


def test_killed_at_every_write_of_a_creation(norn: Norn, services: Services) -> None:
    with opened(norn, services, "stays") as world:
        died = killed_everywhere(world, Creation(), world.facts(world.apps[1]))
    assert len(died) > 20
    assert {n.partition(":")[0] for n in died} == LANES | {"specs", "delivery"}


def test_killed_at_every_write_of_a_removal(norn: Norn, services: Services) -> None:
    """A first one goes undisturbed: it shows what a removed app leaves."""
    with opened(norn, services, "stays", *(f"goes{n:02}" for n in range(26))) as world:
        story = Removal()
        for app in world.apps[1:]:
            world.delivered(app)
        first = story.next(world)
        story.happen(world, first)
        until(lambda: story.done(world, first), told=world.norn.story)
        died = killed_everywhere(world, story, world.facts(first))
    assert len(died) > 15
    assert {n.partition(":")[0] for n in died} == LANES | {"specs", "delivery"}


def test_killed_at_every_write_of_a_repair(norn: Norn, services: Services) -> None:
    with opened(norn, services, "drifts", "stays") as world:
        died = killed_everywhere(world, Repair(), world.facts(world.apps[1]))
    assert len(died) > 10
    assert {n.partition(":")[0] for n in died} == LANES | {"operations"}
