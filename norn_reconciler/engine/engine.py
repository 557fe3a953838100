"""The engine: a roster, a lane per service, one book. It is driven by `accept` (a look at the
specs) and by names put on the queues; `serve` runs the lanes for ever, `settle` until nothing is
due."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product

from norn_reconciler import logs
from norn_reconciler.engine import news, roster
from norn_reconciler.engine.backoff import Backoff
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.case import PENDING, QUEUED, REPAIR, UNSEEN
from norn_reconciler.engine.guard import Hold, Limits, Removals, loss_digest
from norn_reconciler.engine.lane import CHUNK, PROBE_EVERY, Lane
from norn_reconciler.engine.ledger import AppReport
from norn_reconciler.engine.probes import AGAIN, Probes
from norn_reconciler.engine.recovery import counted
from norn_reconciler.engine.telling import log_event
from norn_reconciler.engine.workqueue import Urgency, WorkQueue
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseLost, StoreUnavailable
from norn_reconciler.model.fleet import Fleet, Folder
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.moves import carried_out
from norn_reconciler.model.outcome import Blocked, Converged, Failed, RequeueAfter
from norn_reconciler.model.ports import AnyProvider, Fence
from norn_reconciler.model.records import AppState, Changes, ServiceRecord
from norn_reconciler.model.secret import LOST, CredentialMark
from norn_reconciler.model.status import Event
from norn_reconciler.tasks import checkpoint

LINGER = 0.01  # seconds that a batch waits for companions
AWAY = 1.0  # seconds between looks while norn_db is away
FAULTED = 30.0  # seconds until a round that hit a defect of ours is tried again


class Engine:
    """providers: by key. grace: seconds a removal waits. clock: monotonic seconds. probe_every:
    seconds between two probes of one app's isolation. held, refused, removed: the removal guard's
    word, what is wrong with files, and what was removed how many seconds ago, as norn_db has it
    from an earlier process."""

    def __init__(
        self,
        providers: Mapping[str, AnyProvider],
        book: Book,
        fence: Fence,
        limits: Limits,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
        chunk: int = CHUNK,
        probe_every: float = PROBE_EVERY,
        held: str = "",
        refused: tuple[str, ...] = (),
        removed: Mapping[AppName, float] | None = None,
    ) -> None:
        self.book = book
        self._held = held
        self._refused = refused
        self.hold: Hold | None = None
        self._removals = Removals(limits, removed or {}, clock())
        self._folder = Folder.OK
        self._grace = grace
        self._clock = clock
        self.lanes = {
            key: Lane(
                p,
                book,
                fence,
                Backoff(random.random),
                clock,
                chunk,
                Probes(probe_every, random.random),
            )
            for key, p in providers.items()
        }
        self.queues = {key: WorkQueue(clock) for key in providers}
        self._turns = {key: asyncio.Lock() for key in providers}  # held during a round

    async def accept(self, fleet: Fleet) -> bool:
        """Put a look at the specs in force. norn_db takes it first: StoreUnavailable or LeaseLost
        leave everything as it was. False: it is too old, as long work is at one of those by now
        between which something would pass."""
        book = self.book
        async with book.turn:
            if any(not book.busy.isdisjoint((m.giver, m.taker)) for m in fleet.moves):
                return False
            now = self._clock()
            removed = set(roster.retained(book.records))
            going = {name: m for name, m in fleet.vanished.items() if name not in removed}
            active = sum(1 for r in book.records.values() if r.state is AppState.ACTIVE)
            self._removals.back(fleet.members)
            hold = self._removals.judge(
                going, roster.confirmed(book.records), active, fleet.folder, now
            )
            fleet = replace(fleet, vanished=going)
            accepted = roster.accept(book.entries, book.records, fleet, hold, now, self._grace)
            # The same digest was told already, also by an earlier process.
            told = hold is not None and hold.digest in self._held
            held = self._held if told else hold.words if hold is not None else ""
            word = None if held == self._held else held
            rows, moves = carried_out(fleet.moves, book.inventory())
            names = {m.giver: m.taker for m in moves if m.renamed}
            events = [*news.of_hold(hold, word), *news.of_roster(accepted), *news.of_moves(moves)]
            refused = news.standing(fleet, self._refused)
            await book.write(
                Changes(
                    apps=accepted.rows,
                    inventory=rows,
                    services=self._passwords(rows, names),
                    renamed=names,
                    events=[*events, *news.of_refused(fleet, self._refused)],
                    held=word,
                    refused=None if refused == self._refused else refused,
                )
            )
            self.hold, self._held, self._folder = hold, held, fleet.folder
            self._refused = refused
            book.entries = dict(accepted.entries)
            for event in events:
                log_event(event)
            for app in sorted(accepted.dirty):
                book.begin(app)
            await book.settle_idle(accepted.dirty)
        for lane in self.lanes.values():
            lane.forgive(accepted.dirty)
        self.enqueue(accepted.dirty)
        return True

    def _passwords(
        self, rows: Mapping[tuple[str, AppName], Owned], names: Mapping[AppName, AppName]
    ) -> Mapping[tuple[str, AppName], ServiceRecord]:
        """Of apps with new names, and of those names that are free now: another app may have one of
        them next, and who had it before knows what was its password there. A user that goes along
        gets one of its new name, if norn had set the one that it has. names: former → new."""
        found: dict[tuple[str, AppName], ServiceRecord] = {}
        for service, (old, new) in product(self.lanes, names.items()):
            before = self.book.service(service, old)
            if (mark := before.mark) is None:
                continue
            if not rows.get((service, old), True):
                there = self.book.service(service, new).mark or mark
                given = CredentialMark(LOST, there.generation)
                found[service, new] = ServiceRecord(mark=given)
            fresh = CredentialMark(LOST, mark.generation + 1)
            found[service, old] = replace(before, mark=fresh)
        return found

    def enqueue(
        self, apps: Iterable[AppName], urgency: Urgency = Urgency.FRESH, after: float = 0.0
    ) -> None:
        """Look at `apps` again, on every lane."""
        names = tuple(apps)
        for queue in self.queues.values():
            queue.add(names, urgency, after)

    def resync(self) -> None:
        self.enqueue(tuple(self.book.entries), Urgency.RESYNC)

    async def serve(self) -> None:
        """Run the lanes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for key in self.lanes:
                tasks.create_task(self._serve(key), name=f"lane-{key}")
            tasks.create_task(self._repeat(), name="owed")

    async def _repeat(self) -> None:
        """What norn_db did not take is offered again until it does: the next look at these apps may
        be a resync away."""
        while True:
            checkpoint()
            await self.book.owing.wait()
            await asyncio.sleep(AWAY)
            try:
                await self.book.report(())
            except Exception:  # as in _round
                logs.get().exception(logs.LANE_FAULTED)
                self.book.owing.clear()

    async def _serve(self, key: str) -> None:
        while True:
            checkpoint()
            batch = await self.queues[key].take(LINGER)
            await self._round(key, batch)

    async def settle(self, apps: Collection[AppName]) -> None:
        """Bring `apps` as far as they come without waiting on faults or graces: each lane works
        until all that is left is blocked, failed, or waits for its date."""
        async with asyncio.TaskGroup() as tasks:
            for key in self.lanes:
                tasks.create_task(self._settle(key, apps), name=f"lane-{key}")

    async def _settle(self, key: str, apps: Collection[AppName]) -> None:
        batch: tuple[AppName, ...] = tuple(sorted(apps))
        tries = 0
        while batch:
            reports = await self._round(key, batch)
            tries += 1
            again = [r for r in reports if _goes_on(r, tries)]
            kin = self._kin(key, reports) & set(apps)
            self.queues[key].drop({*batch, *kin})
            if not again and not kin:
                return
            waits = [r.outcome.seconds for r in again if isinstance(r.outcome, RequeueAfter)]
            await asyncio.sleep(0.0 if kin else min(waits, default=0.0))
            batch = tuple(sorted({*kin, *(r.app for r in again)}))

    @asynccontextmanager
    async def alone(self, app: AppName) -> AsyncIterator[None]:
        """Within the block no lane comes near `app`; afterwards each looks at it again."""
        self.book.busy.add(app)
        try:
            for turn in self._turns.values():
                async with turn:  # a round that began before has ended now
                    pass
            async with self.book.turn:  # and what was being written of it is written
                pass
            yield
        finally:
            self.book.busy.discard(app)
            self.enqueue([app])

    def removals_due_in(self) -> float | None:
        """Seconds until the last removal that waits for its date may run; None when none waits."""
        now = self._clock()
        waits = [
            entry.removals_from - now
            for app, entry in self.book.entries.items()
            for key in self.lanes
            if (heard := self.book.current(key, app)) is not None
            and isinstance(heard.outcome, RequeueAfter)
            and heard.outcome.reason == PENDING
        ]
        return max(0.0, *waits) if waits else None

    async def _round(self, key: str, batch: Sequence[AppName]) -> tuple[AppReport, ...]:
        began = self._clock()
        queue = self.queues[key]
        try:
            async with self._turns[key]:
                reports = await self.lanes[key].round(batch)
        except (LeaseLost, StoreUnavailable) as away:
            # Nothing was applied without its claim; look again when norn_db is back.
            logs.get().warning(logs.STORE_LOST, service=key, error=str(away))
            queue.add(batch, Urgency.RETRY, AWAY)
            return ()
        except Exception:
            # A defect of ours must end neither this lane nor the others.
            logs.get().exception(logs.LANE_FAULTED, service=key, apps=list(batch)[:20])
            queue.add(batch, Urgency.RETRY, FAULTED)
            return ()
        for report in reports:
            match report.outcome:
                case RequeueAfter(seconds=seconds):
                    queue.add([report.app], Urgency.RETRY, seconds)
                case Failed(retry_in=seconds):
                    queue.add([report.app], Urgency.RETRY, seconds)
                case Blocked() | Converged():
                    if self.book.current(key, report.app) is None:
                        queue.add([report.app])  # something else is wanted by now
                    elif report.verification is not None and not report.verification.ok:
                        queue.add([report.app], Urgency.RETRY, AGAIN)
        if kin := self._kin(key, reports):
            for app in kin:
                self.lanes[key].probes.at_once(app)
            queue.add(kin)
        self._log_round(key, reports, began)
        return reports

    def _kin(self, key: str, reports: Sequence[AppReport]) -> set[AppName]:
        """Who may have waited for what this round brought to rest."""
        moved = {r.app for r in reports if r.moved}
        return self.book.kin(key, moved) if moved else set()

    def _log_round(self, key: str, reports: Sequence[AppReport], began: float) -> None:
        acted = [r for r in reports if r.acted]
        if not acted:
            return
        logs.get().info(
            logs.RECONCILE_FINISHED,
            service=key,
            apps=[r.app for r in acted[:20]],
            apps_changed=len(acted),
            actions=sum(len(r.done) for r in acted),
            failed=sum(isinstance(r.outcome, Failed) for r in acted),
            shown_ms=round((max(r.shown or began for r in acted) - began) * 1000),
            duration_ms=round((self._clock() - began) * 1000),
        )

    def all_heard(self) -> bool:
        """Whether each service has spoken of each app since this engine began."""
        book = self.book
        return all(
            (key, app) in book.heard
            for app, entry in book.entries.items()
            if not entry.record.paused
            for key in book.concerned(entry)
        )

    async def confirm(self, digest: str) -> str:
        """A person agreed to `digest`. One line for them; ValueError when nothing bears it."""
        if self.hold is not None and self.hold.digest == digest:
            return await self._agree(self.hold)
        book = self.book
        for (service, app), heard in list(book.heard.items()):
            if not isinstance(heard.outcome, Blocked) or heard.outcome.problem.object is None:
                continue
            problem = heard.outcome.problem
            if loss_digest(app, service, problem) != digest:
                continue
            async with book.turn:
                owned = dict(book.owned(service, app))
                owned.pop(problem.object or ("", ""), None)
                text = f"{' '.join(problem.object or ())} of {app} is given up and made anew"
                event = Event(logs.DATA_MISSING, "warning", app, text, {"digest": digest}, service)
                await book.write(Changes(inventory={(service, app): owned}, events=[event]))
                book.begin(app)
            self.enqueue([app])
            return text
        raise ValueError(f"nothing waits for {digest}: see `norn status` for what does")

    async def _agree(self, hold: Hold) -> str:
        """In norn_db, so that a restart within the grace does not ask again."""
        async with self.book.turn:
            records = [self.book.records[a] for a in hold.apps]
            said = [replace(r, removal_confirmed=self._folder.value) for r in records]
            await self.book.write(Changes(apps=said))
        return f"removal of {counted(hold.apps)} confirmed"


def _goes_on(report: AppReport, tries: int) -> bool:
    """Whether a one-shot run looks again: its turn has not come, or it shows soon."""
    if not isinstance(report.outcome, RequeueAfter):
        return False
    if report.outcome.reason == UNSEEN:
        return tries < 10
    return report.outcome.reason in {QUEUED, REPAIR}
