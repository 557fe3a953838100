"""Copies of an app's database: what is recorded of one, and where one comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import ObjectKey
from norn_reconciler.model.secret import Credential, Secret


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One file in the snapshots folder, as it was when it had been verified.

    name: the file's. commit: of the specs' checkout, or of the spec itself. size: bytes. sha256:
    hex. server_version, client_version: as `18.4`.
    """

    name: str
    app: AppName
    database: str
    commit: str
    size: int
    sha256: str
    server_version: str
    client_version: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Habit:
    """How often an app's database is copied, and how many copies are kept. schedule: a cron
    expression. keep: None where the settings say."""

    schedule: str
    keep: int | None = None


@runtime_checkable
class Copied(Protocol):
    """A section whose data are copied by the clock."""

    def habit(self) -> Habit | None: ...


def habit_of(app: App) -> Habit | None:
    """What the app's spec says of it."""
    sections = (s for s in app.sections.values() if isinstance(s, Copied))
    return next((habit for s in sections if (habit := s.habit()) is not None), None)


class SnapshotRecords(Protocol):
    async def snapshots(self, app: AppName | None = None) -> Sequence[SnapshotRecord]:
        """Newest first; of all apps when `app` is None. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A database as its own app reaches it. version: the server's, e.g. 180004. encoding: as the
    server calls it. environment: libpq's variables, none of them secret."""

    version: int
    encoding: str
    environment: Mapping[str, str]
    password: Secret


@runtime_checkable
class Sources(Protocol):
    """The service whose databases can be copied. key: its own, under `services:`."""

    key: str

    def database(self, app: App) -> ObjectKey | None:
        """The app's database as the inventory has it; None when its spec has none. Pure. Raises
        ServiceError where no setting names the service."""
        ...

    async def version(self) -> int:
        """The server's, e.g. 180004. Raises ServiceError."""
        ...

    async def look(self, app: App, credential: Credential, database: str | None = None) -> Source:
        """Log in as the app, to its database, or to that other one of its own. Raises ServiceError
        when that can't be done, and when a copy would not be whole: it names what the app can't
        read."""
        ...

    async def entry(self, app: AppName, credential: Credential, database: str) -> Source:
        """The way into a database of the app's. Nothing is looked at there. Raises ServiceError."""
        ...

    async def relations(
        self, app: AppName, credential: Credential, database: str
    ) -> Mapping[tuple[str, ...], str]:
        """(schema, name) of each table, view and sequence there, its extensions' left out, and what
        the server calls it until it is made anew. Raises ServiceError."""
        ...

    async def tables(self, app: AppName, credential: Credential, database: str) -> int:
        """How many the app has there, its extensions' left out; what the planner knows of them is
        brought up to date. Raises ServiceError."""
        ...
