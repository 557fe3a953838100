"""What one command does from beginning to end: plan, apply, env, adopt, upgrade. The daemon's
parts, without its lifetimes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from norn_reconciler.compose import (
    KINDS,
    EnvFiles,
    Parts,
    instance,
    limits_of,
    open_providers,
    parts,
    store_of,
    upgraded,
    variables_of,
)
from norn_reconciler.credentials import deliver
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.explain import Fate, ends, weighed
from norn_reconciler.engine.guard import Hold, Removals
from norn_reconciler.engine.operations import Adoption, Operations, adoption, words
from norn_reconciler.engine.preview import Preview, preview
from norn_reconciler.engine.roster import accept, confirmed
from norn_reconciler.engine.status import READY
from norn_reconciler.key_at_hand import key_file, secrets_of
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError, SchemaMissing
from norn_reconciler.model.fleet import Fleet
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.moves import carried_out
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import AppRecord, AppState, Generation, Lease, Snapshot
from norn_reconciler.model.secret import Secret
from norn_reconciler.settings import Settings
from norn_reconciler.spec.findings import Finding
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store import lease as leases
from norn_reconciler.store import schema
from norn_reconciler.store.fence import LeaseFence
from norn_reconciler.store.store import PostgresStore

WHOLE = 1000  # apps written at once by a one-shot run: nobody's file waits behind them


def upgrade(settings: Settings) -> tuple[str | None, str]:
    """norn_db's revision before and after."""
    url = Secret(settings.database_url.get_secret_value())
    before = schema.current(url, request_timeout=settings.request_timeout_seconds)
    return before, schema.upgrade(url, request_timeout=settings.request_timeout_seconds)


async def ready(settings: Settings) -> None:
    """norn_db has its tables: one that was made anew has none yet."""
    store = store_of(settings, f"{instance(settings)}-cli-{os.getpid()}")
    try:
        await upgraded(settings, store)
    finally:
        await store.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a command that writes nothing has read: norn_db as it is, and the folder. doomed: the
    word on data that wait for a person before they go."""

    book: Book
    fleet: Fleet
    hold: Hold | None
    findings: Sequence[Finding]
    keyed: bool
    doomed: str


async def read(
    settings: Settings,
    providers: Mapping[str, AnyProvider],
    *,
    tell: bool = True,
    pins: Mapping[AppName, Generation | None] | None = None,
    instead: Mapping[str, bytes] | None = None,
) -> Reading:
    """As the daemon would see it now; nothing is written, no key is made. A norn_db without any
    table of ours reads as one that knows nothing; older or newer tables raise SchemaMismatch.
    tell: log what is wrong with files. pins: as if these generations had been put in force.
    instead: as if these files held these bytes."""
    specs = Specs(settings, tell=tell, instead=instead)
    specs.glance()
    store = store_of(settings, f"{instance(settings)}-cli-{os.getpid()}")
    try:
        await store.require_schema()
        snapshot = await store.snapshot()
    except SchemaMissing:
        snapshot = Snapshot()
    finally:
        await store.close()
    apps = {a: replace(snapshot.apps[a], pinned=to) for a, to in (pins or {}).items()}
    snapshot = replace(snapshot, apps={**snapshot.apps, **apps})
    secrets, fingerprint = secrets_of(settings, snapshot.key_fingerprint, create=False)
    book = Book(store, secrets, EnvFiles(settings, providers), KINDS)
    book.load(snapshot, 0)
    specs.learn(snapshot.apps)
    fleet = await settled(specs, book.records, book.inventory())
    hold = _shown(settings, book, fleet, snapshot.removed)
    return Reading(book, fleet, hold, specs.findings, bool(fingerprint), snapshot.doomed)


def _shown(
    settings: Settings, book: Book, fleet: Fleet, removed: Mapping[AppName, float]
) -> Hold | None:
    """Let `book` say what is in force as the folder has it, without writing that down. removed: as
    norn_db has it."""
    active = sum(1 for r in book.records.values() if r.state is AppState.ACTIVE)
    removals = Removals(limits_of(settings), removed, 0.0)
    removals.back(fleet.members)
    hold = removals.judge(fleet.vanished, confirmed(book.records), active, fleet.folder, 0.0)
    book.suppose(carried_out(fleet.moves, book.inventory())[0])
    book.entries = dict(accept(book.entries, book.records, fleet, hold, 0.0, 0.0).entries)
    return hold


async def settled(
    specs: Specs,
    records: Mapping[AppName, AppRecord],
    inventory: Mapping[tuple[str, AppName], Owned],
) -> Fleet:
    """Look until no file is settling any more: what a one-shot command goes by."""
    fleet = specs.look(records, inventory)
    for _ in range(20):
        wait = specs.next_look()
        if wait is None:
            break
        await asyncio.sleep(wait)
        fleet = specs.look(records, inventory)
    return fleet


@dataclass(frozen=True, slots=True)
class Plans:
    """What `norn plan` shows. findings: of the whole folder; rejected: a file of an app that was
    asked for (any file, when none was named) is not used as it stands. ends: data that are on
    their way out; kept: seconds in the trash. doomed: the word on those that wait for a person."""

    preview: Preview
    findings: Sequence[Finding]
    rejected: bool
    ends: Sequence[Fate] = ()
    kept: float = 0.0
    doomed: str = ""

    @property
    def clear(self) -> bool:
        """Whether nothing stands in the way: no file is rejected, nothing is held or blocked, and
        every service answered."""
        found = self.preview
        return not (self.rejected or found.held or found.blocked or found.faults or self.doomed)

    def code(self, check: bool) -> int:
        """The exit code: 3 when `check` finds a change, else 1 while a person must act, else 0."""
        if check and self.preview.changes:
            return 3
        return 0 if self.clear else 1


async def plan(settings: Settings, apps: Sequence[AppName]) -> Plans:
    """What would change. Raises NornError for an app that no file asks for."""
    async with open_providers(settings, instance(settings)) as providers:
        reading = await read(settings, providers, tell=False)
        chosen = _chosen(reading.book, apps)
        found = await preview(providers, reading.book, chosen, reading.hold)
        rejected = _rejected(reading.book, reading.findings, apps)
        book, whose = reading.book, {a: e.app for a, e in reading.book.entries.items()}
        going = ends(book, chosen if apps else sorted(book.records), providers, kept(settings))
        going, silent = await weighed(going, whose, book, providers, reading.keyed)
        faults = {app: dict(by) for app, by in found.faults.items()}
        for (app, service), fault in silent.items():
            faults.setdefault(app, {}).setdefault(service, fault)
        found = replace(found, faults=faults)
        doomed = "" if apps else reading.doomed
        return Plans(found, reading.findings, rejected, going, kept(settings), doomed)


def kept(settings: Settings) -> float:
    """Seconds in the trash."""
    return settings.trash_days * 86400


def _rejected(book: Book, findings: Sequence[Finding], apps: Sequence[AppName]) -> bool:
    """Whether a file of `apps` is not used as it stands; any file, where no app is named."""
    errors = {f.file for f in findings if f.severity == "error"}
    if not apps:
        return bool(errors)
    members = [book.entries[app].member for app in apps]
    return any(m.rejected or m.record.file in errors for m in members)


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
    """A one-shot run's end. apps: (name, ready, why not). held: the guard's word, or "". findings,
    rejected: as in Plans."""

    apps: Sequence[tuple[AppName, bool, str]]
    changes: int
    held: str
    findings: Sequence[Finding]
    rejected: bool

    @property
    def ok(self) -> bool:
        return all(ready for _, ready, _ in self.apps) and not self.held and not self.rejected


async def apply(
    settings: Settings, specs: Specs, apps: Sequence[AppName], *, wait: bool
) -> Applied:
    """Converge once, under the lease. specs: glanced at already, so that what settles does so
    meanwhile. Raises LeaseHeld while a daemon has it (unless `wait`)."""

    async def acquire(store: PostgresStore) -> tuple[Lease, LeaseFence]:
        return await leases.acquire(store, settings.lease_seconds, wait=wait)

    async with writer(settings, "apply", acquire) as held:
        return await converge(await held.parts(specs), held.store, apps)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who has the lease, and what it works with."""

    settings: Settings
    store: PostgresStore
    providers: Mapping[str, AnyProvider]
    lease: Lease
    fence: LeaseFence
    ending: AsyncExitStack

    async def parts(self, specs: Specs) -> Parts:
        epoch = self.lease.epoch
        made = await parts(
            self.settings, self.providers, self.store, epoch, self.fence, specs, WHOLE
        )
        self.ending.push_async_callback(made.works.close)  # before the lease is given back
        return made


@asynccontextmanager
async def writer(
    settings: Settings,
    role: str,
    acquire: Callable[[PostgresStore], Awaitable[tuple[Lease, LeaseFence]]],
) -> AsyncIterator[Writer]:
    """The lease, kept until the block ends; connections are opened while norn_db is asked."""
    name = f"{instance(settings)}-{role}"
    store = store_of(settings, name)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        providers = await stack.enter_async_context(open_providers(settings, name))
        await stack.enter_async_context(_connecting(providers))
        await upgraded(settings, store)
        lease, fence = await acquire(store)
        stack.push_async_callback(leases.release, store, lease, fence)
        keeper = asyncio.create_task(leases.keep(store, lease, fence, lambda lost: None))
        stack.callback(keeper.cancel)
        yield Writer(settings, store, providers, lease, fence, stack)


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


async def converge(work: Parts, store: PostgresStore, apps: Sequence[AppName]) -> Applied:
    engine, book = work.engine, work.book
    operations = Operations(engine, store, works=work.works, reaper=work.reaper)
    await engine.accept(await look(work))
    chosen = _chosen(book, apps)
    if await operations.work():
        await engine.accept(await look(work))
    await work.works.drain(exclusive=True)
    await engine.settle(chosen)
    if work.specs.outdated(book.inventory()):
        # Made just now, and shared: its readers get it in the same run.
        await engine.accept(await look(work))
        await engine.settle(chosen)
    # What a person asked for while nobody was there may need a look at every service first.
    if await operations.work():
        await engine.accept(await look(work))
        await engine.settle(chosen)
        await operations.work()
    if (wait := engine.removals_due_in()) is not None and not apps:
        # A file that is back after the grace takes its removal back: look before, not after.
        await asyncio.sleep(wait)
        await engine.accept(await look(work))
        await engine.settle(sorted(book.entries))
    if not apps and await work.reaper.look():
        await operations.work()
    await work.works.drain()
    results = [_result(book, app) for app in chosen if app in book.entries]  # not the forgotten
    held = "" if engine.hold is None or apps else engine.hold.words
    findings = work.specs.findings
    return Applied(results, book.actions, held, findings, _rejected(book, findings, apps))


async def long_works(settings: Settings) -> None:
    """Do what is asked for and takes long, as the writer. Converged is only what such work had for
    itself. Raises LeaseHeld while somebody else is the writer, who does it then."""

    async def acquire(store: PostgresStore) -> tuple[Lease, LeaseFence]:
        return await leases.acquire(store, settings.lease_seconds)

    async with writer(settings, "work", acquire) as held:
        work = await held.parts(Specs(settings))
        _shown(settings, work.book, await look(work), work.removed)
        asked = [o for o in await held.store.pending_operations() if o.kind in work.works.kinds]
        for operation in asked:
            work.works.take(operation)
        await work.works.drain()
        alone = {o.app for o in asked if o.app and work.works.exclusive(o.kind)}
        await work.engine.settle(sorted(alone & work.book.entries.keys()))


async def look(work: Parts) -> Fleet:
    """The folder, once nothing in it is settling any more."""
    return await settled(work.specs, work.book.records, work.book.inventory())


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
    bad = [w for h in heard.values() if h is not None and (w := words(h.outcome))]
    if bad:
        return (app, False, "; ".join(bad))
    ready = record.conditions.get(READY)
    if entry.leaving:
        return (app, True, "")
    if ready is None:
        return (app, False, "not all services were looked at")
    return (app, ready.status == "True", ready.message or ready.reason)
