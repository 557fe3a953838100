"""What one command does from beginning to end: plan, apply, env, adopt, health, doctor, upgrade.
The daemon's parts, without its lifetimes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from norn_reconciler import checks
from norn_reconciler.compose import (
    KINDS,
    EnvFiles,
    Parts,
    instance,
    key_file,
    open_providers,
    open_store,
    parts,
    secrets_of,
    store_of,
    upgraded,
    variables_of,
)
from norn_reconciler.credentials import deliver
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.guard import Limits, Removals
from norn_reconciler.engine.operations import Adoption, Operations, adoption
from norn_reconciler.engine.preview import Preview, preview
from norn_reconciler.engine.roster import accept, confirmed
from norn_reconciler.engine.status import READY
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError, SchemaMismatch
from norn_reconciler.model.fleet import Fleet
from norn_reconciler.model.outcome import Converged, Health
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import AppState, Snapshot
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.absent import AbsentProvider
from norn_reconciler.settings import Settings
from norn_reconciler.spec.findings import Finding
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store import lease as leases
from norn_reconciler.store import schema
from norn_reconciler.store.store import PostgresStore
from norn_reconciler.store.views import AppHealth

WHOLE = 1000  # apps written at once by a one-shot run: nobody's file waits behind them


def upgrade(settings: Settings) -> tuple[str | None, str]:
    """norn_db's revision before and after."""
    url = Secret(settings.database_url.get_secret_value())
    before = schema.current(url, request_timeout=settings.request_timeout_seconds)
    return before, schema.upgrade(url, request_timeout=settings.request_timeout_seconds)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a command that writes nothing has read: norn_db as it is, and the folder."""

    book: Book
    fleet: Fleet
    keyed: bool


async def read(settings: Settings, providers: Mapping[str, AnyProvider]) -> Reading:
    """As the daemon would see it now; nothing is written, no key is made. An empty norn_db (or
    none of its tables) reads as one that knows nothing."""
    specs = Specs(settings)
    specs.glance()
    store = store_of(settings, f"{instance(settings)}-cli-{os.getpid()}")
    try:
        snapshot = await store.snapshot()
    except SchemaMismatch:
        snapshot = Snapshot()
    finally:
        await store.close()
    secrets, fingerprint = secrets_of(settings, snapshot.key_fingerprint, create=False)
    book = Book(store, secrets, EnvFiles(settings, providers), KINDS)
    book.load(snapshot, 0)
    specs.learn(snapshot.apps)
    fleet = await _settled(specs, book)
    active = sum(1 for r in snapshot.apps.values() if r.state is AppState.ACTIVE)
    agreed = confirmed(snapshot.apps)
    hold = Removals(_limits(settings)).judge(fleet.vanished, agreed, active, fleet.folder, 0.0)
    accepted = accept(book.entries, book.records, fleet, hold, 0.0, 0.0)
    book.entries = dict(accepted.entries)
    return Reading(book, fleet, bool(fingerprint))


async def _settled(specs: Specs, book: Book) -> Fleet:
    """Look until no file is settling any more: what a one-shot command goes by."""
    fleet = specs.look(book.records, book.inventory())
    for _ in range(20):
        wait = specs.next_look()
        if wait is None:
            break
        await asyncio.sleep(wait)
        fleet = specs.look(book.records, book.inventory())
    return fleet


def _limits(settings: Settings) -> Limits:
    return Limits(settings.removal_max_apps, settings.removal_max_percent)


async def plan(settings: Settings, apps: Sequence[AppName]) -> Preview:
    """What would change. Raises NornError for an app that no file asks for."""
    async with open_providers(settings, instance(settings)) as providers:
        reading = await read(settings, providers)
        return await preview(providers, reading.book, _chosen(reading.book, apps))


def _chosen(book: Book, apps: Sequence[AppName]) -> list[AppName]:
    unknown = [a for a in apps if a not in book.entries]
    if unknown:
        raise NornError(f"no file asks for {', '.join(unknown)}")
    return sorted(apps or book.entries)


async def variables(settings: Settings, app: AppName, *, reveal: bool) -> Mapping[str, str]:
    """What the app is told. Without `reveal` each variable that carries a secret is masked."""
    async with open_providers(settings, instance(settings)) as providers:
        reading = await read(settings, providers)
        entry = reading.book.entries.get(app)
        if entry is None:
            raise NornError(f"no file asks for {app}")
        if reveal and not reading.keyed:
            raise NornError(f"there is no master key yet ({key_file(settings)}): norn run makes it")
        clear = variables_of(entry.app, providers, reading.book)
        secrets = [reading.book.credential(app, k).password for k in entry.app.sections]
    return clear if reveal else deliver.mask(clear, secrets)


async def look_for_adoption(settings: Settings, app: AppName) -> Adoption:
    """What `norn adopt` shows before it asks."""
    async with open_providers(settings, instance(settings)) as providers:
        reading = await read(settings, providers)
        if app not in reading.book.entries:
            raise NornError(f"no file asks for {app}: write its spec first, then adopt")
        return await adoption(app, providers, reading.book)


@dataclass(frozen=True, slots=True)
class Applied:
    """A one-shot run's end. apps: (name, ready, why not). held: the guard's word, or ""."""

    apps: Sequence[tuple[AppName, bool, str]]
    changes: int
    held: str
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        errors = any(f.severity == "error" for f in self.findings)
        return all(ready for _, ready, _ in self.apps) and not self.held and not errors


async def apply(
    settings: Settings, specs: Specs, apps: Sequence[AppName], *, wait: bool
) -> Applied:
    """Converge once, under the lease. specs: glanced at already, so that what settles does so
    meanwhile. Raises LeaseHeld while a daemon has it (unless `wait`)."""
    name = f"{instance(settings)}-apply"
    store = store_of(settings, name)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        providers = await stack.enter_async_context(open_providers(settings, name))
        await stack.enter_async_context(_connecting(providers))
        await upgraded(settings, store)
        lease, fence = await leases.acquire(store, settings.lease_seconds, wait=wait)
        stack.push_async_callback(leases.release, store, lease, fence)
        keeper = asyncio.create_task(leases.keep(store, lease, fence, lambda lost: None))
        stack.callback(keeper.cancel)
        work = await parts(settings, providers, store, lease.epoch, fence, specs, WHOLE)
        return await _apply(work, store, apps)


@asynccontextmanager
async def _connecting(providers: Mapping[str, AnyProvider]) -> AsyncIterator[None]:
    """Log in to the services while norn_db and the specs are read."""
    tasks = [asyncio.create_task(p.connect()) for p in providers.values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _apply(work: Parts, store: PostgresStore, apps: Sequence[AppName]) -> Applied:
    engine, book = work.engine, work.book
    operations = Operations(engine, store)
    await engine.accept(await _settled(work.specs, book))
    chosen = _chosen(book, apps)
    if await operations.work():
        await engine.accept(await _settled(work.specs, book))
    await engine.settle(chosen)
    if work.specs.outdated(book.inventory()):
        # Made just now, and shared: its readers get it in the same run.
        await engine.accept(await _settled(work.specs, book))
        await engine.settle(chosen)
    # What a person asked for while nobody was there may need a look at every service first.
    if await operations.work():
        await engine.accept(await _settled(work.specs, book))
        await engine.settle(chosen)
        await operations.work()
    if (wait := engine.removals_due_in()) is not None and not apps:
        # A file that is back after the grace takes its removal back: look before, not after.
        await asyncio.sleep(wait)
        await engine.accept(await _settled(work.specs, book))
        await engine.settle(sorted(book.entries))
    results = [_result(book, app) for app in chosen]
    held = (
        ""
        if engine.hold is None or apps
        else f"{engine.hold.message}: norn confirm {engine.hold.digest}, or bring the files back"
    )
    return Applied(results, book.actions, held, work.specs.findings)


def _result(book: Book, app: AppName) -> tuple[AppName, bool, str]:
    """Judged by what this run saw, not by what norn_db said before it."""
    record, entry = book.records[app], book.entries[app]
    if record.state is AppState.REMOVED:
        return (app, True, "")
    if record.paused:
        return (app, True, "paused")
    if book.unwritten:
        return (app, False, "norn_db did not take the record")
    heard = {k: book.current(k, app) for k in book.concerned(entry)}
    silent = sorted(k for k, h in heard.items() if h is None)
    if silent:
        return (app, False, f"{', '.join(silent)} was not looked at")
    ready = record.conditions.get(READY)
    words = (ready.message or ready.reason) if ready else "not all services were looked at"
    good = all(h is not None and isinstance(h.outcome, Converged) for h in heard.values())
    if entry.leaving:
        return (app, good, "" if good else words)
    return (app, good and ready is not None and ready.status == "True", words)


async def health(settings: Settings) -> list[Health]:
    """One line a service that some setting names."""
    async with open_providers(settings, instance(settings)) as providers:
        return list(await asyncio.gather(*(p.check() for p in _named(providers))))


async def app_health(settings: Settings) -> Sequence[AppHealth]:
    """The last probe of each app on each service, as norn_db has it."""
    async with open_store(settings, "cli") as store:
        return await store.app_health()


def _named(providers: Mapping[str, AnyProvider]) -> list[AnyProvider]:
    return [p for p in providers.values() if not isinstance(p, AbsentProvider)]


async def diagnose(settings: Settings) -> list[Health]:
    """What `norn doctor` shows: norn's own files and records first, then each service."""
    key = key_file(settings)
    own = [await checks.norn_db(settings, key), checks.files(settings)]
    async with open_providers(settings, instance(settings)) as providers:
        services = await asyncio.gather(*(p.diagnose() for p in _named(providers)))
    return [*own, *services]
