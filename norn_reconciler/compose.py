"""Builds the parts out of settings, for the daemon and for one-shot commands alike. What knows
both a room's inside and another's is here, so that the rooms need not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from norn_reconciler import jobbing, snapshotting
from norn_reconciler.credentials import deliver
from norn_reconciler.engine.backoff import Backoff
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.draft import Passwords
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.guard import Limits
from norn_reconciler.engine.lane import CHUNK
from norn_reconciler.engine.teardown import Reaper, Reaping
from norn_reconciler.engine.works import Works
from norn_reconciler.key_at_hand import secrets_of
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import SchemaInUse, SchemaMismatch, SchemaNewer
from norn_reconciler.model.ports import AnyProvider, Fence
from norn_reconciler.model.records import Changes
from norn_reconciler.model.secret import Secret
from norn_reconciler.model.teardown import Destroys
from norn_reconciler.providers import REGISTRY
from norn_reconciler.providers.absent import AbsentProvider
from norn_reconciler.settings import Settings
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store import schema
from norn_reconciler.store.store import PostgresStore

KINDS: Mapping[str, str] = {key: r.condition for key, r in REGISTRY.items()}


def instance(settings: Settings) -> str:
    """This daemon's name: the same after a restart, another for another working folder."""
    if settings.instance:
        return settings.instance
    folder = hashlib.sha256(str(settings.state_dir.resolve()).encode()).hexdigest()[:6]
    return f"{socket.gethostname()}-{folder}"


def store_of(settings: Settings, name: str) -> PostgresStore:
    return PostgresStore(
        Secret(settings.database_url.get_secret_value()),
        instance=name,
        request_timeout=settings.request_timeout_seconds,
    )


@asynccontextmanager
async def open_store(settings: Settings, role: str) -> AsyncIterator[PostgresStore]:
    """norn_db for one command; closed at the end. role: what it is for ("cli"), in its name."""
    store = store_of(settings, f"{instance(settings)}-{role}-{os.getpid()}")
    try:
        await store.require_schema()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_providers(settings: Settings, name: str) -> AsyncIterator[Mapping[str, AnyProvider]]:
    """Every registered service, those without settings as AbsentProvider; closed at the end."""
    providers: dict[str, AnyProvider] = {}
    async with AsyncExitStack() as stack:
        for key, r in REGISTRY.items():
            made = r.configured(settings, name) or AbsentProvider(
                key, r.title, r.condition, r.setting
            )
            stack.push_async_callback(made.close)
            providers[key] = made
        yield providers


class EnvFiles:
    """Delivers each app's variables as `<app>.env`."""

    def __init__(self, settings: Settings, providers: Mapping[str, AnyProvider]) -> None:
        self._folder = settings.credentials_path
        self._providers = providers

    def deliver(self, app: App, passwords: Passwords) -> bool:
        variables = variables_of(app, self._providers, passwords)
        if not variables:
            return self.withdraw(app.name)
        return deliver.write(self._folder, app.name, variables)

    def agrees(self, app: App, passwords: Passwords) -> bool:
        variables = variables_of(app, self._providers, passwords)
        return not variables or deliver.holds(self._folder, app.name, variables)

    def withdraw(self, app: AppName) -> bool:
        return deliver.remove(self._folder, app)


def variables_of(
    app: App, providers: Mapping[str, AnyProvider], book: Passwords
) -> Mapping[str, str]:
    """All that the app is told, by variable; secrets in clear."""
    variables: dict[str, str] = {}
    for key in sorted(app.sections):
        variables.update(providers[key].env(app, book.credential(app.name, key)))
    return variables


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.removal_max_apps, settings.removal_max_percent)


@dataclass(slots=True)
class Parts:
    """What a writer works with, put together for one term of its lease. removed: as norn_db had it
    then."""

    engine: Engine
    book: Book
    specs: Specs
    works: Works
    reaper: Reaper
    removed: Mapping[AppName, float]


async def parts(
    settings: Settings,
    providers: Mapping[str, AnyProvider],
    store: PostgresStore,
    epoch: int,
    fence: Fence,
    specs: Specs,
    chunk: int = CHUNK,
) -> Parts:
    """Read norn_db and put the engine together. Raises KeyMismatch, StoreUnavailable."""
    snapshot = await store.snapshot()
    secrets, fingerprint = secrets_of(settings, snapshot.key_fingerprint, create=True)
    files = EnvFiles(settings, providers)
    book = Book(store, secrets, files, KINDS, migrates=settings.migrations)
    book.load(snapshot, epoch)
    if snapshot.key_fingerprint is None:
        await book.write(Changes(key_fingerprint=fingerprint))
    limits = limits_of(settings)
    engine = Engine(
        providers,
        book,
        fence,
        limits,
        settings.grace_seconds,
        chunk=chunk,
        probe_every=settings.verify_seconds,
        held=snapshot.held,
        refused=snapshot.refused,
        removed=snapshot.removed,
    )
    specs.learn(snapshot.apps)

    def wanted() -> Iterable[App]:
        return [entry.app for entry in book.entries.values()]

    copying = snapshotting.works_of(settings, providers, store, wanted)
    commands = jobbing.works_of(settings, providers, copying)
    works = Works(book, store, fence, (*copying, *commands), alone=engine.alone)
    data = {k: p.data for k, p in providers.items() if isinstance(p, Destroys)}
    reaping = Reaping(data, settings.trash_days * 86400, limits)
    reaper = Reaper(book, store, reaping, Backoff(random.random), snapshot.doomed)
    return Parts(engine, book, specs, works, reaper, snapshot.removed)


async def upgraded(settings: Settings, store: PostgresStore) -> None:
    """Bring norn_db's schema to this version, unless it is. Raises StoreUnavailable, SchemaInUse
    when an older program is at work on the older schema, and SchemaNewer."""
    try:
        await store.require_schema()
    except SchemaNewer:
        raise
    except SchemaMismatch as older:
        holder = await _holder(store)
        if holder is not None:
            raise SchemaInUse(str(older), holder) from older
        url = Secret(settings.database_url.get_secret_value())
        await asyncio.to_thread(schema.upgrade, url)
        await store.require_schema()


async def _holder(store: PostgresStore) -> str | None:
    """Who holds the lease; None when nobody does, or when there is no such table yet."""
    try:
        lease = await store.lease_holder()
    except SchemaMismatch:
        return None
    return lease.holder if lease.held else None
