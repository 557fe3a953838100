"""What people ask the writer for, and what a round under way has to do with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from norn_reconciler.engine.guard import loss_digest
from norn_reconciler.engine.operations import Operations, adoption
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Denied, StoreUnavailable
from norn_reconciler.model.plan import Plan, Problem, Severity
from norn_reconciler.model.records import Operation, OperationState
from norn_reconciler.model.secret import DUE
from tests.unit.engine.fakes import Boxes, Make
from tests.unit.engine.world import World, fleet, member


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
