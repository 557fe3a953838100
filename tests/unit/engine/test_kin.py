"""Apps that read what others share: what is done for the one is what the other waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.outcome import Converged, Failed, RequeueAfter
from norn_reconciler.model.plan import Plan, Problem, Severity
from tests.unit.engine.fakes import Box, Boxes
from tests.unit.engine.world import World, fleet, member

A, B, C = AppName("a"), AppName("b"), AppName("c")


def owner(app: str, box: str, *readers: str) -> Member:
    made = member(app, box)
    return replace(made, app=App(made.app.name, {"box": Box((box,), readers)}))


@dataclass
class Waiting(Boxes):
    """b is warned while a's box is not there."""

    def plan(self, wanted, observed):
        found = super().plan(wanted, observed)
        if wanted.app != "b" or "one" in observed:
            return found
        waits = Problem(Severity.WARNING, "ReadPending", "it is not there")
        return Plan(found.actions, (*found.problems, waits))


async def world_of(*members: Member) -> World:
    world = World(service=Waiting())
    await world.engine.accept(fleet(*members))
    world.engine.queues["box"].take_due()
    return world


async def test_kin_are_those_who_share_and_those_who_read() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"), member("c", "three"))
    assert world.book.kin("box", {A}) == {B}
    assert world.book.kin("box", {B}) == {A}
    assert world.book.kin("box", {C}) == set()
    assert world.book.kin("other", {A}) == set()


async def test_whoever_waited_is_looked_at_at_once() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"), member("c", "three"))
    await world.round("b", "c")
    assert isinstance(world.outcome("b"), Converged)
    assert world.outcome("b").warnings
    assert world.engine.queues["box"].take_due() == ("a",)
    await world.round("a")
    assert world.engine.queues["box"].take_due() == ("b",)
    tried = len(world.service.neighbours)
    await world.round("b")
    assert not world.outcome("b").warnings
    assert len(world.service.neighbours) == tried + 1, "its place is proven again"
    assert world.engine.queues["box"].take_due() == (), "nobody did anything: it ends here"


async def test_whoever_waited_is_looked_at_when_the_owner_comes_to_rest_in_a_later_round() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"))
    await world.round("b")
    world.engine.queues["box"].take_due()
    world.service.proof = False
    await world.round("a")
    assert isinstance(world.outcome("a"), Failed)
    assert world.engine.queues["box"].take_due() == (), "not at rest yet"
    world.service.proof = True
    await world.round("a")
    assert world.outcome("a") == Converged()
    assert world.engine.queues["box"].take_due() == ("b",)
    world.engine.queues["box"].drop([A, B])
    await world.round("a")
    assert world.engine.queues["box"].take_due() == (), "once"


async def test_whoever_waited_is_looked_at_though_nobody_knows_what_was_done() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"))
    await world.round("b")
    apply = world.service.apply

    async def and_then_away(plans, fence):
        await apply(plans, fence)
        raise Unavailable("box", "reset by peer")

    world.service.apply = and_then_away  # type: ignore[method-assign]
    await world.round("a")
    world.service.apply = apply  # type: ignore[method-assign]
    world.engine.queues["box"].drop([A, B])
    await world.round("a")
    assert world.engine.queues["box"].take_due() == ("b",)


async def test_whoever_waited_does_not_wait_for_a_removal_of_the_owner() -> None:
    """What it waits for is there; the rest waits for its date, or for a person."""
    world = await world_of(owner("a", "old"), member("b", "two"))
    await world.round()
    changed = owner("a", "one", "b")
    await world.engine.accept(fleet(changed, member("b", "two")))
    world.engine.queues["box"].take_due()
    await world.round("a")
    outcome = world.outcome("a")
    assert isinstance(outcome, RequeueAfter) and outcome.reason == "RemovalPending"
    assert world.engine.queues["box"].take_due() == ("b",)


async def test_in_one_batch_it_is_seen_in_the_same_requests() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"))
    await world.round("b")
    world.service.observations.clear()
    await world.round("a", "b")
    assert len(world.service.observations) == 2, "once before and once after"
    assert not world.outcome("b").warnings


async def test_two_that_fail_do_not_drive_each_other_on() -> None:
    world = await world_of(owner("a", "one", "b"), owner("b", "two", "a"))
    world.service.proof = False
    await world.round("a", "b")
    assert isinstance(world.outcome("a"), Failed)
    waits = world.engine.queues["box"].waiting()
    assert set(waits) == {A, B}
    assert min(waits.values()) > 0.2, "each keeps its own backoff"


async def test_one_run_brings_both_to_rest() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"))
    await world.engine.settle([A, B])
    assert world.outcome("a") == world.outcome("b") == Converged()


async def test_one_run_for_one_app_leaves_the_others_alone() -> None:
    world = await world_of(owner("a", "one", "b"), member("b", "two"))
    await world.engine.settle([B])
    assert world.service.server == {"two": "whole"}
