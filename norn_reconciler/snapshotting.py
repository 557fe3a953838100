"""The room of the snapshots as this installation has it: its folder, its limits, and whose
databases are copied."""

from __future__ import annotations

import asyncio
import hashlib
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.databases import Databases, HasDatabases
from norn_reconciler.model.errors import Denied, NornError, ServiceError
from norn_reconciler.model.inventory import ObjectKey
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import AppRecord
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.snapshots import SnapshotRecords, Source, Sources, habit_of
from norn_reconciler.model.teardown import Destroys
from norn_reconciler.model.work import LongWork
from norn_reconciler.providers import REGISTRY
from norn_reconciler.settings import Settings
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.clients import bare
from norn_reconciler.snapshots.exchange import ExchangeWork
from norn_reconciler.snapshots.folder import Folder
from norn_reconciler.snapshots.prune import PruneWork, Pruning
from norn_reconciler.snapshots.restore import RestoreWork
from norn_reconciler.snapshots.retention import Limits
from norn_reconciler.snapshots.teardown import TeardownWork
from norn_reconciler.snapshots.work import Copier, SnapshotWork

_KEY = "postgres"  # whose databases they would be
_SHORT = 7  # characters, as git has them
_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_SECONDS = 5.0


def folder_of(settings: Settings) -> Folder:
    return Folder(settings.snapshots_dir)


def works_of(
    settings: Settings,
    providers: Mapping[str, AnyProvider],
    records: SnapshotRecords,
    apps: Callable[[], Iterable[App]],
) -> Sequence[LongWork]:
    """The kinds of long work that are about copies. apps: those that are wanted, whenever it is
    asked."""
    folder = folder_of(settings)
    sources, databases = sources_of(providers), databases_of(providers)

    def limits() -> Limits:
        own = {
            database[1]: habit.keep
            for app in apps()
            if (habit := habit_of(app)) is not None
            and habit.keep is not None
            and (database := sources.database(app)) is not None
        }
        return Limits(settings.snapshots_keep, settings.snapshots_keep_days, own)

    pruning = Pruning(folder, records, limits)
    copier = Copier(folder, sources, commit_of(settings.specs_dir))
    destroyers = {k: p for k, p in providers.items() if isinstance(p, Destroys)}
    return (
        SnapshotWork(copier, pruning),
        PruneWork(folder, pruning),
        RestoreWork(folder, sources, databases, records),
        ExchangeWork(sources, databases),
        TeardownWork(copier, databases, records, destroyers),
    )


def sources_of(providers: Mapping[str, AnyProvider]) -> Sources:
    """The service that has databases."""
    found = next((p for p in providers.values() if isinstance(p, Sources)), None)
    return found if found is not None else _NoSource()


def databases_of(providers: Mapping[str, AnyProvider]) -> Callable[[], Databases]:
    """For when they are needed: that loads the service's driver."""
    found = next((p for p in providers.values() if isinstance(p, HasDatabases)), None)
    return found.whole if found is not None else _no_databases


def _no_databases() -> Databases:
    raise _absent()


def _absent() -> Denied:
    named = REGISTRY[_KEY]
    return Denied(
        _KEY, f"no setting names {named.title}", remedy=f"set {named.setting} and restart"
    )


async def missing_client(provider: AnyProvider) -> Problem | None:
    """For `norn doctor`: what keeps every snapshot of this service's databases from being made."""
    if not isinstance(provider, Sources):
        return None
    try:
        await asyncio.to_thread(clients.fitting, await provider.version())
    except ServiceError:
        return None  # the service says so itself
    except NornError as fault:
        what, _, remedy = str(fault).partition(": ")
        return Problem(Severity.WARNING, "NoDumpClient", f"no snapshot can be made: {what}", remedy)
    return None


class _NoSource:
    """Where no setting names it."""

    key = _KEY

    def database(self, app: App) -> ObjectKey | None:
        raise _absent()

    async def version(self) -> int:
        raise AssertionError("there is no server to ask")

    async def look(self, app: App, credential: Credential, database: str | None = None) -> Source:
        raise AssertionError("there is no database to look at")

    async def entry(self, app: AppName, credential: Credential, database: str) -> Source:
        raise AssertionError("there is no database to log in to")

    async def relations(
        self, app: AppName, credential: Credential, database: str
    ) -> Mapping[tuple[str, ...], str]:
        raise AssertionError("there is no database to look at")

    async def tables(self, app: AppName, credential: Credential, database: str) -> int:
        raise AssertionError("there is no database to look at")


def commit_of(specs: Path) -> Callable[[AppRecord], str]:
    """What a snapshot's name says of the spec in force: the short commit of the checkout that holds
    the folder, else a short hash of the spec itself."""

    def commit(record: AppRecord) -> str:
        spec = hashlib.sha256(record.spec.canonical.encode()).hexdigest()
        return _checked_out(specs) or spec[:_SHORT]

    return commit


def _checked_out(folder: Path) -> str:
    """ "" where it is in no checkout, or git is not there, or does not trust who owns it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", f"--short={_SHORT}", "HEAD"],
            env={**bare(), "PATH": "/usr/local/bin:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    said = done.stdout.strip()
    return said if done.returncode == 0 and _COMMIT.fullmatch(said) else ""
