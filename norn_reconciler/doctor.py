"""What `norn health` and `norn doctor` show: whether all answers, and what would break later."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from norn_reconciler import checks
from norn_reconciler.compose import instance, open_providers, open_store
from norn_reconciler.engine.case import OLDER
from norn_reconciler.engine.recovery import counted
from norn_reconciler.engine.retrace import in_scope
from norn_reconciler.model.errors import NornError, ServiceError
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.oneshot import read
from norn_reconciler.providers import REGISTRY
from norn_reconciler.providers.absent import AbsentProvider
from norn_reconciler.settings import Settings
from norn_reconciler.snapshotting import missing_client
from norn_reconciler.store.views import AppHealth


async def health(settings: Settings) -> list[Health]:
    """One line a service that some setting names. Raises NornError when none does."""
    async with open_providers(settings, instance(settings)) as providers:
        if not (named := _named(providers)):
            which = ", ".join(r.setting for r in REGISTRY.values())
            raise NornError(f"no service is configured, so there is nothing to ask: set {which}")
        return list(await asyncio.gather(*(p.check() for p in named)))


async def app_health(settings: Settings) -> Sequence[AppHealth]:
    """The last probe of each app on each service, as norn_db has it."""
    async with open_store(settings, "cli") as store:
        return await store.app_health()


def _named(providers: Mapping[str, AnyProvider]) -> list[AnyProvider]:
    return [p for p in providers.values() if not isinstance(p, AbsentProvider)]


async def diagnose(settings: Settings) -> list[Health]:
    """What `norn doctor` shows: norn's own files and records first, then each service."""
    norn_db, files = await checks.norn_db(settings), checks.files(settings)
    async with open_providers(settings, instance(settings)) as providers:
        services = await asyncio.gather(*(_diagnosed(p) for p in _named(providers)))
        if norn_db.ok and not any(f.severity is Severity.BLOCKING for f in norn_db.findings):
            findings = (*norn_db.findings, *await _unrecorded(settings, providers))
            norn_db = replace(norn_db, findings=findings)
    return [norn_db, files, *services]


async def _diagnosed(provider: AnyProvider) -> Health:
    found = await provider.diagnose()
    missing = await missing_client(provider) if found.ok else None
    return replace(found, findings=(*found.findings, missing)) if missing else found


async def _unrecorded(
    settings: Settings, providers: Mapping[str, AnyProvider]
) -> Sequence[Problem]:
    """Of what files ask for: what bears norn's mark and norn_db knows nothing of, and what the
    lanes found to be ahead of it."""
    book = (await read(settings, providers)).book
    apps = {
        r.app
        for r in book.records.values()
        if any(c.reason == OLDER for c in r.conditions.values())
    }
    for key, provider in providers.items():
        try:
            marked = await provider.marked()
        except ServiceError:
            continue  # it says so itself
        apps |= {a for a in in_scope(book.entries, ()) if a in marked and not book.owned(key, a)}
    if not apps:
        return ()
    text = (
        f"norn_db knows less than the servers of {counted(apps)} "
        f"({', '.join(sorted(apps)[:5])}{', …' if len(apps) > 5 else ''}): it is empty, or an "
        "older one was put back"
    )
    remedy = "norn recover: it shows each step first, and drops nothing"
    return [Problem(Severity.BLOCKING, OLDER, text, remedy)]
