"""Random fleets, random edits, random meddling: whatever came before, it ends as the files say."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.outcome import Converged
from norn_reconciler.model.records import AppState
from tests.unit.engine.world import World, fleet, member

APPS = ("a", "b", "c", "d", "e", "f", "g", "h")
fleets = st.dictionaries(
    st.sampled_from(APPS), st.sets(st.sampled_from("xyz"), max_size=3), max_size=len(APPS)
)
meddling = st.lists(st.tuples(st.sampled_from(APPS), st.sampled_from("xyz")), max_size=4)


def members(wanted: dict[str, set[str]]) -> dict[str, Member]:
    return {app: member(app, *sorted(f"{app}-{box}" for box in b)) for app, b in wanted.items()}


async def play(steps: list[tuple[dict[str, set[str]], list[tuple[str, str]]]]) -> World:
    world = World()
    # A folder without any file holds all removals; one app that always stays keeps it from that.
    known: dict[str, Member] = {}
    for wanted, meddled in steps:
        now = members({**wanted, "stays": {"s"}})
        known |= now
        gone = tuple(m for app, m in known.items() if app not in now)
        for _ in range(3):
            await world.engine.accept(fleet(*now.values(), vanished=gone))
            if world.engine.hold is not None:
                await world.engine.confirm(world.engine.hold.digest)
            world.clock.now += 11
            await world.engine.settle(sorted(world.book.entries))
        for app, box in meddled:
            if f"{app}-{box}" in world.service.server and app in wanted:
                world.service.server[f"{app}-{box}"] = "bent"
    world.clock.now += 11
    await world.engine.settle(sorted(world.book.entries))
    return world


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(fleets, meddling), min_size=1, max_size=5))
def test_it_ends_as_the_files_say_and_then_rests(steps) -> None:
    async def run() -> None:
        world = await play(steps)
        wanted = {**steps[-1][0], "stays": {"s"}}
        whole = {name for name, state in world.service.server.items() if state == "whole"}
        assert whole == {f"{app}-{box}" for app, boxes in wanted.items() for box in boxes}
        assert "bent" not in world.service.server.values()
        active = {a for a, r in world.book.records.items() if r.state is AppState.ACTIVE}
        assert active == set(wanted)
        writes, rows = len(world.service.writes), len(world.store.changes)
        await world.engine.settle(sorted(world.book.entries))
        assert (len(world.service.writes), len(world.store.changes)) == (writes, rows)
        assert all(isinstance(h.outcome, Converged) for h in map(_heard(world), active) if h)

    asyncio.run(run())


def _heard(world: World):
    return lambda app: world.book.current("box", AppName(app))


@settings(max_examples=30, deadline=None)
@given(fleets, st.randoms(use_true_random=False))
def test_the_order_of_files_is_irrelevant(wanted, random) -> None:
    async def run() -> None:
        one = await play([(wanted, [])])
        shuffled = list(wanted.items())
        random.shuffle(shuffled)
        other = await play([(dict(shuffled), [])])
        assert one.service.server == other.service.server
        assert set(one.service.writes) == set(other.service.writes)

    asyncio.run(run())
