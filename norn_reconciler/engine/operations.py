"""A person's requests, done by the writer: reconcile, confirm, adopt, rotate, recover, forget, …
Each is a row; the CLI puts it there and follows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from norn_reconciler import logs
from norn_reconciler.engine.case import QUEUED, REPAIR, UNSEEN
from norn_reconciler.engine.digest import short
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.ledger import Ledger, wanted_of
from norn_reconciler.engine.recovery import counted
from norn_reconciler.engine.retrace import in_scope, retrace
from norn_reconciler.engine.status import READY, TRUE
from norn_reconciler.engine.teardown import Reaper
from norn_reconciler.engine.telling import log_event, operation_finished, operation_started
from norn_reconciler.engine.works import Works
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import (
    LeaseLost,
    NornError,
    ServiceError,
    StoreUnavailable,
    with_remedy,
)
from norn_reconciler.model.inventory import HeldState, Owned
from norn_reconciler.model.outcome import Blocked, Converged, Failed, Outcome, RequeueAfter
from norn_reconciler.model.plan import Action, Plan
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import (
    AppState,
    Changes,
    Operation,
    OperationState,
    Store,
)
from norn_reconciler.model.secret import DUE, CredentialMark
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting one app would take over, and what would then change on each service."""

    app: AppName
    rows: Mapping[str, Owned]
    plans: Mapping[str, Plan[Action]]

    @property
    def digest(self) -> str:
        """What the person agrees to: the objects and every change to them."""
        return short(
            "adopt",
            self.app,
            {s: sorted(rows) for s, rows in self.rows.items()},
            {s: [a.summary() for a in plan.actions] for s, plan in self.plans.items()},
        )


async def adoption(app: AppName, providers: Mapping[str, AnyProvider], ledger: Ledger) -> Adoption:
    """Look at what there is of `app` that norn does not own. Reads only."""
    rows: dict[str, Owned] = {}
    plans: dict[str, Plan[Action]] = {}
    for key, provider in providers.items():
        want = wanted_of(provider, ledger, app)
        if want is None:
            continue
        observed = (await provider.observe({app: want}))[app]
        if isinstance(observed, ServiceError):
            raise observed
        found = provider.adoptable(want, observed)
        if not found:
            continue
        rows[key] = found
        adopted = replace(want, owned={**want.owned, **found})
        plans[key] = provider.plan(adopted, observed)
    return Adoption(app, rows, plans)


class _NotYet(Exception):
    """Can't be decided before every service was looked at."""


class Operations:
    """Works through the queued rows. Call `work` whenever there may be some. works: who does what
    takes long; it is only handed over here. reaper: who asks for the end of data."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        works: Works | None = None,
        reaper: Reaper | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._works = works
        self._reaper = reaper
        self._asked: dict[int, float] = {}  # when this process began to follow it
        self._ended: dict[int, Operation] = {}  # as norn_db is still to hear it
        self.following = False  # somebody waits for something that ends in a moment

    async def work(self) -> bool:
        """Start what is queued and end what is done. True when something was confirmed or undone:
        look at the specs again. Raises StoreUnavailable, LeaseLost; all else fails the operation
        alone."""
        confirmed = self.following = False
        for operation in await self._store.pending_operations():
            if self._works is not None and operation.kind in self._works.kinds:
                self._works.take(operation)
                continue
            try:
                if operation.id in self._asked:
                    await self._follow(operation)
                    continue
                if (ended := self._ended.get(operation.id)) is not None:
                    await self._answer(ended)
                else:
                    operation_started(operation)
                    await self._start(operation)
                confirmed |= operation.kind in {"confirm", "undo"}
            except (StoreUnavailable, LeaseLost):
                raise
            except _NotYet:
                self.following = True
            except (NornError, ValueError) as fault:
                await self._end(operation, OperationState.FAILED, str(fault))
            except Exception as fault:  # a defect of ours ends this operation, not the daemon
                logs.get().exception(logs.LANE_FAULTED, kind=operation.kind, id=operation.id)
                text = f"internal: {type(fault).__name__}"
                await self._end(operation, OperationState.FAILED, text)
        return confirmed

    async def _start(self, operation: Operation) -> None:
        engine, book, app = self._engine, self._engine.book, operation.app
        if operation.kind == "confirm":
            text = await self._confirm(operation.digest or "")
            return await self._end(operation, OperationState.DONE, text)
        if operation.kind == "recover":
            return await self._end(operation, OperationState.DONE, await self._recover(operation))
        if app is None or app not in book.records:
            raise ValueError(f"no app {app} is known: no file asked for it yet")
        match operation.kind:
            case "reconcile":
                await self._reconcile(operation, app)
                return None
            case "pause" | "resume":
                async with book.turn:
                    record = replace(book.records[app], paused=operation.kind == "pause")
                    await book.write(Changes(apps=[record]))
                engine.enqueue([app])
                text = f"{app} is {'paused' if record.paused else 'resumed'}"
            case "forget":
                text = await self._forget(app)
            case "adopt":
                text = await self._adopt(app, operation.digest)
            case "undo":
                text = await self._undo(operation, app)
            case "rotate":
                await self._rotate(operation, app)
                return None
            case other:
                raise ValueError(f"this version knows no operation {other}")
        return await self._end(operation, OperationState.DONE, text)

    async def _confirm(self, digest: str) -> str:
        hold = await self._reaper.waits_for(digest) if self._reaper is not None else None
        if hold is not None:
            return f"the data of {counted(hold.apps)} may go"  # its row is what the reaper reads
        try:
            return await self._engine.confirm(digest)
        except ValueError:
            if self._engine.all_heard():
                raise
            # It may be about a loss that this process has not looked at yet.
            raise _NotYet from None

    async def _reconcile(self, operation: Operation, app: AppName) -> None:
        engine, book = self._engine, self._engine.book
        if app not in book.entries:
            raise ValueError(f"no file asks for {app}")
        await self._running(operation, "reconciling")
        async with book.turn:
            if app in book.entries:
                book.begin(app)
        for lane in engine.lanes.values():
            lane.probes.at_once(app)
        engine.enqueue([app])

    async def _running(self, operation: Operation, step: str) -> None:
        """Followed from now on, by this process."""
        self._asked[operation.id] = self._clock()
        running = replace(operation, state=OperationState.RUNNING, step=step)
        await self._store.update_operation(self._engine.book.epoch, running)
        self.following = True

    async def _rotate(self, operation: Operation, app: AppName) -> None:
        """The next generation of each password is wanted from now on; the lanes set it, prove it,
        and deliver it together. norn_db has it first: a crash between two services goes on."""
        engine, book = self._engine, self._engine.book
        async with book.turn:
            entry = book.asked_for(app)
            # Nothing is settled with another password: setting it is nobody's drift.
            rows = {
                (key, app): replace(
                    row, desired_digest=None, mark=CredentialMark(DUE, _next(row.mark))
                )
                for key in sorted(entry.app.sections)
                if (row := book.service(key, app)).mark is not None or book.owned(key, app)
            }
            if not rows:
                raise ValueError(f"{app} has no password yet")
            # RUNNING: a former process came so far, and its generation is still to be set.
            if operation.state is OperationState.QUEUED:
                await book.write(Changes(services=rows))
            book.begin(app)
        await self._running(operation, "rotating")
        engine.enqueue([app])

    async def _undo(self, operation: Operation, app: AppName) -> str:
        """arguments: `of`, the generation that the person saw in the file, and `to`, the earlier
        one to put in force; None: the file's own again. The next look at the specs does it."""
        book = self._engine.book
        of, to = operation.arguments.get("of"), operation.arguments.get("to")
        kept = {g.number: g for g in await self._store.generations(app)}
        async with book.turn:
            record = book.asked_for(app).record
            if record.generation != of:
                raise ValueError(f"the file of {app} says something else by now: look again")
            if to is not None and to not in kept:
                raise ValueError(f"norn_db has no generation {to} of {app} any more")
            pinned = kept[to] if to is not None else None
            text = (
                f"generation {to} of {app} is in force, until {record.spec.file} says something "
                f"else than generation {of}"
                if to is not None
                else f"{record.spec.file} is in force again (generation {of})"
            )
            event = Event(logs.SPEC_UNDONE, "warning", app, text, {"of": of, "to": to})
            await book.write(Changes(apps=[replace(record, pinned=pinned)], events=[event]))
        log_event(event)
        return text

    async def _forget(self, app: AppName) -> str:
        book = self._engine.book
        async with book.turn:
            entry = book.entries.get(app)
            stuck = entry is not None and entry.leaving and self._clock() >= entry.removals_from
            if app in book.busy:
                raise ValueError(f"something is being done with {app}: see norn status {app}")
            if book.records[app].state is AppState.ACTIVE and not stuck:
                raise ValueError(f"{app} is not removed: remove its file first, and wait for it")
            left = ", ".join(
                f"{key} {held.kind} {held.name}"
                for key in sorted(self._engine.lanes)
                for held in book.owned(key, app).values()
                if held.state is not HeldState.RETAINED
            )
            try:
                book.withdraw(app)
            except OSError as fault:
                raise ValueError(f"its env file can't be deleted: {fault}") from fault
            await book.write(Changes(forgotten=[app]))
        for lane in self._engine.lanes.values():
            lane.provider.forget(app)
        still = f"; access may still be open: {left}" if left else ""
        return f"{app} is forgotten: what it left on the servers stays, and is nobody's now{still}"

    async def _adopt(self, app: AppName, digest: str | None) -> str:
        engine, book = self._engine, self._engine.book
        if app not in book.entries:
            raise ValueError(f"no file asks for {app}: write its spec first, then adopt")
        providers = {key: lane.provider for key, lane in engine.lanes.items()}
        found = await adoption(app, providers, book)
        if not found.rows:
            return f"nothing of {app} is there to adopt: see norn status {app}"
        if digest != found.digest:
            raise ValueError(
                f"what is there has changed since you saw it: run `norn adopt {app}` again"
            )
        async with book.turn:
            rows = {(k, app): {**book.owned(k, app), **new} for k, new in found.rows.items()}
            await book.write(Changes(inventory=rows))
            if app in book.entries:
                book.begin(app)
        engine.enqueue([app])
        count = sum(len(rows) for rows in found.rows.values())
        blocked = [p for plan in found.plans.values() if (p := plan.blocked) and p.remedy]
        first = f"first {'; '.join(p.remedy for p in blocked)}; then " if blocked else ""
        objects = f"{count} objects" if count > 1 else "1 object"
        return (
            f"{objects} of {app} adopted, with the passwords that they have. "
            f"Next: {first}norn rotate {app} when its clients can be restarted"
        )

    async def _recover(self, operation: Operation) -> str:
        """norn_db gets its records back in one transaction; the lanes see to the rest."""
        engine, book = self._engine, self._engine.book
        asked = operation.arguments.get("apps")
        named = [AppName(str(a)) for a in asked] if isinstance(asked, list) else []
        providers = {key: lane.provider for key, lane in engine.lanes.items()}
        found = await retrace(in_scope(book.entries, named), providers, book)
        if not found.parts:
            return "nothing is left to recover"
        if operation.digest != found.digest:
            raise ValueError("what is there has changed since you saw it: run `norn recover` again")
        apps = [app for app in found.parts if app in book.entries]
        async with book.turn:
            changes = found.changes(book)
            await book.write(changes)
            for app in apps:
                book.begin(app)
        for event in changes.events:
            log_event(event)
        for lane in engine.lanes.values():
            lane.forgive(apps)
        engine.enqueue(apps)
        return f"norn_db has its records of {counted(found.parts)} again"

    async def _follow(self, operation: Operation) -> None:
        """It ends when each concerned service has reported of a round begun since, a rotation not
        before the new passwords are delivered."""
        book, app = self._engine.book, operation.app
        entry = book.entries.get(app) if app else None
        if entry is None or app is None:
            return await self._end(operation, OperationState.FAILED, f"no file asks for {app}")
        if entry.record.paused:
            return await self._end(operation, OperationState.FAILED, f"{app} is paused")
        asked = self._asked[operation.id]
        heard = [book.current(k, app) for k in sorted(book.concerned(entry))]
        news = [h.outcome for h in heard if h is not None and h.began >= asked]
        moving = {QUEUED, REPAIR, UNSEEN}
        if len(news) < len(heard) or any(
            isinstance(o, RequeueAfter) and o.reason in moving for o in news
        ):
            self.following = True
            return None
        bad = [o for o in news if not isinstance(o, Converged)]
        if bad:
            text = "; ".join(map(words, bad))
            return await self._end(operation, OperationState.FAILED, text)
        if operation.kind == "rotate":
            return await self._delivered(operation, app)
        return await self._end(operation, OperationState.DONE, f"{app} is converged")

    async def _delivered(self, operation: Operation, app: AppName) -> None:
        """Every service has its new password: the env file comes with Ready."""
        book = self._engine.book
        async with book.turn:  # a report is heard before it is written
            ready = book.records[app].conditions.get(READY)
            marks = [book.service(key, app).mark for key in book.entries[app].app.sections]
        due = any(mark is not None and mark.fingerprint == DUE for mark in marks)
        if due or ready is None or ready.reason in {"Progressing", "Pending"}:
            self.following = True
            return None
        if ready.status != TRUE:
            text = f"the new passwords are set, and not delivered: {ready.message}"
            return await self._end(operation, OperationState.FAILED, text)
        text = f"{app} has new passwords, proven and delivered; open sessions stay: restart it"
        return await self._end(operation, OperationState.DONE, text)

    async def _end(self, operation: Operation, state: OperationState, text: str) -> None:
        self._asked.pop(operation.id, None)
        self._ended[operation.id] = replace(operation, state=state, step="", result=text)
        await self._answer(self._ended[operation.id])

    async def _answer(self, operation: Operation) -> None:
        """What was done is not done again when norn_db does not take the answer at once: there
        would be another one by then."""
        await self._store.update_operation(self._engine.book.epoch, operation)
        del self._ended[operation.id]
        operation_finished(operation)


def _next(mark: CredentialMark | None) -> int:
    """An adopted user, whose password norn never set, gets the first one."""
    return 1 if mark is None else mark.generation + 1


def words(outcome: Outcome) -> str:
    """Why it is not converged, and what to do; "" when it is."""
    match outcome:
        case Failed(error=error):
            return with_remedy(str(error), error.remedy)
        case Blocked(problem=problem):
            return with_remedy(problem.message, problem.remedy)
        case RequeueAfter(message=message):
            return message
    return ""
