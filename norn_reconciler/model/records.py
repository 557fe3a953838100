"""What norn_db keeps, as values, and the Protocol the engine writes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.cron import CronState, Execution
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.migrations import Migrated
from norn_reconciler.model.plan import Step
from norn_reconciler.model.secret import CredentialMark
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.model.status import Condition, Event


class AppState(StrEnum):
    """active: a spec asks for it; removed: none does, access is revoked, data is retained."""

    ACTIVE = "active"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class SpecRecord:
    """The last good version of an app's file.

    file: path relative to the specs folder. file_digest: SHA-256 hex of its bytes. size: bytes;
    mtime_ns: nanoseconds: with equal size, mtime and bytes they count as an earlier look.
    canonical: the spec as canonical JSON, secrets in it only as digests.
    """

    file: str
    file_digest: str
    size: int
    mtime_ns: int
    canonical: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One version of an app's spec, as it was put in force. number: 1, 2, …; canonical: as in
    SpecRecord; at: when, None where that is not asked."""

    number: int
    canonical: str
    at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AppRecord:
    """One app as norn_db knows it. generation: 1, 2, …; it moves with the canonical spec.

    removal_confirmed: what the specs folder looked like when a person confirmed the app's removal
    (a model.fleet.Folder's value); None while nobody has, and again once a file is back.
    pinned: the earlier generation that a person put back in force, until the file says something
    else; None: the file's is.
    """

    app: AppName
    spec: SpecRecord
    generation: int
    observed_generation: int = 0
    state: AppState = AppState.ACTIVE
    paused: bool = False
    removal_confirmed: str | None = None
    pinned: Generation | None = None
    conditions: Mapping[str, Condition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """What converged last for one app on one service.

    desired_digest: SHA-256 hex of the desired state that was verified; a later difference on the
    server with an equal digest is drift. mark: of the password that was applied and proven.
    deletion: what the spec said last, while it still had this service, of the data's end.
    """

    desired_digest: str | None = None
    mark: CredentialMark | None = None
    deletion: Deletion = Deletion.RETAIN


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that an engine starts from, read in one transaction.

    inventory and services are keyed by service key, then app.
    key_fingerprint: of the master key that the recorded credentials were derived from.
    held: the removal guard's word while it holds, as people were told; "" when it does not.
    refused: what people were told of files that can't be used.
    removed: app → seconds since it was removed, by norn_db's clock.
    migrated: each app's last migration.
    doomed: the word on data that are due to go and wait for a person; "" when none do.
    """

    apps: Mapping[AppName, AppRecord] = field(default_factory=dict)
    inventory: Mapping[str, Mapping[AppName, Owned]] = field(default_factory=dict)
    services: Mapping[str, Mapping[AppName, ServiceRecord]] = field(default_factory=dict)
    key_fingerprint: str | None = None
    held: str = ""
    refused: tuple[str, ...] = ()
    removed: Mapping[AppName, float] = field(default_factory=dict, compare=False)
    migrated: Mapping[AppName, Migrated] = field(default_factory=dict)
    doomed: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One round that acted on an app, as the deployments table shows it. generation: of the spec
    that it was about, None where it was about none."""

    id: str
    app: AppName
    status: str
    steps: tuple[Step, ...]
    error: str | None
    started_at: datetime
    finished_at: datetime
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class ForgeState:
    """An app's row in forge_states. resources: JSON-ready description of what it has, no secret."""

    app: AppName
    status: str
    steps: tuple[Step, ...]
    resources: Mapping[str, object]
    error: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One probe of one service as the app: a row in health_checks. reason: CamelCase, as in the
    condition IsolationVerified."""

    app: AppName
    service: str
    healthy: bool
    response_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to write in one transaction, one statement a table. An empty one writes nothing.

    inventory: (service, app) → every row as it should be now (rows that are gone are deleted).
    held: the removal guard's word from now on, "" when it lets go; None: as before. refused: all
    that is wrong with files from now on; None: as before. doomed: the word on data that wait to go;
    None: as before. discarded: names of snapshots whose files are gone. crons: written but for
    `paused`, which is others' to set. uncron: apps whose row of these goes. renamed: what an app
    was called → its name now, under which its snapshots and its last migration are kept.
    """

    apps: Sequence[AppRecord] = ()
    inventory: Mapping[tuple[str, AppName], Owned] = field(default_factory=dict)
    services: Mapping[tuple[str, AppName], ServiceRecord] = field(default_factory=dict)
    events: Sequence[Event] = ()
    deployments: Sequence[Deployment] = ()
    forge_states: Sequence[ForgeState] = ()
    health_checks: Sequence[HealthCheck] = ()
    forgotten: Sequence[AppName] = ()
    key_fingerprint: str | None = None
    held: str | None = None
    refused: tuple[str, ...] | None = None
    doomed: str | None = None
    snapshots: Sequence[SnapshotRecord] = ()
    discarded: Sequence[str] = ()
    crons: Sequence[CronState] = ()
    uncron: Sequence[AppName] = ()
    migrated: Sequence[Migrated] = ()
    executions: Sequence[Execution] = ()
    renamed: Mapping[AppName, AppName] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(
            (
                self.held is not None, self.refused is not None, self.doomed is not None,
                self.apps, self.inventory, self.services, self.events, self.deployments,
                self.forge_states, self.health_checks, self.forgotten, self.key_fingerprint,
                self.snapshots, self.discarded, self.crons, self.uncron, self.migrated,
                self.executions, self.renamed,
            )
        )  # fmt: skip


class OperationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """A person's request, done by the writer step by step.

    kind: reconcile | confirm | adopt | rotate | recover | forget | pause | resume | undo |
    snapshot | prune | migrate | cron. app is None for confirm, and for recover and prune, which
    have the `apps` they are about among their arguments (none: all).
    digest: what the person saw and agreed to. result: one line for the person, when ended.
    """

    id: int
    kind: str
    app: AppName | None
    state: OperationState = OperationState.QUEUED
    arguments: Mapping[str, object] = field(default_factory=dict)
    digest: str | None = None
    step: str = ""
    result: str = ""
    requested_by: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The single writer's mandate. epoch rises by one with each new holder."""

    holder: str
    epoch: int
    seconds: float


class Store(Protocol):
    """norn_db as the engine sees it. Every method raises StoreUnavailable when it does not answer;
    every writing method takes the epoch and raises LeaseLost when a newer one exists."""

    async def snapshot(self) -> Snapshot: ...

    async def claim(
        self,
        epoch: int,
        service: str,
        rows: Mapping[AppName, Mapping[ObjectKey, Held]],
        events: Sequence[Event] = (),
    ) -> None:
        """Write intent rows and events, one commit for the batch. Nothing at all when both are
        empty."""
        ...

    async def record(self, epoch: int, changes: Changes) -> None:
        """Write all of `changes` in one transaction. Does nothing at all when it is empty."""
        ...

    async def pending_operations(self) -> Sequence[Operation]:
        """Queued and running ones, oldest first."""
        ...

    async def update_operation(self, epoch: int, operation: Operation) -> None: ...

    async def request(self, operation: Operation) -> int:
        """Ask the writer for it, and wake it. Its number."""
        ...

    async def operation(self, id: int) -> Operation | None: ...

    async def destroyed(self, seconds: float) -> tuple[frozenset[AppName], frozenset[str]]:
        """Apps of which data were destroyed within so many seconds; and the digests that a person
        has confirmed within a day."""
        ...

    async def generations(self, app: AppName) -> Sequence[Generation]:
        """The versions of its spec that are kept, newest first."""
        ...
