"""What one fault may stop: an app's, the endpoint's, one of norn's own."""

from __future__ import annotations

from norn_reconciler.engine.lane import ENDPOINT
from norn_reconciler.engine.operations import Operations
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError, Rejected, Unavailable
from norn_reconciler.model.outcome import Converged, Failed
from norn_reconciler.model.records import Operation, OperationState
from tests.unit.engine.world import World, fleet, member


async def test_one_poisoned_app_leaves_the_others_converged() -> None:
    world = World()
    world.service.poisoned = {AppName("b"): Rejected("box", "no")}
    await world.engine.accept(fleet(member("a", "one"), member("b", "two"), member("c", "three")))
    await world.round()
    assert isinstance(world.outcome("a"), Converged)
    assert isinstance(world.outcome("b"), Failed)
    assert isinstance(world.outcome("c"), Converged)


async def test_an_app_whose_plan_crashes_leaves_the_others_converged(monkeypatch) -> None:
    world = World()
    plan = world.service.plan

    def crash(wanted, observed):
        if wanted.app == "b":
            raise ZeroDivisionError
        return plan(wanted, observed)

    monkeypatch.setattr(world.service, "plan", crash)
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    assert isinstance(world.outcome("a"), Converged)
    assert isinstance(world.outcome("b"), Failed)


async def test_an_app_whose_wish_cannot_be_made_says_so_and_what_waits_for_it_ends() -> None:
    world = World()
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    desired = world.service.desired

    def crash(app, credential):
        if app.name == "b":
            raise ZeroDivisionError
        return desired(app, credential)

    world.service.desired = crash  # type: ignore[method-assign]
    await world.engine.accept(fleet(member("a", "one"), member("b", "two", "three")))
    world.store.operations[1] = Operation(1, "reconcile", AppName("b"))
    await operations.work()
    await world.round()
    await operations.work()
    assert isinstance(world.outcome("a"), Converged)
    assert isinstance(world.outcome("b"), Failed)
    assert world.service.observations[-1] == {"a"}, "nothing to look for"
    assert world.store.operations[1].state is OperationState.FAILED
    assert "ZeroDivisionError" in world.store.operations[1].result
    assert world.book.records[AppName("b")].conditions["BoxesReady"].status == "False"


async def test_what_was_not_asked_says_nothing_of_a_dead_endpoint() -> None:
    world = World()
    world.service.down = Unavailable("box", "connection refused")
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()

    def crash(app, credential):
        raise ZeroDivisionError

    desired, world.service.desired = world.service.desired, crash  # type: ignore[method-assign]
    lane = world.engine.lanes["box"]
    lane._kept.clear()
    await world.round()
    assert isinstance(world.outcome("a"), Failed)
    world.service.desired = desired  # type: ignore[method-assign]
    assert lane._backoff.failing(ENDPOINT), "nobody has spoken to it since"


async def test_of_an_error_that_is_not_norns_only_its_type_is_told() -> None:
    """A driver's text may quote a statement with the password in it."""
    world = World()
    await world.engine.accept(fleet(member("a", "one"), member("b", "two"), member("c", "three")))
    plan = world.service.plan

    def crash(wanted, observed):
        if wanted.app == "a":
            raise ValueError("ALTER ROLE a PASSWORD 'hunter2'")
        if wanted.app == "b":
            raise NornError("what norn itself has to say")
        return plan(wanted, observed)

    async def fails(app, credential, neighbour):
        raise ValueError("hunter2")

    world.service.plan = crash  # type: ignore[method-assign]
    world.service.trespass = fails  # type: ignore[method-assign]
    await world.round()
    shown = {n: r.conditions for n, r in world.book.records.items()}
    assert shown[AppName("a")]["BoxesReady"].message.startswith("internal: ValueError; next try")
    assert "what norn itself has to say" in shown[AppName("b")]["BoxesReady"].message
    assert shown[AppName("c")]["IsolationVerified"].message == "box: internal: ValueError"
    assert "hunter2" not in str(world.store.changes)


async def test_a_dead_endpoint_keeps_one_timer_and_recovers() -> None:
    world = World()
    world.service.down = Unavailable("box", "connection refused")
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    a, b = world.outcome("a"), world.outcome("b")
    assert isinstance(a, Failed) and isinstance(b, Failed)
    assert a.retry_in == b.retry_in
    ready = world.book.records[AppName("a")].conditions
    assert ready["BoxesReady"].status == "Unknown"
    assert "next try at" in ready["BoxesReady"].message
    world.service.down = None
    await world.round()
    assert world.book.records[AppName("a")].conditions["Ready"].status == "True"


async def test_a_fault_that_no_code_expected_ends_neither_lane_nor_daemon() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    observe = world.service.observe

    async def bug(wanted):
        raise ZeroDivisionError

    world.service.observe = bug  # type: ignore[method-assign]
    assert await world.round() == ()
    world.service.observe = observe  # type: ignore[method-assign]
    await world.round()
    assert isinstance(world.outcome("a"), Converged)


async def test_writes_that_fail_back_off_though_looks_succeed() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    waits = []

    async def down(plans, fence):
        raise Unavailable("box", "reset by peer")

    world.service.apply = down  # type: ignore[method-assign]
    for _ in range(6):
        await world.round()
        outcome = world.outcome("a")
        assert isinstance(outcome, Failed)
        waits.append(outcome.retry_in)
        world.clock.now += outcome.retry_in
    assert waits[-1] > 4 * waits[0]
