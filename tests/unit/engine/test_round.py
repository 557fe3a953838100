"""The round: what is written, in which order, and what one fault may stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from norn_reconciler import logs
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.guard import Limits, loss_digest
from norn_reconciler.engine.lane import ENDPOINT
from norn_reconciler.engine.operations import Operations, adoption
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import (
    Denied,
    LeaseLost,
    NornError,
    Rejected,
    StoreUnavailable,
    Unavailable,
)
from norn_reconciler.model.fleet import Fleet, Folder, Member, Refusal
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.outcome import Blocked, Converged, Failed, RequeueAfter
from norn_reconciler.model.plan import Plan, Problem, Severity
from norn_reconciler.model.records import (
    AppState,
    Changes,
    Operation,
    OperationState,
    ServiceRecord,
    Snapshot,
    SpecRecord,
)
from norn_reconciler.model.secret import DUE, CredentialMark
from tests.unit.engine.fakes import (
    Box,
    Boxes,
    Make,
    MemoryDelivery,
    MemoryStore,
    OpenFence,
    Secrets,
)

OTHER = CredentialMark("e" * 8, 7)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fence:
    lost: bool = False

    def check(self) -> None:
        if self.lost:
            raise LeaseLost("the lease ran out")


@dataclass
class World:
    service: Boxes = field(default_factory=Boxes)
    store: MemoryStore = field(default_factory=MemoryStore)
    delivery: MemoryDelivery = field(default_factory=MemoryDelivery)
    clock: Clock = field(default_factory=Clock)
    fence: Fence = field(default_factory=Fence)
    kept: Snapshot = field(default_factory=Snapshot)

    def __post_init__(self) -> None:
        self.book = Book(self.store, Secrets(), self.delivery, {"box": "BoxesReady"}, self.clock)
        self.book.load(self.kept, 1)
        self.engine = Engine(
            {"box": self.service},  # type: ignore[dict-item]
            self.book,
            self.fence,
            Limits(3, 20.0),
            10.0,
            self.clock,
            held=self.kept.held,
            refused=self.kept.refused,
            removed=self.kept.removed,
        )

    def restarted(self, ago: float = 0.0) -> World:
        """Another process over the same service, store and delivery. ago: seconds since the last
        removals."""
        book = self.book
        names = sorted(book.records)
        inventory = {"box": {app: book.owned("box", app) for app in names}}
        services = {"box": {app: book.service("box", app) for app in names}}
        held = [c.held for c in self.store.changes if c.held is not None]
        refused = [c.refused for c in self.store.changes if c.refused is not None]
        removed = {a: ago for a, r in book.records.items() if r.state is AppState.REMOVED}
        kept = Snapshot(
            book.records, inventory, services, None, ["", *held][-1], [(), *refused][-1], removed
        )
        return World(self.service, self.store, self.delivery, self.clock, self.fence, kept)

    def round(self, *apps: str):
        return self.engine._round("box", [AppName(a) for a in apps] or sorted(self.book.entries))

    def outcome(self, app: str):
        return self.book.heard["box", AppName(app)].outcome


def member(app: str, *boxes: str, **more) -> Member:
    name = AppName(app)
    canonical = f"{app}:{','.join(boxes)}"
    sections = {"box": Box(boxes)} if boxes else {}
    return Member(App(name, sections), SpecRecord(f"{app}.yaml", "d", 1, 1, canonical), **more)


def fleet(*members: Member, vanished: tuple[Member, ...] = (), folder: Folder = Folder.OK) -> Fleet:
    return Fleet({m.app.name: m for m in members}, {m.app.name: m for m in vanished}, folder)


async def test_a_new_app_converges_and_a_second_round_writes_nothing() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert world.service.server == {"one": "whole"}
    assert isinstance(world.outcome("a"), Converged)
    record = world.book.records[AppName("a")]
    assert (record.generation, record.observed_generation) == (1, 1)
    assert record.conditions["Ready"].status == "True"
    assert world.delivery.delivered == {"a"}
    writes, rows = len(world.service.writes), len(world.store.changes)
    await world.round()
    assert (len(world.service.writes), len(world.store.changes)) == (writes, rows)


async def test_the_claim_is_written_before_the_object() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    world.store.away = True
    await world.round()
    assert world.service.server == {}, "made without a claim"
    world.store.away = False
    await world.round("a")
    assert world.store.claims == ["a:one"]
    assert world.service.server == {"one": "whole"}


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


async def test_drift_is_repaired_and_recorded_with_expected_and_found() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert logs.DRIFT_DETECTED not in world.store.events()
    world.service.server["one"] = "bent"
    await world.round()
    assert world.service.server == {"one": "whole"}
    drift = [e for e in world.store.found if e.event == logs.DRIFT_DETECTED]
    assert [(e.fields["expected"], e.fields["found"]) for e in drift] == [("whole", "bent")]


async def test_drift_is_on_record_before_it_is_repaired_and_told_once_however_often_tried() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.server["one"] = "bent"
    world.service.poisoned = {"a": Rejected("box", "not now")}
    for _ in range(3):
        await world.round()
    assert world.store.events().count(logs.DRIFT_DETECTED) == 1
    world.service.poisoned = {}
    await world.round()
    assert world.service.server["one"] == "whole"
    world.service.server["one"] = "bent"
    await world.round()
    assert world.store.events().count(logs.DRIFT_DETECTED) == 2, "somebody did it again"


async def test_no_drift_is_repaired_that_could_not_be_recorded() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.server["one"] = "bent"
    world.store.away = True
    assert await world.round() == ()
    assert world.service.server == {"one": "bent"}
    world.store.away = False
    await world.round()
    assert world.service.server == {"one": "whole"}
    assert world.store.events().count(logs.DRIFT_DETECTED) == 1


async def test_lost_data_blocks_until_its_digest_is_confirmed() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    del world.service.server["one"]
    await world.round()
    blocked = world.outcome("a")
    assert isinstance(blocked, Blocked)
    assert world.service.server == {}
    digest = blocked.problem.remedy.split("norn confirm ")[1].split()[0]
    with pytest.raises(ValueError, match="nothing waits"):
        await world.engine.confirm("0" * 12)
    await world.engine.confirm(digest)
    await world.round()
    assert world.service.server == {"one": "whole"}


async def test_a_login_that_fails_is_never_ready_and_its_mark_is_not_recorded() -> None:
    world = World()
    world.service.proof = False
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert isinstance(world.outcome("a"), Failed)
    assert world.book.service("box", AppName("a")).mark is None
    assert world.delivery.delivered == set()


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


async def test_without_the_lease_nothing_is_written_and_the_app_says_so() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    world.fence.lost = True
    await world.round()
    assert world.service.server == {}
    outcome = world.outcome("a")
    assert isinstance(outcome, RequeueAfter) and outcome.reason == "NotLeader"


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


async def test_an_app_without_services_is_ready_at_once_and_leaves_at_once() -> None:
    world = World()
    await world.engine.accept(fleet(member("a")))
    assert world.book.records[AppName("a")].conditions["Ready"].status == "True"
    await world.engine.accept(fleet(vanished=(member("a"),)))
    # An only app that vanishes is below the threshold of a hold.
    assert world.book.records[AppName("a")].state is AppState.REMOVED


async def test_generation_moves_with_the_spec_and_one_rollout_is_one_deployment() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    await world.engine.accept(fleet(member("a", "one", "two")))
    await world.round()
    assert world.book.records[AppName("a")].generation == 2
    deployments = {d.id: d for c in world.store.changes for d in c.deployments}
    assert [d.status for d in deployments.values()] == ["deployed", "deployed"]


async def test_pause_reconcile_and_forget_by_operation() -> None:
    world = World()
    operations = Operations(world.engine, world.store, world.clock)
    one = member("a", "one")
    await world.engine.accept(fleet(one, member("b", "two")))
    await world.round()

    async def ask(kind: str, app: str = "a") -> Operation:
        number = len(world.store.operations) + 1
        world.store.operations[number] = Operation(number, kind, AppName(app))
        await operations.work()
        return world.store.operations[number]

    assert (await ask("pause")).state is OperationState.DONE
    world.service.server["one"] = "bent"
    await world.round()
    assert world.service.server["one"] == "bent", "paused, and repaired all the same"
    assert (await ask("resume")).state is OperationState.DONE
    asked = await ask("reconcile")
    assert asked.state is OperationState.RUNNING
    await world.round()
    await operations.work()
    assert world.store.operations[asked.id].state is OperationState.DONE
    assert world.service.server["one"] == "whole"
    assert (await ask("forget")).state is OperationState.FAILED
    assert (await ask("reconcile", "nobody")).state is OperationState.FAILED


class Locks(Boxes):
    """Boxes with a password each, as far as planning goes."""

    def plan(self, wanted, observed):
        found = super().plan(wanted, observed)
        if wanted.applied is not None and wanted.applied.fingerprint == DUE:
            return Plan((*found.actions, *(Make("box", n) for n in wanted.desired)))
        return found


async def test_a_rotation_runs_until_the_new_password_is_delivered() -> None:
    world, a = World(Locks()), AppName("a")
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.store.operations[1] = Operation(1, "rotate", a)
    await operations.work()
    await operations.work()
    due = world.book.service("box", a).mark
    assert (due.fingerprint, due.generation) == (DUE, 2)
    assert world.store.operations[1].state is OperationState.RUNNING
    later = Operations(world.engine, world.store, world.clock)  # the process was ended there
    await later.work()
    assert world.book.service("box", a).mark == due, "one rotation is one generation"
    world.service.proof = False
    await world.round()
    await later.work()
    assert world.store.operations[1].state is OperationState.FAILED
    assert "wrong password" in world.store.operations[1].result
    world.service.proof = True
    world.store.operations[2] = Operation(2, "rotate", a)
    await later.work()
    await world.round()
    await later.work()
    assert world.store.operations[2].state is OperationState.DONE
    assert "delivered" in world.store.operations[2].result
    assert world.book.service("box", a).mark.fingerprint != DUE


@pytest.mark.parametrize("during", ["observe", "apply", "prove", "trespass", "report"])
async def test_a_rotation_that_begins_during_a_round_is_not_taken_for_done(during: str) -> None:
    """The round sets and proves the password that it began with."""
    world, a = World(Locks()), AppName("a")
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    await world.engine.accept(fleet(member("a", "one", "two")))
    world.store.operations[1] = Operation(1, "rotate", a)
    used: list[int] = []
    prove, trespass = world.service.prove, world.service.trespass

    async def proves(app, credential):
        used.append(credential.mark.generation)
        return await prove(app, credential)

    async def trespasses(app, credential, neighbour):
        used.append(credential.mark.generation)
        return await trespass(app, credential, neighbour)

    world.service.prove = proves  # type: ignore[method-assign]
    world.service.trespass = trespasses  # type: ignore[method-assign]
    where = world.book if during == "report" else world.service
    step = getattr(where, during)

    async def meanwhile(*arguments):
        await operations.work()
        return await step(*arguments)

    setattr(where, during, meanwhile)
    await world.round()
    mark = world.book.service("box", a).mark
    assert (mark.fingerprint, mark.generation) == (DUE, 2), "no server has it yet"
    assert set(used) == {1}
    await world.round()
    mark = world.book.service("box", a).mark
    assert (mark.fingerprint, mark.generation) == ("f" * 8, 2)
    await operations.work()
    assert world.store.operations[1].state is OperationState.DONE


async def test_what_was_adopted_is_counted_in_words() -> None:
    world, a = World(), AppName("a")
    world.service.server["one"] = "whole"
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    found = await adoption(a, {"box": world.service}, world.book)
    world.store.operations[1] = Operation(1, "adopt", a, digest=found.digest)
    await Operations(world.engine, world.store, world.clock).work()
    assert world.store.operations[1].result.startswith("1 object of a adopted, ")


async def test_apps_are_written_in_chunks_and_all_converge() -> None:
    world = World()
    await world.engine.accept(fleet(*(member(f"a{i:03}", f"box{i:03}") for i in range(250))))
    await world.engine.settle(sorted(world.book.entries))
    assert len(world.service.server) == 250
    assert all(isinstance(o, Converged) for o in (h.outcome for h in world.book.heard.values()))


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


async def test_a_generation_is_not_overwritten_by_a_report_in_flight() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    observe = world.service.observe

    async def moves(wanted):
        seen = await observe(wanted)
        world.service.observe = observe  # type: ignore[method-assign]
        await world.engine.accept(fleet(member("a", "one", "two")))
        return seen

    world.service.observe = moves  # type: ignore[method-assign]
    await world.round()
    record = world.book.records[AppName("a")]
    assert (record.generation, record.observed_generation) == (2, 0)
    await world.round()
    assert world.book.records[AppName("a")].observed_generation == 2


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


async def test_what_can_not_be_removed_can_be_forgotten() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one"), member("b", "two")))
    await world.round()
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("b", "two"), vanished=(member("a", "one"),)))
    world.service.poisoned = {"a": Denied("box", "not yours", remedy="GRANT it")}
    forget = Operation(1, "forget", AppName("a"))
    world.store.operations[1] = forget
    await operations.work()
    assert world.store.operations[1].state is OperationState.FAILED, "the grace is not over"
    world.clock.now += 20
    await world.round()
    ready = world.book.records[AppName("a")].conditions["Ready"]
    assert ready.reason == "Removed" and "GRANT it" in ready.message
    world.store.operations[2] = replace(forget, id=2)
    await operations.work()
    assert world.store.operations[2].state is OperationState.DONE
    assert "may still be open: box box one" in world.store.operations[2].result
    assert world.delivery.delivered == {"b"}
    assert "a" not in world.book.records
    assert world.service.forgotten == ["a"]


@pytest.mark.parametrize("kind", ["forget", "adopt", "confirm"])
async def test_what_was_done_is_answered_so_though_norn_db_took_the_answer_late(kind: str) -> None:
    """Done a second time it would be: no such app, nothing to adopt, nothing to confirm."""
    world, a, b = World(), AppName("a"), member("b", "two")
    operations = Operations(world.engine, world.store, world.clock)
    if kind == "adopt":
        world.service.server["one"] = "whole"
    await world.engine.accept(fleet(member("a", "one"), b))
    await world.round()
    digest = None
    if kind == "adopt":
        digest = (await adoption(a, {"box": world.service}, world.book)).digest
    elif kind == "forget":
        await world.engine.accept(fleet(b, vanished=(member("a", "one"),)))
        world.clock.now += 20
        await world.round()
    else:
        del world.service.server["one"]
        await world.round()
        digest = world.outcome("a").problem.remedy.split("norn confirm ")[1].split()[0]
    asked = Operation(1, kind, None if kind == "confirm" else a, digest=digest)
    world.store.operations[1] = asked
    update = world.store.update_operation

    async def away(epoch, operation):
        raise StoreUnavailable("norn_db does not answer")

    world.store.update_operation = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await operations.work()
    world.store.update_operation = update  # type: ignore[method-assign]
    rows = len(world.store.changes)
    assert await operations.work() == (kind == "confirm")
    ended = world.store.operations[1]
    assert ended.state is OperationState.DONE
    assert {"forget": "is forgotten", "adopt": "adopted", "confirm": "given up"}[
        kind
    ] in ended.result
    assert len(world.store.changes) == rows, "done once"


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


async def test_a_rejected_file_is_shown_on_its_app_and_told_once() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    words = "a.yaml:3:1: no such thing [x]"
    refused = (Refusal("new.yaml:1:1: no app [y]"), Refusal(words, "a"))
    broken = replace(fleet(member("a", "one", rejected=words)), refused=refused)
    for _ in range(2):
        await world.engine.accept(broken)
        await world.round()
    shown = world.book.records[AppName("a")].conditions
    assert shown["SpecAccepted"].status == "False" and words in shown["SpecAccepted"].message
    assert shown["Ready"].status == "True", "the last good version is in force"
    told = [(e.app, e.message) for c in world.store.changes for e in c.events
            if e.event == logs.SPEC_REJECTED]  # fmt: skip
    assert told == [(None, refused[0].text), ("a", words)]
    world = world.restarted()
    await world.engine.accept(broken)
    assert world.store.events().count(logs.SPEC_REJECTED) == 2, "a restart is no news"
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert "SpecAccepted" not in world.book.records[AppName("a")].conditions
    assert world.store.changes[-1].refused is None or world.store.changes[-1].refused == ()


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


async def test_a_pause_during_a_report_is_not_lost() -> None:
    world = World()
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("a", "one")))
    world.store.operations[1] = Operation(1, "pause", AppName("a"))
    await asyncio.gather(world.round(), operations.work())
    assert world.book.records[AppName("a")].paused
    assert world.book.entries[AppName("a")].record.paused


async def test_a_confirmation_waits_until_what_it_is_about_was_looked_at() -> None:
    world = World()
    operations = Operations(world.engine, world.store, world.clock)
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    del world.service.server["one"]
    world.book.heard.clear()  # as after a restart
    digest = loss_digest(
        AppName("a"), "box", Problem(Severity.BLOCKING, "DataMissing", "", "", ("box", "one"))
    )
    world.store.operations[1] = Operation(1, "confirm", None, digest=digest)
    await operations.work()
    assert world.store.operations[1].state is OperationState.QUEUED
    await world.round()
    await operations.work()
    assert world.store.operations[1].state is OperationState.DONE
    await world.round()
    assert world.service.server == {"one": "whole"}


def test_the_open_fence_is_a_fence() -> None:
    OpenFence().check()
