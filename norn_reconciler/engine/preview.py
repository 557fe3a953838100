"""What a round would do, without doing it: the same path as the lanes', ended before the claim."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from norn_reconciler.engine.digest import short
from norn_reconciler.engine.ledger import Ledger, wanted_of
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.plan import Action, Plan
from norn_reconciler.model.ports import AnyProvider


@dataclass(frozen=True, slots=True)
class Preview:
    """plans: app → service → plan. faults: what could not be looked at."""

    plans: Mapping[AppName, Mapping[str, Plan[Action]]]
    faults: Mapping[AppName, Mapping[str, ServiceError]]

    @property
    def changes(self) -> int:
        return sum(len(p.actions) for by in self.plans.values() for p in by.values())

    @property
    def digest(self) -> str:
        """Of every change, in order: equal digests, equal plans."""
        return short(
            {
                app: {s: [a.summary() for a in plan.actions] for s, plan in by.items()}
                for app, by in self.plans.items()
            }
        )


async def preview(
    providers: Mapping[str, AnyProvider], ledger: Ledger, apps: Sequence[AppName]
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
                plans[app][provider.key] = provider.plan(want, found)
            except ServiceError as fault:
                faults.setdefault(app, {})[provider.key] = fault

    await asyncio.gather(*(one(provider) for provider in providers.values()))
    return Preview(plans, faults)
