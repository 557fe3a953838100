"""Work that takes long, and is done step by step beside the lanes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from norn_reconciler.model.app import App
from norn_reconciler.model.cron import Job
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.migrations import Migrated, Migration
from norn_reconciler.model.records import AppRecord, Changes, Operation, ServiceRecord
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.status import Condition


@dataclass(frozen=True, slots=True)
class Subject:
    """The app that a work is about, as norn knows it when the work begins; by service where it
    says so. services: what converged last. leaving: no file
    asks for it: `app` has no sections, and there is what norn still holds of it.
    migration: what its spec says of migrations. migrated: the last one. job: what it
    runs by the clock."""

    app: App
    record: AppRecord
    owned: Mapping[str, Owned]
    services: Mapping[str, ServiceRecord]
    credentials: Mapping[str, Credential]
    leaving: bool = False
    migration: Migration | None = None
    migrated: Migrated | None = None
    job: Job | None = None


class Steps(Protocol):
    """How a work tells where it is. Each verb raises LeaseLost when this process may not go on;
    where norn_db is away it waits for it, as long as the lease lasts."""

    async def begin(self, step: str, **facts: object) -> None:
        """`step` begins: in norn_db before anything of it is done. facts: joined to the
        operation's arguments, for whoever takes it up after a crash."""
        ...

    async def tell(self, progress: str) -> None:
        """How far the step is, for people. Call it every few seconds at most."""
        ...

    async def show(self, kind: str, condition: Condition | None) -> None:
        """The app's condition of that type from now on; None: there is nothing to tell."""
        ...

    async def write(self, changes: Changes) -> None:
        """norn_db takes it, and whoever goes by what norn_db says goes by that from then on."""
        ...


class LongWork(Protocol):
    """One kind of operation that takes too long for the writer to wait for.

    At most one at a time is done of an app. `run` begins anew after a crash: it finds what its
    predecessor left, and must take that away or finish it. When it is cancelled (the lease is lost,
    the daemon ends), whatever it started has ended before it returns.

    exclusive: while it runs no lane comes near its app, and each looks again at its end.
    of_removed: it is also done of an app that no file asks for, or that is paused.
    """

    kind: str
    exclusive: bool
    of_removed: bool

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        """Do it. Returns one line for the person. subject: None where the operation names no app.
        Raises NornError or OSError when it can't be done."""
        ...
