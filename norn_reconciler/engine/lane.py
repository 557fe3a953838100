"""One service's lane: takes all its dirty apps, observes once, plans each by itself, applies
together, verifies. The round is `Lane.round`; everything else here serves it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from norn_reconciler import logs
from norn_reconciler.engine.backoff import Backoff
from norn_reconciler.engine.case import (
    BEHIND,
    NOT_LEADER,
    PENDING,
    QUEUED,
    REPAIR,
    UNSEEN,
    Case,
    with_digest,
)
from norn_reconciler.engine.digest import digest
from norn_reconciler.engine.guard import gate
from norn_reconciler.engine.ledger import AppReport, Ledger, wanted_of
from norn_reconciler.engine.logins import Logins, surprised
from norn_reconciler.engine.probes import Probes
from norn_reconciler.engine.roster import NEVER, same_wish
from norn_reconciler.engine.status import HELD
from norn_reconciler.model import trash
from norn_reconciler.model.app import App, AppName, Deletion
from norn_reconciler.model.errors import LeaseLost, ServiceError, Unavailable
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey
from norn_reconciler.model.outcome import (
    Blocked,
    Converged,
    Failed,
    Outcome,
    RequeueAfter,
)
from norn_reconciler.model.plan import Effect, Severity, Wanted
from norn_reconciler.model.ports import AnyProvider, Fence
from norn_reconciler.model.secret import LOST, Credential, CredentialMark
from norn_reconciler.model.status import Event

CHUNK = 100  # apps written in one round: a dropped file waits for one chunk at most
PROBE_EVERY = 3600.0  # seconds
ENDPOINT = ("endpoint",)  # the endpoint's key among the backoffs; no app can have it


@dataclass(frozen=True, slots=True)
class _Kept:
    app: App
    credential: Credential
    desired: object
    digest: str


class Lane:
    """clock: monotonic seconds. fence: asked before each write. chunk: apps written in a round."""

    def __init__(
        self,
        provider: AnyProvider,
        ledger: Ledger,
        fence: Fence,
        backoff: Backoff,
        clock: Callable[[], float] = time.monotonic,
        chunk: int = CHUNK,
        probes: Probes | None = None,
    ) -> None:
        self.provider = provider
        self._ledger = ledger
        self._fence = fence
        self._backoff = backoff
        self._clock = clock
        self._chunk_size = chunk
        self.probes = probes or Probes(PROBE_EVERY, random.random)
        self._logins = Logins(provider, ledger, self.probes, clock)
        self._endpoint_due = 0.0
        self._kept: dict[AppName, _Kept] = {}
        self._told: dict[AppName, frozenset[str]] = {}  # drift on record and not yet repaired
        self._moving: set[AppName] = set()  # written for, and not at rest since

    async def round(self, names: Sequence[AppName]) -> tuple[AppReport, ...]:
        """Look at `names` and bring them forward. The reports are handed to the ledger, too.

        Raises LeaseLost and StoreUnavailable: nothing was applied without its claim."""
        began = self._clock()
        cases = self._wanted(names)
        asked = {name: case for name, case in cases.items() if case.error is None}
        try:
            await self._observe(asked)
            self._plan(asked)
            acting = self._chunk(asked)
            await self._logins.look_ahead([c for c in acting.values() if c.resets_password])
            acting = self._unmoved({n: c for n, c in acting.items() if _acts(c)})
            if acting and self._may_write(acting):
                await self._claim(acting)
                acting = self._unmoved(acting)
                await self._apply(acting)
                await self._verify(acting, asked)
            await self._logins.probe(asked)
            self._endpoint_answers(asked)
        except ServiceError as fault:
            self._endpoint_fault(asked, fault)
        reports = tuple(self._conclude(case, began) for case in cases.values())
        await self._ledger.report(reports)
        return reports

    def forgive(self, apps: Iterable[AppName]) -> None:
        """Something new is wanted of `apps`: their failures were about something else."""
        for app in apps:
            self._backoff.succeeded(app)

    def _wanted(self, names: Sequence[AppName]) -> dict[AppName, Case]:
        """What each starts from. Where that can't be made there is only an error to tell."""
        cases: dict[AppName, Case] = {}
        key = self.provider.key
        for name in names:
            entry = self._ledger.entry(name)
            if entry is None or entry.record.paused or self._ledger.left_alone(name):
                continue
            try:
                wanted = wanted_of(self.provider, self._ledger, name, self._desired)
            except Exception as fault:  # one app's surprise must not stop the fleet
                owned, row = self._ledger.owned(key, name), self._ledger.service(key, name)
                cases[name] = Case(entry, owned, Wanted(name, None, owned, row.mark), row)
                cases[name].error = surprised(key, name, fault)
                continue
            if wanted is not None:
                kept, row = self._kept[name], self._ledger.service(key, name)
                cases[name] = Case(entry, wanted.owned, wanted, row, kept.credential, kept.digest)
        return cases

    def _desired(self, app: App, credential: Credential) -> object:
        """What is wanted, kept with its digest while spec and password are the very same objects:
        a clean round need not make it again."""
        kept = self._kept.get(app.name)
        if kept is None or kept.app is not app or kept.credential is not credential:
            desired = self.provider.desired(app, credential)
            kept = self._kept[app.name] = _Kept(app, credential, desired, digest(desired))
        return kept.desired

    async def _observe(self, cases: Mapping[AppName, Case]) -> None:
        if not cases:
            return
        seen = await self.provider.observe({n: c.wanted for n, c in cases.items()})
        for name, case in cases.items():
            found = seen[name]
            if isinstance(found, ServiceError):
                case.error = found
            else:
                case.observed = found

    def _plan(self, cases: Mapping[AppName, Case]) -> None:
        for case in cases.values():
            if case.error is None:
                self._plan_one(case)

    def _plan_one(self, case: Case) -> None:
        try:
            plan = self.provider.plan(case.wanted, case.observed)
        except Exception as fault:  # as in _wanted
            case.error = surprised(self.provider.key, case.wanted.app, fault)
            return
        gated = gate(plan, self._clock() >= case.entry.removals_from)
        case.plan, case.deferred, case.behind = gated.allowed, gated.deferred, gated.behind

    def _chunk(self, cases: Mapping[AppName, Case]) -> dict[AppName, Case]:
        """The apps to write for now; the others look again in the next round."""
        acting = {n: c for n, c in cases.items() if _acts(c)}
        now = dict(list(acting.items())[: self._chunk_size])
        for name, case in acting.items():
            if name not in now:
                case.waits = RequeueAfter(0.0, QUEUED, "waits for its turn in a large batch")
        return now

    def _unmoved(self, acting: Mapping[AppName, Case]) -> dict[AppName, Case]:
        """Without the apps of which something else is wanted by now: looking takes time, and a
        file may have come back, a hold or a pause begun meanwhile."""
        kept: dict[AppName, Case] = {}
        for name, case in acting.items():
            entry = self._ledger.entry(name)
            alone = self._ledger.left_alone(name)
            if entry is not None and same_wish(entry, case.entry) and not alone:
                kept[name] = case
            else:
                case.waits = RequeueAfter(0.0, QUEUED, "something else is wanted of it by now")
        return kept

    def _may_write(self, acting: Mapping[AppName, Case]) -> bool:
        try:
            self._fence.check()
        except LeaseLost as lost:
            for case in acting.values():
                case.waits = RequeueAfter(5.0, NOT_LEADER, f"{lost}; observed, nothing is written")
            return False
        return True

    async def _claim(self, acting: Mapping[AppName, Case]) -> None:
        """What is about to be made, and what drift is about to be repaired: on record before it
        is done, and told once, however often it is tried."""
        rows: dict[AppName, dict[ObjectKey, Held]] = {}
        drift: dict[AppName, list[Event]] = {}
        for name, case in acting.items():
            fresh = {
                a.key: Held(a.kind, a.name, HeldState.CLAIMED)
                for a in case.plan.actions
                if a.effect is Effect.CREATE and a.key not in case.wanted.owned
            }
            if fresh:
                rows[name] = fresh
            told = self._told.get(name, frozenset())
            drift[name] = [e for e in case.drift(self.provider.key) if e.message not in told]
        await self._ledger.claim(self.provider.key, rows, list(chain.from_iterable(drift.values())))
        for name, fresh in rows.items():
            case = acting[name]
            case.base = {**case.base, **fresh}
            case.wanted = replace(case.wanted, owned=case.base)
        for name, events in drift.items():
            if events:
                self._told[name] = self._told.get(name, frozenset()) | {e.message for e in events}

    async def _apply(self, acting: Mapping[AppName, Case]) -> None:
        if not acting:
            return
        self._moving |= acting.keys()
        applied = await self.provider.apply(
            {name: case.plan.actions for name, case in acting.items()}, self._fence
        )
        for name, case in acting.items():
            case.applied = applied[name]
            case.error = applied[name].error
            case.shown = self._clock()

    async def _verify(self, acting: Mapping[AppName, Case], cases: Mapping[AppName, Case]) -> None:
        """Observe and plan again; meanwhile log in with each new credential. In the same requests,
        look again at those of `cases` that may have waited for what was done."""
        if not acting:
            return
        kin = self._ledger.kin(self.provider.key, acting.keys())
        waiting = {n: c for n, c in cases.items() if n in kin - acting.keys() and _rests(c)}
        proving = asyncio.create_task(self._logins.prove(acting))
        try:
            looked = {n: c.wanted for n, c in {**acting, **waiting}.items()}
            seen = await self.provider.observe(looked)
            await proving
        finally:
            proving.cancel()
            await asyncio.gather(proving, return_exceptions=True)
        for name, case in waiting.items():
            self._look_again(case, seen[name])
        for name, case in acting.items():
            found = seen[name]
            if isinstance(found, ServiceError):
                case.error = case.error or found
            else:
                case.observed = found
            if case.error is None and case.observed is not None:
                self._plan_again(case)

    def _look_again(self, case: Case, found: object) -> None:
        """What is still to be done for it, now that it can be, is for its own next round."""
        before = case.observed, case.plan, case.behind
        if not isinstance(found, ServiceError):
            case.observed = found
            self._plan_one(case)
            if case.plan.actions:
                case.observed, case.plan, case.behind = before

    def _plan_again(self, case: Case) -> None:
        if case.proof is not None and case.proof.ok:
            case.wanted = replace(case.wanted, applied=case.login.mark)
        # What confirm learns (ids, what was done inside) belongs to what the plan is held to.
        before = case.wanted
        try:
            owned = self.provider.confirm(before, case.observed, case.applied.done)
        except Exception as fault:  # as in _wanted
            case.error = surprised(self.provider.key, before.app, fault)
            return
        case.wanted = replace(before, owned=owned)
        self._plan_one(case)
        case.wanted = before

    def _endpoint_answers(self, cases: Mapping[AppName, Case]) -> None:
        """A whole round without a fault of the endpoint: what it failed before is forgotten."""
        if not cases or any(isinstance(c.error, Unavailable) for c in cases.values()):
            return
        if self._backoff.succeeded(ENDPOINT):
            logs.get().info(logs.SERVICE_RECOVERED, service=self.provider.key)

    def _endpoint_fault(self, cases: Mapping[AppName, Case], fault: ServiceError) -> None:
        """The endpoint as a whole: one timer, the batch stays whole."""
        first = not self._backoff.failing(ENDPOINT)
        wait = self._endpoint_wait()
        if first:
            logs.get().warning(
                logs.SERVICE_LOST, service=self.provider.key, error=str(fault), retry_in=wait
            )
        for case in cases.values():
            case.error = fault
            case.endpoint = True
            case.waits = None

    def _endpoint_wait(self) -> float:
        """Seconds: all apps of a failed endpoint come back together."""
        now = self._clock()
        if self._endpoint_due <= now:
            self._endpoint_due = now + self._backoff.failed(ENDPOINT)
        return self._endpoint_due - now

    def _conclude(self, case: Case, began: float) -> AppReport:
        app, key = case.wanted.app, self.provider.key
        owned = None
        if case.observed is not None:
            try:
                confirmed = self.provider.confirm(case.wanted, case.observed, case.applied.done)
                confirmed = trash.noted(case.base, confirmed, case.record.deletion)
                owned = confirmed if confirmed != case.base else None
            except Exception as fault:  # as in _wanted
                case.error = case.error or surprised(self.provider.key, app, fault)
        outcome = self._outcome(case)
        before = after = case.record
        if case.acted and case.proof is not None and case.proof.ok:
            after = replace(after, mark=case.wanted.applied)
        if case.password_lost:
            generation = before.mark.generation if before.mark is not None else 1
            after = replace(after, mark=CredentialMark(LOST, generation))  # the next round sets it
        if isinstance(outcome, Converged) and after.desired_digest != case.digest:
            after = replace(after, desired_digest=case.digest)
        if isinstance(outcome, Converged) and key in case.entry.app.sections:
            # The last word while the spec still asks for it: absence says nothing.
            deletion = case.entry.app.deletion.get(key, Deletion.RETAIN)
            after = replace(after, deletion=deletion) if deletion != after.deletion else after
        return AppReport(
            app,
            key,
            case.entry,
            case.base,
            case.record,
            outcome,
            began,
            owned,
            after if after != before else None,
            case.applied.steps,
            case.applied.done,
            case.other_password(key),
            case.acted,
            case.verification,
            case.shown,
            self._came_to_rest(app, outcome),
        )

    def _came_to_rest(self, app: AppName, outcome: Outcome) -> bool:
        """What is not at rest moves nobody: two that fail would drive each other on, past their
        backoff. A removal that waits for its date is all that is left to do."""
        if not isinstance(outcome, Converged) and not (
            isinstance(outcome, RequeueAfter) and outcome.reason in {PENDING, HELD}
        ):
            return False
        moved = app in self._moving
        self._moving.discard(app)
        return moved

    def _outcome(self, case: Case) -> Outcome:
        app = case.wanted.app
        if case.error is not None:
            shared = case.endpoint or isinstance(case.error, Unavailable)
            return Failed(
                case.error, self._endpoint_wait() if shared else self._backoff.failed(app)
            )
        if case.waits is not None:
            return case.waits
        if (problem := case.plan.blocked) is not None:
            return Blocked(with_digest(app, self.provider.key, problem))
        if case.plan.actions:
            return RequeueAfter(
                self._backoff.failed(app), UNSEEN, "written, and not yet seen whole"
            )
        if case.behind:
            text = f"{', '.join(case.behind)}: another app's access goes first"
            return RequeueAfter(self._backoff.failed(app), BEHIND, text)
        self._backoff.succeeded(app)
        self._told.pop(app, None)
        if case.password_lost:
            return RequeueAfter(0.0, REPAIR, "its password was changed; it is set again")
        if case.deferred:
            return self._deferral(case)
        return Converged(tuple(p for p in case.plan.problems if p.severity is Severity.WARNING))

    def _deferral(self, case: Case) -> RequeueAfter:
        wait = case.entry.removals_from - self._clock()
        if wait == NEVER:
            return RequeueAfter(60.0, HELD, "its removal is held: norn status says why")
        return RequeueAfter(max(wait, 0.0), PENDING, "access is revoked", dated=True)


def _acts(case: Case) -> bool:
    return case.error is None and bool(case.plan.actions)


def _rests(case: Case) -> bool:
    return case.error is None and case.waits is None and not case.plan.actions
