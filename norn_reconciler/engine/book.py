"""The aggregator: one place where outcomes become conditions, events, rollouts and rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.engine import status
from norn_reconciler.engine.draft import Delivery, Draft, Heard, Talk
from norn_reconciler.engine.isolation import Isolation
from norn_reconciler.engine.ledger import AppReport
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.rollout import Rollout
from norn_reconciler.engine.roster import Entry, same_wish
from norn_reconciler.engine.telling import (
    equal,
    error_of,
    log_event,
    problems,
    retained,
    tell_end,
    unheard,
)
from norn_reconciler.model import trash
from norn_reconciler.model.app import App, AppName, Deletion
from norn_reconciler.model.errors import LeaseLost, NornError, StoreUnavailable
from norn_reconciler.model.inventory import Held, ObjectKey
from norn_reconciler.model.outcome import (
    Converged,
    RequeueAfter,
)
from norn_reconciler.model.ports import SecretSource
from norn_reconciler.model.records import (
    AppRecord,
    AppState,
    ForgeState,
    Snapshot,
    Store,
)
from norn_reconciler.model.secret import DUE
from norn_reconciler.model.status import Condition, Event

UNSAID = 1000  # events kept while norn_db is away


class Book(Mirror):
    """Implements the lanes' Ledger. kinds: service key → condition type. migrates: norn runs
    migrations."""

    def __init__(
        self,
        store: Store,
        secrets: SecretSource,
        delivery: Delivery,
        kinds: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        *,
        migrates: bool = False,
    ) -> None:
        super().__init__(store, secrets, frozenset(kinds))
        self._migrates = migrates
        self._delivery = delivery
        self._kinds = kinds
        self._clock = clock
        self._talk = Talk()
        self._unsaid: list[Event] = []
        self.actions = 0  # acknowledged by servers, so far
        self.unwritten = False  # the last report did not reach norn_db
        self._owed: dict[tuple[str, AppName], AppReport] = {}  # not taken while it was away
        self.owing = asyncio.Event()  # set while there are some
        self.heard: dict[tuple[str, AppName], Heard] = {}
        self._isolation = Isolation(self, delivery, kinds)

    def load(self, snapshot: Snapshot, epoch: int) -> None:
        super().load(snapshot, epoch)
        self._isolation.learn(snapshot)

    def begin(self, app: AppName) -> None:
        """Its spec moved, or a person asked: a rollout starts, all its services unheard."""
        entry = self.entries[app]
        self._talk.rollouts[app] = self._new_rollout(entry, self.concerned(entry))

    def _new_rollout(self, entry: Entry, waiting: frozenset[str]) -> Rollout:
        generation = entry.record.generation
        return Rollout(entry.app.name, datetime.now(UTC), self._clock(), waiting, generation)

    def withdraw(self, app: AppName) -> None:
        """Take its variables away. Raises OSError or NornError when that can't be done."""
        self._delivery.withdraw(app)

    def current(self, service: str, app: AppName) -> Heard | None:
        """The last report, if it is about what is wanted now."""
        heard, entry = self.heard.get((service, app)), self.entries.get(app)
        return heard if heard and entry and same_wish(heard.entry, entry) else None

    def neighbours(self, service: str, also: Collection[AppName]) -> Mapping[AppName, App]:
        kind = self._kinds[service]

        def there(entry: Entry) -> bool:
            shown = entry.record.conditions.get(kind)
            return shown is not None and shown.status == status.TRUE

        return {
            name: entry.app
            for name, entry in sorted(self.entries.items())
            if service in entry.app.sections
            and entry.provisioned
            and (name in also or there(entry))
        }

    async def claim(
        self,
        service: str,
        rows: Mapping[AppName, Mapping[ObjectKey, Held]],
        events: Sequence[Event],
    ) -> None:
        await super().claim(service, rows, events)
        for event in events:
            log_event(event)

    async def settle_idle(self, apps: Collection[AppName]) -> None:
        """Apps with nothing on any service get their word at once: no lane will speak of them.
        Call it with `turn` held."""
        draft = Draft(self._talk.copy())
        now = datetime.now(UTC)
        for app in apps:
            entry = self.entries[app]
            if self.concerned(entry):
                continue
            draft.talk.rollouts.pop(app, None)
            kinds = set(self._kinds.values())
            conditions = {k: c for k, c in entry.record.conditions.items() if k not in kinds}
            conditions.pop(status.ISOLATION, None)
            self._sum_up(entry, conditions, set(), True, draft, now)
            after = replace(
                entry.record, conditions=conditions, observed_generation=entry.record.generation
            )
            if not equal(after, entry.record):
                draft.apps[app] = after
            if entry.leaving:
                self._remove(entry, after, draft)
        await self.write(draft.changes())
        self._talk = draft.talk

    async def report(self, reports: Sequence[AppReport]) -> None:
        """Take one round's reports. norn_db away: the last of each app is kept, to be taken anew
        with the next ones (with none, to ask again); the story is kept, and nothing else moves."""
        async with self.turn:
            draft = Draft(self._talk.copy())
            self.actions += sum(len(report.done) for report in reports)
            owed, self._owed = self._owed | {(r.service, r.app): r for r in reports}, {}
            for report in owed.values():
                self._take(report, draft)
            self._finish(draft, {app for _, app in owed})
            news = [event for event in draft.events if event not in self._unsaid]
            draft.events = [*self._unsaid, *news]
            try:
                await self.write(draft.changes())
            except LeaseLost as lost:
                self.unwritten = True
                logs.get().error(logs.LEASE_LOST, error=str(lost))
            except NornError as away:
                self.unwritten = True
                if isinstance(away, StoreUnavailable):  # what it refuses, it refuses for ever
                    self._owed = owed
                self._talk.verified = draft.talk.verified  # seen, whatever norn_db took
                self._unsaid = draft.events[-UNSAID:]
                if reports:
                    logs.get().warning(logs.STORE_LOST, error=str(away))
            else:
                self.unwritten = False
                self._unsaid = []
                self._talk = draft.talk
                for rollout, record, ok in draft.ended:
                    tell_end(rollout, record, ok, self._clock() - rollout.began)
            if self._owed:
                self.owing.set()
            else:
                self.owing.clear()
            for event in news:
                log_event(event)

    def _take(self, report: AppReport, draft: Draft) -> None:
        app, key = report.app, (report.service, report.app)
        entry = self.entries.get(app)
        if entry is None:
            return
        if report.base == self.owned(*key):
            # Otherwise somebody adopted or gave up something meanwhile: look again first.
            if report.owned is not None:
                draft.events += retained(report)
                draft.inventory[key] = report.owned
            # Otherwise another password is wanted meanwhile, or was found: look again first.
            if report.record is not None and report.known == self.service(*key):
                draft.services[key] = report.record
        draft.events += report.events
        self.heard[key] = Heard(report.entry, report.outcome, report.began)
        # What logging in showed is about what this service was asked for; the lane will not try
        # the same again soon.
        self._isolation.note(report, draft)
        if not same_wish(report.entry, entry):
            return  # about what was wanted before; the lane looks again
        if self._said(entry, report, draft):
            return
        draft.events += problems(entry, report, self._kinds[report.service], draft.talk.told)
        self._condition(entry, report, draft)
        rollout = draft.talk.rollouts.get(app)
        if rollout is None and report.acted:
            rollout = self._new_rollout(entry, frozenset({report.service}))
        if rollout is not None:
            draft.talk.rollouts[app] = rollout.heard(
                report.service,
                report.steps,
                [a.summary() for a in report.done],
                error_of(report.outcome),
                final=not isinstance(report.outcome, RequeueAfter),
            )

    def _said(self, entry: Entry, report: AppReport, draft: Draft) -> bool:
        """Whether norn_db has all of it already: most reports, in a fleet at rest. One service an
        app goes the whole way each time, since a file that somebody took away is to be put back."""
        app, record, talk = report.app, entry.record, draft.talk
        shown = record.conditions.get(self._kinds[report.service])
        total = record.conditions.get(status.READY)
        return (
            report.outcome == Converged()
            and not report.acted
            and report.verification is None
            and not entry.leaving
            and not entry.held
            and not entry.member.rejected
            and status.SPEC not in record.conditions
            and report.service != min(self.concerned(entry), default=None)
            and app not in draft.apps
            and app not in talk.rollouts
            and (report.service, app) not in talk.told
            and talk.spoken.get((report.service, app)) == record.generation
            and record.observed_generation == record.generation
            and shown is not None
            and (shown.status, shown.reason, shown.message) == (status.TRUE, "Converged", "")
            and total is not None
            and (total.status, total.reason) == (status.TRUE, "Converged")
        )

    def _condition(self, entry: Entry, report: AppReport, draft: Draft) -> None:
        now = datetime.now(UTC)
        app = report.app
        record = draft.apps.get(app, entry.record)
        declared = {self._kinds[k] for k in entry.app.sections if k in self._kinds}
        kind = self._kinds[report.service]
        keep = declared | {status.READY, status.SPEC, status.MIGRATION, status.ISOLATION}
        held = [draft.inventory.get((k, app), self.owned(k, app)) for k in self._kinds]
        if any(trash.going(owned) for owned in held):
            keep |= {trash.CONDITION}
        # A removal under way is shown until its own service says that it is done.
        under_way = {self._kinds[k] for k in self.concerned(entry)} - {kind}
        keep |= {t for t in under_way if status.bad(record.conditions.get(t))}
        if not isinstance(report.outcome, Converged):
            keep |= {kind}
        news = {kind: status.condition(kind, report.outcome, now)}
        conditions = dict(status.merged(record.conditions, news, keep))
        torn = conditions.get(trash.CONDITION)
        if torn is not None and torn.reason == trash.IN_TRASH and (text := trash.told(held)):
            conditions[trash.CONDITION] = replace(torn, message=text)
        self._isolation.show(entry, conditions, report.verification is not None, draft)
        if not unheard(report.outcome):
            draft.talk.spoken[report.service, app] = record.generation
        # After a restart nobody has spoken yet, and nothing has moved either.
        heard = record.observed_generation == record.generation or all(
            draft.talk.spoken.get((k, app)) == record.generation for k in self.concerned(entry)
        )
        concerned = self.concerned(entry)
        # A file that somebody took away is put back by each round, of one lane only.
        checks = report.acted or not concerned or report.service == min(concerned)
        self._sum_up(entry, conditions, declared, heard, draft, now, checks)
        observed = record.generation if heard else record.observed_generation
        after = replace(record, conditions=conditions, observed_generation=observed)
        if equal(after, entry.record):
            draft.apps.pop(app, None)
        else:
            draft.apps[app] = after

    def _sum_up(
        self,
        entry: Entry,
        conditions: dict[str, Condition],
        declared: set[str],
        heard: bool,
        draft: Draft,
        now: datetime,
        checks: bool = True,
    ) -> None:
        """Put Ready (and what is always shown) into `conditions`; deliver when all are True.
        checks: whether an app that was Ready has its file looked at."""
        app = entry.app.name
        services = {c for c in self._kinds.values() if c in conditions}
        if entry.leaving:
            total = status.removed({c: conditions[c] for c in services}, entry.held, now)
        else:
            # What the spec no longer asks for counts as long as its access is not revoked: till
            # then the app keeps the variables that it has.
            needed = declared | services
            if declared and entry.provisioned:
                needed |= {status.ISOLATION}
            total = status.ready(conditions, needed, now, heard=heard, held=entry.held)
        was = conditions.get(status.READY)
        looks = checks or was is None or was.status != status.TRUE
        looks = looks and total.status == status.TRUE and not self._rotating(entry, draft)
        if looks and self._isolation.untried(entry, draft):
            text = "its passwords are tried before its env file changes"
            total = Condition(status.READY, status.FALSE, "Progressing", text, now)
        elif looks:
            try:
                if self._delivery.deliver(entry.app, self):
                    text = "env file written"
                    draft.events.append(Event(logs.CREDENTIALS_DELIVERED, "info", app, text))
            except (OSError, NornError) as fault:
                total = Condition(
                    status.READY, status.FALSE, "NotDelivered", f"env file: {fault}", now
                )
        conditions[status.READY] = total.with_transition(conditions.get(status.READY))
        migrated = self.migrated.get(app)
        told = status.asides(entry.member, now, migrated, allowed=self._migrates)
        for kind, aside in told.items():
            before = conditions.pop(kind, None)
            if aside is not None:
                conditions[kind] = aside.with_transition(before)

    def _rotating(self, entry: Entry, draft: Draft) -> bool:
        """Whether some server has not got its new password yet: the file still has the old ones."""
        app = entry.app.name
        rows = (draft.services.get((k, app), self.service(k, app)) for k in entry.app.sections)
        return any(row.mark is not None and row.mark.fingerprint == DUE for row in rows)

    def verified(self, app: AppName) -> bool:
        """Not where the app was delivered something else than norn_db says: norn_db may be older
        than the servers, and what it says is tried before it is believed."""
        return super().verified(app) and self._isolation.agrees(app)

    def _finish(self, draft: Draft, apps: Collection[AppName]) -> None:
        now = datetime.now(UTC)
        for app in sorted(apps):
            entry = self.entries.get(app)
            if entry is None:
                continue
            record = draft.apps.get(app, entry.record)
            rollout = draft.talk.rollouts.get(app)
            if rollout is not None:
                self._advance(rollout, entry, record, draft, now)
            if entry.leaving and self._gone(entry):
                self._remove(entry, record, draft, rollout)

    def _advance(
        self, rollout: Rollout, entry: Entry, record: AppRecord, draft: Draft, now: datetime
    ) -> None:
        app = entry.app.name
        total = record.conditions.get(status.READY)
        ok = rollout.error is None and (
            entry.leaving or (total is not None and total.status == status.TRUE)
        )
        if rollout.acted:
            resources = self._resources(app, draft)
            draft.deployments.append(rollout.deployment(now, ok))
            draft.forge_states.append(rollout.forge_state(now, ok, entry.leaving, resources))
        if rollout.over:
            del draft.talk.rollouts[app]
            if not ok or (rollout.acted and not entry.leaving):
                draft.ended.append((rollout, record, ok))

    def _gone(self, entry: Entry) -> bool:
        """Every service that has something of it says that access is revoked."""
        found = [self.current(k, entry.app.name) for k in self.concerned(entry)]
        return all(heard is not None and isinstance(heard.outcome, Converged) for heard in found)

    def _remove(
        self, entry: Entry, record: AppRecord, draft: Draft, rollout: Rollout | None = None
    ) -> None:
        """It is known only by what it left. rollout: what was done to get there."""
        app = entry.app.name
        if record.state is AppState.REMOVED:
            return
        try:
            self._delivery.withdraw(app)
        except (OSError, NornError) as fault:
            text = f"env file of {app}, which is removed, can't be deleted: {fault}"
            draft.events.append(Event(logs.PROBLEM_FOUND, "error", app, text))
            return  # tried again with the next look
        draft.apps[app] = replace(record, state=AppState.REMOVED)
        if all(told.app != app for told in draft.forge_states):
            # Whoever took it away was ended before it could say so.
            now = datetime.now(UTC)
            left = self._resources(app, draft)
            draft.forge_states.append(ForgeState(app, "unforged", (), left, None, now, now))
        kept = all(self.service(k, app).deletion is Deletion.RETAIN for k in self.held_on(app))
        data = "the data stays" if kept else "the data go by its deletionPolicy"
        text = f"access is revoked on every service, {data}"
        fields: dict[str, object] = {}
        if rollout is not None:
            took = round((self._clock() - rollout.began) * 1000)
            fields = {"changes": rollout.changes, "duration_ms": took}
        draft.events.append(Event(logs.APP_REMOVED, "info", app, text, fields))

    def _resources(self, app: AppName, draft: Draft) -> Mapping[str, object]:
        """What the app has, per service: names and states, no secret."""
        rows = {k: draft.inventory.get((k, app), self.owned(k, app)) for k in self._kinds}
        return {
            service: [
                {"kind": h.kind, "name": h.name, "state": h.state.value} for h in owned.values()
            ]
            for service, owned in rows.items()
            if owned
        }
