"""What is due to go: only what may, and not too much at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.engine.backoff import Backoff
from norn_reconciler.engine.guard import Limits
from norn_reconciler.engine.teardown import Due, Reaper, Reaping, due, judge
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.records import AppState, Changes, OperationState, ServiceRecord
from tests.unit.engine.world import World, fleet, member

A = AppName("a")
NOW = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = {"box": frozenset({"box"})}
LIMITS = Limits(3, 20.0)


async def removed(policy: Deletion, *rows: Held) -> World:
    """A removed app with these rows, beside one that is there."""
    world = World()
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    await world.engine.accept(fleet(member("b", "two"), vanished=(member("a", "one"),)))
    world.clock.now += 11
    await world.round()
    book = world.book
    assert book.records[A].state is AppState.REMOVED
    async with book.turn:
        await book.write(
            Changes(
                inventory={("box", A): trash.noted({}, {row.key: row for row in rows}, policy)},
                services={("box", A): replace(ServiceRecord(), deletion=policy)},
            )
        )
    return world


def row(name: str = "one", **more: object) -> Held:
    given = {"state": HeldState.RETAINED, **more}
    return Held("box", name, **given)  # type: ignore[arg-type]


def thrown(days: float) -> Held:
    at = NOW - days * DAY
    return row(trash.named("one", at), settings=trash.settings("one", at))


@pytest.mark.parametrize(
    ("policy", "held", "wanted"),
    [
        (Deletion.RETAIN, row(), None),
        (Deletion.TRASH, row(), "trash"),
        (Deletion.DELETE, row(), "destroy"),
        (Deletion.DELETE, row(origin=Origin.ADOPTED), None),
        (Deletion.DELETE, row(state=HeldState.OWNED), None),
        (Deletion.DELETE, row(state=HeldState.CLAIMED), None),
        (Deletion.TRASH, thrown(13), None),
        (Deletion.TRASH, thrown(15), "destroy"),
        (Deletion.RETAIN, thrown(15), "destroy"),
        (Deletion.RETAIN, row(settings={trash.BESIDE: "one"}), "destroy"),
        (Deletion.RETAIN, row(settings={trash.BESIDE: "one"}, state=HeldState.CLAIMED), None),
    ],
)
async def test_what_is_due_of_a_removed_app(
    policy: Deletion, held: Held, wanted: str | None
) -> None:
    world = await removed(policy, held)
    found = due(world.book, KINDS, NOW, 14 * DAY)
    places = {w: [("box", "box", held.name)] for w in ([wanted] if wanted else [])}
    assert [(d.trash, d.destroy) for d in found] == (
        [(tuple(places.get("trash", ())), tuple(places.get("destroy", ())))] if wanted else []
    )


async def test_nothing_is_due_of_an_app_that_is_back_paused_or_worked_at() -> None:
    world = await removed(Deletion.DELETE, row())
    book = world.book
    book.busy.add(A)
    assert due(book, KINDS, NOW, DAY) == []
    book.busy.clear()
    record = book.records[A]
    book.records[A] = replace(record, paused=True)
    assert due(book, KINDS, NOW, DAY) == []
    book.records[A] = record
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    assert due(book, KINDS, NOW, DAY) == [], "its row says retained until a round has looked"
    await world.round()
    assert due(book, KINDS, NOW, DAY) == []


async def test_users_that_are_left_of_a_removed_app_go_once_it_has_no_data() -> None:
    user = Held("user", "a", HeldState.RETAINED)
    world = await removed(Deletion.DELETE, user)
    assert due(world.book, KINDS, NOW, DAY) == [Due(A)]
    world = await removed(Deletion.DELETE, replace(user, origin=Origin.ADOPTED))
    assert due(world.book, KINDS, NOW, DAY) == []
    world = await removed(Deletion.RETAIN, user)
    assert due(world.book, KINDS, NOW, DAY) == []


async def test_it_is_asked_for_once_and_again_a_while_after_it_failed() -> None:
    world = await removed(Deletion.DELETE, row())
    reaper = Reaper(world.book, world.store, Reaping(KINDS, 1.0, LIMITS), Backoff(lambda: 0.5))
    assert await reaper.look() == 1
    assert await reaper.look() == 0, "it is pending"
    (number,) = world.store.operations
    failed = replace(world.store.operations[number], state=OperationState.FAILED)
    world.store.operations[number] = failed
    assert await reaper.look() == 0, "not at once"
    reaper._not_before.clear()
    assert await reaper.look() == 1


dues = st.lists(
    st.builds(
        lambda n, k: Due(AppName(f"a{n}"), (), tuple(("box", "box", f"b{i}") for i in range(k))),
        st.integers(0, 50),
        st.integers(0, 3),
    ),
    unique_by=lambda d: d.app,
)


@given(dues, st.integers(0, 10), st.integers(1, 200))
def test_more_than_the_budget_waits_for_exactly_that_digest(
    found: list[Due], before: int, total: int
) -> None:
    count = before + sum(bool(d.destroy) for d in found)
    hold = judge(found, (), before, total, LIMITS)
    over = count > 3 and 100 * count / total > 20
    assert (hold is not None) == (over and any(d.destroy for d in found))
    if hold is None:
        return
    assert judge(found, {hold.digest}, before, total, LIMITS) is None
    more = [*found, Due(AppName("one-more"), (), (("box", "box", "x"),))]
    other = judge(more, {hold.digest}, before, total, LIMITS)
    if other is not None:
        assert other.digest != hold.digest


async def test_what_was_asked_for_and_is_not_done_yet_counts_as_gone() -> None:
    world = await removed(Deletion.DELETE, row())
    reaping = Reaping(KINDS, 1.0, Limits(1, 20.0))
    under_way = Due(AppName("c"), (), (("box", "box", "three"),)).operation
    await world.store.request(under_way)
    reaper = Reaper(world.book, world.store, reaping, Backoff(lambda: 0.5))
    assert await reaper.look() == 0, "one more is one too many, however long the first one takes"
    (number,) = world.store.operations
    words = [c.doomed for c in world.store.changes if c.doomed]
    assert "2 of 2" in words[-1]
    del world.store.operations[number]
    assert await reaper.look() == 1


async def test_a_digest_is_of_these_very_objects_and_policies() -> None:
    def marked(server_id: str, policy: Deletion = Deletion.DELETE) -> Held:
        at = NOW - 20 * DAY
        more = {} if policy is Deletion.DELETE else trash.settings("one", at)
        return row(server_id=server_id, settings=more)

    limits, seen = Limits(0, 0.0), set()
    for policy, id in ((Deletion.DELETE, "1"), (Deletion.DELETE, "2"), (Deletion.TRASH, "2")):
        world = await removed(policy, marked(id, policy))
        hold = judge(due(world.book, KINDS, NOW, 14 * DAY), seen, 0, 1, limits)
        assert hold is not None, "another database of that name, and another policy"
        seen.add(hold.digest)
    again = due(world.book, KINDS, NOW, 14 * DAY)
    assert judge(again, seen, 0, 1, limits) is None


amounts = st.tuples(st.integers(0, 8), st.integers(1, 60), st.integers(0, 8), st.floats(0, 100))


@given(st.lists(st.integers(0, 9), max_size=12), amounts)
def test_an_hour_never_takes_more_than_the_budget_without_a_person(
    steps: list[int], given_: tuple[int, int, int, float]
) -> None:
    """However many come at a time: what goes by itself stays within the number or the share."""
    before, total, most, percent = given_
    gone, limits = before, Limits(most, percent)
    for number, size in enumerate(steps):
        found = [Due(AppName(f"s{number}-{i}"), (), (("box", "box", "one"),)) for i in range(size)]
        if judge(found, (), gone, total, limits) is None:
            gone += size
    assert gone in {before} or gone <= most or 100.0 * gone / total <= percent
