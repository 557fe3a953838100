"""When isolation is tried, and what its answers do to Ready."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler import logs
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.guard import Limits
from norn_reconciler.engine.probes import AGAIN, LEAST, Probes
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.fleet import Fleet, Member
from norn_reconciler.model.records import Snapshot, SpecRecord
from norn_reconciler.model.secret import LOST
from tests.unit.engine.fakes import Box, Boxes, MemoryDelivery, MemoryStore, OpenFence, Secrets
from tests.unit.engine.world import World, fleet, member

HOUR = 3600.0
A = AppName("a")


def plan(chance: float = 0.5) -> Probes:
    return Probes(HOUR, lambda: chance)


def never(app: AppName) -> bool:
    return False


def always(app: AppName) -> bool:
    return True


def test_what_is_new_or_changed_is_tried_at_once_however_much_it_is() -> None:
    apps = {AppName(f"a{i}"): "one" for i in range(500)}
    probes = plan()
    assert len(probes.due(apps, never, 0.0)) == 500
    for app in apps:
        probes.done(app, "one", True, 0.0)
    assert probes.due(apps, never, 1.0) == []
    changed = {**apps, AppName("a7"): "two"}
    assert probes.due(changed, never, 1.0) == ["a7"]


def test_a_fleet_that_was_verified_before_a_restart_is_not_tried_all_at_once() -> None:
    chances = iter([i / 1000 for i in range(1000)])
    probes = Probes(HOUR, lambda: next(chances))
    apps = {AppName(f"a{i}"): "one" for i in range(1000)}
    assert len(probes.due(apps, always, 0.0)) <= 50
    assert 0 < len(probes.due(apps, always, 600.0)) <= 50


@given(st.integers(1, 2000))
def test_a_round_tries_a_few_and_the_longest_overdue_first(count: int) -> None:
    probes = Probes(HOUR, lambda: 0.0)
    apps = {AppName(f"a{i:04}"): "one" for i in range(count)}
    for number, app in enumerate(apps):
        probes.done(app, "one", True, float(number))
    due = probes.due(apps, never, 10 * HOUR)
    assert due == sorted(apps)[: max(LEAST, count // 20)]


def test_who_is_asked_after_is_tried_though_an_earlier_process_had_verified_it() -> None:
    probes = plan()
    probes.at_once(A)
    assert probes.due({A: "one"}, always, 1.0) == [A]


async def test_what_a_login_showed_is_kept_though_something_else_is_wanted_by_then() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    trespass = world.service.trespass

    async def meanwhile(*arguments):
        entry = world.book.entries[A]
        world.book.entries[A] = replace(entry, removals_from=entry.removals_from + 1)
        return await trespass(*arguments)

    world.service.trespass = meanwhile  # type: ignore[method-assign]
    await world.round()
    world.service.trespass = trespass  # type: ignore[method-assign]
    assert "Ready" not in world.book.records[A].conditions, "it was about something else"
    await world.round()
    assert world.book.records[A].conditions["Ready"].status == "True"
    assert len(world.service.neighbours) == 1, "and was not tried again"


def test_each_neighbour_has_its_turn_and_an_open_one_is_tried_until_it_is_shut() -> None:
    there = [AppName(n) for n in "abcd"]
    probes = plan()
    seen = []
    for _ in range(6):
        chosen = probes.neighbour(A, there)
        probes.tried(A, chosen, False)
        seen.append(chosen)
    assert seen[:3] == seen[3:] and set(seen) == {"b", "c", "d"}
    open_one = probes.neighbour(A, there)
    probes.tried(A, open_one, True)
    assert [probes.neighbour(A, there) for _ in range(3)] == [open_one] * 3
    probes.tried(A, open_one, False)
    assert probes.neighbour(A, there) != open_one
    probes.tried(A, AppName("c"), True)
    assert probes.neighbour(A, [A, AppName("d")]) == "d", "the suspect is gone"
    assert probes.neighbour(A, [A]) is None
    assert probes.neighbour(A, []) is None


def test_a_failure_is_tried_again_soon_and_a_person_may_ask() -> None:
    probes = plan()
    probes.done(A, "one", False, 0.0)
    assert probes.due({A: "one"}, never, AGAIN - 1) == []
    assert probes.due({A: "one"}, never, AGAIN) == [A]
    probes.done(A, "one", True, AGAIN)
    assert probes.due({A: "one"}, never, AGAIN + 1) == []
    probes.at_once(A)
    assert probes.due({A: "one"}, never, AGAIN + 1) == [A]


async def test_an_app_is_ready_only_after_its_isolation_was_tried() -> None:
    world = World()
    world.service.open = "it may read the neighbour's boxes"
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    record = world.book.records[A]
    assert record.conditions["BoxesReady"].status == "True"
    assert record.conditions["IsolationVerified"].reason == "NeighbourOpen"
    assert record.conditions["Ready"].status == "False"
    assert world.delivery.delivered == set(), "nobody gets credentials to an open house"
    assert world.store.events().count(logs.ISOLATION_FAILED) == 2
    assert world.service.neighbours == ["b", "a"] * 2, "once more, before it counts"
    await world.round()
    assert world.store.events().count(logs.ISOLATION_FAILED) == 2, "not tried again yet"
    world.service.open = ""
    world.clock.now += AGAIN
    await world.round()
    assert world.book.records[A].conditions["Ready"].status == "True"
    assert world.store.events().count(logs.ISOLATION_VERIFIED) == 2
    checks = [c.healthy for changes in world.store.changes for c in changes.health_checks]
    assert checks == [False, False, True, True]


async def test_what_a_look_found_open_is_said_of_the_isolation_until_it_is_shut() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.server["one"] = "for all"
    world.clock.now += 1
    await world.round()
    shown = world.book.records[A].conditions["IsolationVerified"]
    assert (shown.status, shown.reason) == ("False", "OpenToAll")
    assert shown.message == "box: one is everybody's"
    assert world.store.events().count(logs.ISOLATION_FAILED) == 1
    tried, written = len(world.service.neighbours), len(world.store.changes)
    world.clock.now += 1
    await world.round()
    assert len(world.service.neighbours) == tried, "no login is needed to know"
    assert len(world.store.changes) == written, "and a second look tells nothing new"
    world.service.server["one"] = "whole"
    world.clock.now += 1
    await world.round()
    assert world.book.records[A].conditions["IsolationVerified"].reason == "Verified"
    assert world.book.records[A].conditions["Ready"].status == "True"


async def test_what_was_opened_while_norn_was_away_is_said_in_the_first_round() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    again = world.restarted()
    again.service.server["one"] = "for all"
    await again.engine.accept(fleet(member("a", "one")))
    await again.round()
    assert again.book.records[A].conditions["IsolationVerified"].reason == "OpenToAll"


async def test_a_new_password_counts_though_the_place_is_open() -> None:
    world = World()
    apply = world.service.apply

    async def opened(plans, fence):
        done = await apply(plans, fence)
        world.service.server["one"] = "for all"
        return done

    world.service.apply = opened  # type: ignore[method-assign]
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert world.book.records[A].conditions["IsolationVerified"].reason == "OpenToAll"
    assert world.book.service("box", A).mark is not None


async def test_what_was_tried_of_a_state_that_did_not_last_does_not_count() -> None:
    world = World()
    apply = world.service.apply

    async def bent_at_once(plans, fence):
        done = await apply(plans, fence)
        world.service.server["one"] = "bent"
        return done

    world.service.apply = bent_at_once
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    assert "IsolationVerified" in world.book.records[AppName("b")].conditions
    checks = [c.app for changes in world.store.changes for c in changes.health_checks]
    assert checks == ["b"], "a is not as it should be: its walls will be tried when it is"
    world.service.apply = apply
    world.clock.now += AGAIN
    await world.round()
    assert world.book.records[A].conditions["Ready"].status == "True"
    assert world.service.neighbours.count("b") == 2


async def test_when_nobody_can_tell_the_app_is_not_ready_and_nothing_is_recorded() -> None:
    world = World()
    world.service.silent = Unavailable("box", "no room for another login")
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    record = world.book.records[A]
    assert record.conditions["IsolationVerified"].status == "Unknown"
    assert record.conditions["Ready"].status != "True"
    assert not any(changes.health_checks for changes in world.store.changes)
    assert world.engine.queues["box"].waiting()[A] <= AGAIN


async def test_a_password_that_somebody_changed_is_set_again_and_told() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.proof = False
    world.clock.now += 2 * HOUR
    await world.round()
    assert world.store.events().count(logs.DRIFT_DETECTED) == 1
    mark = world.book.service("box", A).mark
    assert (mark.fingerprint, mark.generation) == (LOST, 1), "the next round sets it"
    assert world.engine.queues["box"].waiting()[A] <= 0


async def test_what_an_earlier_process_verified_stands_until_its_turn_comes() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    again = world.restarted()
    tried, written = len(world.service.neighbours), len(world.store.changes)
    await again.engine.accept(fleet(member("a", "one")))
    await again.round()
    assert len(world.service.neighbours) == tried
    assert again.book.records[A].conditions["Ready"].status == "True"
    assert len(world.store.changes) == written


class Two:
    """One app on two services, in a process that begins with what norn_db has."""

    def __init__(self, bag: Boxes, box: Boxes, kept: Snapshot | None = None) -> None:
        kinds = {"bag": "BagsReady", "box": "BoxesReady"}
        self.bag, self.box = bag, box
        self.book = Book(MemoryStore(), Secrets(), MemoryDelivery(), kinds)
        self.book.load(kept or Snapshot(), 1)
        services = {"bag": bag, "box": box}
        self.engine = Engine(services, self.book, OpenFence(), Limits(3, 20.0), 10.0)  # type: ignore[arg-type]

    def restarted(self, *without: str) -> Two:
        book, keys = self.book, {"bag", "box"} - {*without}
        inventory = {key: {A: book.owned(key, A)} for key in keys}
        rows = {key: {A: book.service(key, A)} for key in keys}
        return Two(self.bag, self.box, Snapshot(book.records, inventory, rows))

    async def probe(self, key: str) -> str:
        """Ready, after isolation was tried on one service alone."""
        self.engine.lanes[key].probes.at_once(A)
        await self.engine._round(key, [A])
        return self.book.records[A].conditions["Ready"].status


def on_both() -> Fleet:
    app = App(A, {"bag": Box(("bag1",)), "box": Box(("a1",))})
    return fleet(Member(app, SpecRecord("a.yaml", "d", 1, 1, "a")))


@pytest.mark.parametrize("fault", ["open", "silent"])
async def test_after_a_restart_one_failure_counts_until_it_has_passed_and_no_longer(fault) -> None:
    """What an earlier process found on the other service stands until its turn comes."""
    first = Two(Boxes(key="bag"), Boxes())
    await first.engine.accept(on_both())
    await first.engine.settle([A])
    two = first.restarted()
    await two.engine.accept(on_both())
    await two.engine._round("box", [A])
    well = getattr(two.bag, fault)
    setattr(two.bag, fault, "its neighbour's bags" if fault == "open" else Unavailable("bag", "no"))
    assert await two.probe("bag") != "True"
    setattr(two.bag, fault, well)
    assert await two.probe("bag") == "True"
    assert len(two.box.neighbours) == 1, "not tried again yet"


async def test_a_service_that_was_not_in_the_spec_then_is_tried_before_it_counts() -> None:
    first = Two(Boxes(key="bag"), Boxes())
    await first.engine.accept(on_both())
    await first.engine.settle([A])
    two = first.restarted("box")  # as if there had been no section
    await two.engine.accept(on_both())
    two.bag.open = "its neighbour's bags"
    assert await two.probe("bag") == "False"
    two.bag.open = ""
    assert await two.probe("bag") == "False"


async def test_a_section_that_was_taken_away_since_is_tried_before_it_counts() -> None:
    first = Two(Boxes(key="bag"), Boxes())
    await first.engine.accept(on_both())
    await first.engine.settle([A])
    two = first.restarted()
    app = App(A, {"bag": Box(("bag1",))})
    await two.engine.accept(fleet(Member(app, SpecRecord("a.yaml", "d", 1, 1, "less"))))
    await two.probe("bag")
    await two.engine.accept(on_both())
    two.bag.open = "its neighbour's bags"
    await two.probe("bag")
    two.bag.open = ""
    await two.probe("bag")
    assert two.book.records[A].conditions["IsolationVerified"].status == "False"
    await two.engine._round("box", [A])
    assert two.book.records[A].conditions["IsolationVerified"].status == "True"
