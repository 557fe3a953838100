"""What a round would do, without doing it: the same path as the lanes', ended before the claim."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from norn_reconciler.engine.case import with_digest
from norn_reconciler.engine.digest import short
from norn_reconciler.engine.guard import Hold, loss_digest
from norn_reconciler.engine.ledger import Ledger, wanted_of
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.plan import Action, Effect, Plan
from norn_reconciler.model.ports import AnyProvider

# Why an action waits.
GRACE, HELD, PAUSED, HANDOVER = "grace", "held", "paused", "handover"


@dataclass(frozen=True, slots=True)
class Planned:
    """One action of a preview. waits: GRACE (a writer does it after the grace), HELD (not before a
    person confirms), PAUSED (not before a person resumes the app), HANDOVER (as soon as the app
    that had it can't use it any more), or "": it would be done now."""

    app: AppName
    service: str
    action: Action
    waits: str


@dataclass(frozen=True, slots=True)
class Preview:
    """plans: app → service → plan; their problems say what to type. faults: what could not be
    looked at. hold: why no removal may run. paused: apps that are left alone."""

    plans: Mapping[AppName, Mapping[str, Plan[Action]]]
    faults: Mapping[AppName, Mapping[str, ServiceError]]
    hold: Hold | None = None
    paused: frozenset[AppName] = frozenset()

    @property
    def actions(self) -> Iterator[Planned]:
        for app, by in self.plans.items():
            for service, plan in by.items():
                for action in plan.actions:
                    yield Planned(app, service, action, self._waits(app, action))

    def _waits(self, app: AppName, action: Action) -> str:
        if app in self.paused:
            return PAUSED
        if action.effect is Effect.HANDOVER:
            return HANDOVER
        if action.effect is not Effect.REMOVAL:
            return ""
        return GRACE if self.hold is None else HELD

    @property
    def changes(self) -> int:
        """How many actions a writer would do by itself."""
        return sum(planned.waits not in {HELD, PAUSED} for planned in self.actions)

    @property
    def held(self) -> bool:
        """Whether the hold stops something of these apps."""
        return self.hold is not None and (
            any(app in self.plans for app in self.hold.apps)
            or any(planned.waits == HELD for planned in self.actions)
        )

    @property
    def blocked(self) -> bool:
        """Whether a person must act before all of these apps can be as they should."""
        return any(p.blocked is not None for by in self.plans.values() for p in by.values())

    @property
    def digest(self) -> str:
        """Of every change, in order: equal digests, equal plans."""
        return short(
            {
                app: {s: [a.summary() for a in plan.actions] for s, plan in by.items()}
                for app, by in self.plans.items()
            }
        )

    def waits_for(self, digest: str) -> bool:
        """Whether `norn confirm digest` would be about something."""
        if self.hold is not None and self.hold.digest == digest:
            return True
        return any(
            problem.object is not None and loss_digest(app, service, problem) == digest
            for app, by in self.plans.items()
            for service, plan in by.items()
            for problem in plan.problems
        )


async def preview(
    providers: Mapping[str, AnyProvider],
    ledger: Ledger,
    apps: Sequence[AppName],
    hold: Hold | None = None,
) -> Preview:
    """Plan `apps` on every service. Reads only; graces and holds are not waited for."""
    plans: dict[AppName, dict[str, Plan[Action]]] = {app: {} for app in apps}
    faults: dict[AppName, dict[str, ServiceError]] = {}

    async def one(provider: AnyProvider) -> None:
        wanted = {app: w for app in apps if (w := wanted_of(provider, ledger, app)) is not None}
        if not wanted:
            return
        try:
            seen = await provider.observe(wanted)
        except ServiceError as fault:
            seen = dict.fromkeys(wanted, fault)
        for app, want in wanted.items():
            found = seen[app]
            try:
                if isinstance(found, ServiceError):
                    raise found
                plan = provider.plan(want, found)
            except ServiceError as fault:
                faults.setdefault(app, {})[provider.key] = fault
            else:
                told = tuple(with_digest(app, provider.key, p) for p in plan.problems)
                plans[app][provider.key] = replace(plan, problems=told)

    await asyncio.gather(*(one(provider) for provider in providers.values()))
    paused = {a for a in apps if (entry := ledger.entry(a)) is not None and entry.record.paused}
    return Preview(plans, faults, hold, frozenset(paused))
