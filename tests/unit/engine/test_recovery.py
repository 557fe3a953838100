"""What norn_db has lost: what is recorded again, what is set anew, and what is left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from norn_reconciler.engine.book import Book
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.guard import Limits
from norn_reconciler.engine.operations import Operations
from norn_reconciler.engine.recovery import Recovery
from norn_reconciler.engine.rekey import rekeyed, rekeying
from norn_reconciler.engine.retrace import GENERATIONS, in_scope, retrace
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import NornError, Rejected, Unavailable
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.outcome import Blocked, Converged, Failed
from norn_reconciler.model.plan import Plan
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import (
    AppRecord,
    AppState,
    Operation,
    OperationState,
    ServiceRecord,
    Snapshot,
    SpecRecord,
)
from norn_reconciler.model.secret import DUE, LOST, CredentialMark
from tests.unit.engine.fakes import (
    Box,
    Boxes,
    MemoryDelivery,
    MemoryStore,
    OpenFence,
    Repair,
    Secrets,
)
from tests.unit.engine.world import World, fleet, member

A = AppName("a")
ROW = ("box", "a1")
KEY = "f" * 8  # the fakes' only master key


def known(**changes) -> ServiceRecord:
    return ServiceRecord("digest", CredentialMark(changes.get("key", KEY), changes["generation"]))


async def world(*, record: ServiceRecord | None = None, owned: bool = False) -> World:
    """One app whose box is there; norn_db as given."""
    found = World()
    found.service.server["a1"] = "whole"
    inventory = {"box": {A: {ROW: Held(*ROW)}}} if owned else {}
    services = {"box": {A: record}} if record else {}
    found.book.load(Snapshot(inventory=inventory, services=services), 1)
    await found.engine.accept(fleet(member("a", "a1")))
    return found


async def look(world: World, **more) -> Recovery:
    return await retrace([A], {"box": world.service}, world.book, **more)  # type: ignore[dict-item]


async def test_a_lost_record_comes_back_with_the_generation_that_fits() -> None:
    lost = await world()
    lost.service.passwords["a"] = 3
    part = (await look(lost)).parts[A]["box"]
    assert part.rows.keys() == {ROW}
    assert part.mark == CredentialMark(KEY, 3)
    assert part.plan.actions == ()
    assert "generation 3 fits" in part.password()
    assert lost.service.writes == []


async def test_the_search_is_bounded() -> None:
    lost = await world()
    await look(lost)
    assert [len(tried) for _, tried in lost.service.tried] == [GENERATIONS]


async def test_what_nothing_proves_is_left_alone() -> None:
    lost = await world()
    found = await look(lost)
    assert found.parts == {}
    assert found.problems[A]["box"].reason == "Conflict"


@pytest.mark.parametrize(
    ("record", "server", "mark"),
    [
        (known(generation=1), 1, None),
        (known(generation=1), 4, CredentialMark(KEY, 4)),
        # norn_db is never overruled downwards: the lanes set what it says.
        (known(generation=4), 1, None),
        (known(generation=2, key=LOST), 2, None),
        (known(generation=2, key=LOST), 3, CredentialMark(KEY, 3)),
        # On its way: neither undone, nor taken for done.
        (known(generation=2, key=DUE), 1, None),
        (known(generation=2, key=DUE), 2, None),
        (known(generation=2, key=DUE), 3, CredentialMark(KEY, 3)),
    ],
)
async def test_a_later_generation_is_recorded_and_no_other(
    record: ServiceRecord, server: int, mark: CredentialMark | None
) -> None:
    older = await world(record=record, owned=True)
    older.service.passwords["a"] = server
    found = await look(older)
    assert (found.parts[A]["box"].mark if found.parts else None) == mark


async def test_a_user_that_only_a_witness_names_gets_a_new_password() -> None:
    lost = await world()
    lost.service.witnessed.add("a")
    part = (await look(lost)).parts[A]["box"]
    assert part.mark == CredentialMark(DUE, 1)
    assert "set" in part.password()


async def test_an_adopted_user_that_keeps_its_password_keeps_it() -> None:
    kept = await world()
    other = {("box", "old"): Held("box", "old", HeldState.OWNED, Origin.ADOPTED)}
    kept.book.load(Snapshot(inventory={"box": {A: other}}), 1)
    kept.service.witnessed.add("a")
    part = (await look(kept)).parts[A]["box"]
    assert part.rows.keys() == {ROW}
    assert part.mark is None


async def test_a_service_that_cannot_tell_is_a_fault_and_nothing_is_recorded() -> None:
    for fault in ("unsure", "down"):
        lost = await world()
        lost.service.passwords["a"] = 1
        setattr(lost.service, fault, Unavailable("box", "no room"))
        found = await look(lost)
        assert found.parts == {}
        assert str(found.faults[A]["box"]) == "no room"


async def test_what_no_file_asks_for_is_listed() -> None:
    lost = await world()
    lost.service.marks = {A: frozenset({ROW}), AppName("gone"): frozenset({("box", "g")})}
    assert (await look(lost)).untouched == {}
    found = await look(lost, whole=True)
    assert found.untouched == {"box": {AppName("gone"): frozenset({("box", "g")})}}


async def test_an_app_that_no_file_asks_for_is_refused() -> None:
    lost = await world()
    assert in_scope(lost.book.entries, ()) == [A]
    with pytest.raises(NornError, match="put its spec back"):
        in_scope(lost.book.entries, [AppName("gone")])


async def recovered(world: World, digest: str) -> Operation:
    asked = Operation(1, "recover", None, arguments={"apps": []}, digest=digest)
    world.store.operations[1] = asked
    await Operations(world.engine, world.store).work()
    return world.store.operations[1]


async def test_the_writer_takes_over_what_was_agreed_to() -> None:
    lost = await world()
    lost.service.passwords["a"] = 2
    found = await look(lost)
    ended = await recovered(lost, found.digest)
    assert (ended.state, ended.result) == (
        OperationState.DONE,
        "norn_db has its records of 1 app again",
    )
    assert lost.book.owned("box", A).keys() == {ROW}
    assert lost.book.service("box", A).mark == CredentialMark(KEY, 2)
    assert "records.recovered" in lost.store.events()
    await lost.round()
    assert isinstance(lost.outcome("a"), Converged)
    assert lost.service.writes == []
    assert (await look(lost)).parts == {}


async def test_nothing_is_taken_over_that_was_not_shown() -> None:
    lost = await world()
    lost.service.passwords["a"] = 2
    digest = (await look(lost)).digest
    lost.service.passwords["a"] = 3
    ended = await recovered(lost, digest)
    assert ended.state is OperationState.FAILED
    assert "changed" in ended.result
    assert lost.book.owned("box", A) == {}


async def test_a_recovery_that_was_done_before_the_crash_is_done() -> None:
    lost = await world()
    lost.service.passwords["a"] = 2
    digest = (await look(lost)).digest
    await recovered(lost, digest)
    ended = await recovered(lost, digest)
    assert (ended.state, ended.result) == (OperationState.DONE, "nothing is left to recover")


async def test_what_moved_between_the_look_and_the_record_is_not_written_over() -> None:
    lost = await world()
    lost.service.passwords["a"] = 2
    found = await look(lost)
    lost.book.load(Snapshot(services={"box": {A: known(generation=5)}}), 1)
    with pytest.raises(ValueError, match="meanwhile"):
        found.changes(lost.book)


async def converged() -> World:
    """An app of generation 1, as a daemon that has begun anew finds it."""
    fresh = World()
    await fresh.engine.accept(fleet(member("a", "a1")))
    await fresh.round()
    assert isinstance(fresh.outcome("a"), Converged)
    return fresh


async def test_a_later_password_of_norns_own_is_not_taken_for_drift() -> None:
    older = await converged()
    older.service.proof, older.service.passwords["a"] = False, 3
    older.engine.lanes["box"].probes.at_once(A)
    for _ in range(3):  # and stays so, round after round
        await older.round()
        blocked = older.outcome("a")
        assert isinstance(blocked, Blocked)
        assert blocked.problem.reason == "NornDbOlder"
        assert blocked.problem.remedy.startswith("norn recover a")
    assert older.book.service("box", A).mark == CredentialMark(KEY, 1)
    assert "drift.detected" not in older.store.events()


@dataclass(frozen=True, slots=True)
class Set(Repair):
    sets_credential: ClassVar[bool] = True


class Locked(Boxes):
    """What is bent has another password."""

    def plan(self, wanted, observed):
        found = super().plan(wanted, observed)
        sets = (Set(a.kind, a.name) if isinstance(a, Repair) else a for a in found.actions)
        return Plan(tuple(sets), found.problems)


async def test_only_those_whose_turn_it_is_are_tried_for_a_later_password() -> None:
    """It takes logins: a thousand of them before the first write would be a long wait."""
    older = World(Locked())
    names = [AppName(f"a{n}") for n in range(5)]
    await older.engine.accept(fleet(*(member(name, f"box{name}") for name in names)))
    await older.round()
    older.service.server = dict.fromkeys(older.service.server, "bent")
    older.service.passwords["a1"] = 3
    older.service.writes.clear()
    older.engine.lanes["box"]._chunk_size = 2
    await older.round()
    assert [app for app, _ in older.service.tried] == ["a0", "a1"]
    assert older.service.writes == ["REPAIR boxa0"]
    assert isinstance(older.outcome("a1"), Blocked)
    await older.engine.settle(names)
    assert older.service.server.pop("boxa1") == "bent", "norn_db is older"
    assert set(older.service.server.values()) == {"whole"}


async def test_a_password_that_is_nobodys_is_drift_as_ever() -> None:
    drifted = await converged()
    drifted.service.proof = False
    drifted.engine.lanes["box"].probes.at_once(A)
    await drifted.round()
    assert drifted.book.service("box", A).mark == CredentialMark(LOST, 1)
    assert "drift.detected" in drifted.store.events()


async def test_a_server_that_cannot_tell_yet_delays_the_repair() -> None:
    """One that takes any password never will, and does not."""
    for fault, lost in ((Rejected("box", "takes any"), True), (Unavailable("box", "full"), False)):
        drifted = await converged()
        drifted.service.proof, drifted.service.unsure = False, fault
        drifted.engine.lanes["box"].probes.at_once(A)
        await drifted.round()
        mark = drifted.book.service("box", A).mark
        assert mark is not None
        assert (mark.fingerprint == LOST) is lost
        assert isinstance(drifted.outcome("a"), Failed) is not lost


async def test_a_password_recorded_meanwhile_is_not_taken_for_drift() -> None:
    """`norn recover` and a round that began before it."""
    older = await converged()
    older.service.proof = False
    older.engine.lanes["box"].probes.at_once(A)
    record = older.book.service("box", A)

    async def prove(app, credential):
        newer = replace(record, mark=CredentialMark(KEY, 3))
        older.book._services["box", A] = newer
        return await type(older.service).prove(older.service, app, credential)

    older.service.prove = prove  # type: ignore[method-assign]
    await older.round()
    assert older.book.service("box", A).mark == CredentialMark(KEY, 3)
    assert "drift.detected" not in older.store.events()


async def test_an_env_file_changes_only_to_passwords_that_were_tried() -> None:
    """norn_db says Ready, and what was delivered says otherwise."""
    before = await converged()
    after = World(service=before.service)
    after.delivery.other.add("a")
    row = before.book.records[A]
    after.book.load(
        Snapshot(
            {A: row},
            {"box": {A: before.book.owned("box", A)}},
            {"box": {A: before.book.service("box", A)}},
        ),
        1,
    )
    after.service.proof, after.service.passwords["a"] = False, 2
    await after.engine.accept(fleet(member("a", "a1")))
    await after.round()
    assert isinstance(after.outcome("a"), Blocked)
    assert after.delivery.delivered == set()
    after.service.proof = True
    await after.round()
    assert after.delivery.delivered == {"a"}


async def test_an_env_file_waits_for_the_password_of_every_service() -> None:
    """The first service to report is right; of the second norn_db knows an older password."""
    app = App(A, {"bag": Box(("bag1",)), "box": Box(("a1",))})
    whole = Member(app, SpecRecord("a.yaml", "d", 1, 1, "a"))
    kinds = {"bag": "BagsReady", "box": "BoxesReady"}
    bag, box = Boxes(key="bag"), Boxes()

    def begun(snapshot: Snapshot) -> tuple[Book, Engine, MemoryDelivery]:
        delivery = MemoryDelivery()
        book = Book(MemoryStore(), Secrets(), delivery, kinds)
        book.load(snapshot, 1)
        services: dict[str, AnyProvider] = {"bag": bag, "box": box}  # type: ignore[dict-item]
        return book, Engine(services, book, OpenFence(), Limits(3, 20.0), 10.0), delivery

    book, engine, _ = begun(Snapshot())
    await engine.accept(fleet(whole))
    await engine.settle([A])
    snapshot = Snapshot(
        {A: book.records[A]},
        {key: {A: book.owned(key, A)} for key in kinds},
        {key: {A: book.service(key, A)} for key in kinds},
    )
    assert book.records[A].conditions["Ready"].status == "True"

    book, engine, delivery = begun(snapshot)
    delivery.other.add("a")
    box.proof, box.passwords["a"] = False, 2
    await engine.accept(fleet(whole))
    await engine._round("bag", [A])
    assert delivery.delivered == set()
    await engine._round("box", [A])
    assert delivery.delivered == set()
    box.proof = True  # as after norn recover
    await engine._round("box", [A])
    assert delivery.delivered == {"a"}


def test_another_key_makes_every_password_due_and_leaves_what_is_kept() -> None:
    rows = {
        "box": {A: known(generation=4), AppName("kept"): ServiceRecord("d", None)},
        "bag": {A: known(generation=7, key=LOST), AppName("b"): known(generation=2, key=DUE)},
    }
    spec = SpecRecord("a.yaml", "d", 1, 1, "a")
    apps = {name: AppRecord(name, spec, 1) for name in (A, AppName("b"), AppName("kept"))}
    gone = AppName("gone")
    apps[gone] = AppRecord(gone, spec, 1, state=AppState.REMOVED)
    rows["box"][gone] = known(generation=2)
    before = Snapshot(apps, services=rows, key_fingerprint="old")
    shown = rekeying(before, "old", None)
    assert shown.apps == {A: ("bag", "box"), AppName("b"): ("bag",)}
    assert shown.digest != rekeying(before, "old", "new").digest
    changes = rekeyed(before, "new")
    assert changes.key_fingerprint == "new"
    assert {at: row.mark for at, row in changes.services.items()} == {
        ("box", A): CredentialMark(DUE, 1),
        ("box", gone): CredentialMark(DUE, 1),
        ("bag", A): CredentialMark(DUE, 1),
        ("bag", AppName("b")): CredentialMark(DUE, 1),
    }
    again = rekeyed(replace(before, services={"box": {A: known(generation=1, key=DUE)}}), "new")
    assert again.services["box", A].mark == CredentialMark(DUE, 1)
