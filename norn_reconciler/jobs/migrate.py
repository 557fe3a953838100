"""The operation `migrate`: a copy of the app's database first, then its command, then the word of
how it ended. Begun once: what was cut off is not run a second time by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from norn_reconciler import logs
from norn_reconciler.jobs.commands import Commands
from norn_reconciler.jobs.given import Given
from norn_reconciler.jobs.output import Output
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseLost, NornError, StoreUnavailable, sentence
from norn_reconciler.model.migrations import Migrated, Migration, MigrationState, remedied
from norn_reconciler.model.plan import Step
from norn_reconciler.model.records import Changes, Deployment, Operation
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject

KIND = "migrate"
OFF = "norn runs no migrations here: NORN_MIGRATIONS=on in its settings, and a restart, allow it"
RESTARTED = "norn restarted during deployment"


class Snapshots(Protocol):
    async def make(
        self, operation: Operation, subject: Subject, steps: Steps, *, fresh: bool
    ) -> tuple[SnapshotRecord, int]:
        """A recorded copy of the app's database; fresh: of now, whatever a predecessor made."""
        ...


class MigrateWork:
    """arguments: `revision`, where another one is meant than the spec's. given: raises NornError
    where norn cannot log in as the app."""

    kind = KIND
    exclusive = True
    of_removed = False

    def __init__(
        self,
        allowed: bool,
        commands: Commands,
        snapshots: Snapshots,
        given: Callable[[Subject], Given],
    ) -> None:
        self._allowed = allowed
        self._commands = commands
        self._snapshots = snapshots
        self._given = given

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a migration is of an app"
        app, migration = subject.app.name, subject.migration
        if migration is None:
            raise NornError(f"the spec of {app} has no migrations")
        revision = str(operation.arguments.get("revision") or migration.revision)
        done = subject.migrated.done if subject.migrated is not None else None
        this = Migrated(app, revision, MigrationState.RUNNING, datetime.now(UTC), done)
        if operation.arguments.get("begun"):
            return await self._taken_up(operation, subject.migrated, this, steps)
        if not self._allowed:
            raise NornError(OFF)
        rollout = _Rollout(app)
        try:
            return await self._migrated(operation, subject, migration, this, rollout, steps)
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception as fault:
            failed = replace(
                this, state=MigrationState.FAILED, snapshot=rollout.snapshot, error=_words(fault)
            )
            rollout.failed(failed.error)
            event = _failure(failed)
            row = rollout.row("failed", failed.error)
            await steps.write(Changes(deployments=[row], migrated=[failed], events=[event]))
            if isinstance(fault, NornError | OSError):
                raise NornError(remedied(app, failed)) from fault
            raise

    async def _migrated(
        self,
        operation: Operation,
        subject: Subject,
        migration: Migration,
        this: Migrated,
        rollout: _Rollout,
        steps: Steps,
    ) -> str:
        self._commands.check()
        given = self._given(subject)
        if given.database != migration.database:
            raise NornError(
                f"migrations.database is {migration.database}, and {this.app} has "
                f"{given.database or 'none'}: an app migrates its own database only"
            )
        rollout.begin("snapshot")
        await steps.write(Changes(deployments=[rollout.row("snapshotting")]))
        record, _ = await self._snapshots.make(operation, subject, steps, fresh=True)
        rollout.snapshot = record.name
        rollout.done(record.name)
        rollout.begin("migrate")
        # From here on it counts as begun, whatever comes.
        this = replace(this, snapshot=record.name)
        await steps.begin("migrate", begun=True, revision=this.revision, snapshot=record.name)
        await steps.write(Changes(deployments=[rollout.row("migrating")], migrated=[this]))
        await self._command(operation, migration, given, this, rollout, steps)
        rollout.done()
        finished = replace(this, state=MigrationState.DONE, done=this.revision)
        text = _success(finished)
        fields = {"revision": this.revision, "snapshot": this.snapshot}
        event = Event(logs.MIGRATION_FINISHED, "info", this.app, text, fields)
        row = rollout.row("deployed")
        await steps.write(Changes(deployments=[row], migrated=[finished], events=[event]))
        return text

    async def _command(
        self,
        operation: Operation,
        migration: Migration,
        given: Given,
        this: Migrated,
        rollout: _Rollout,
        steps: Steps,
    ) -> None:
        """Raises NornError unless it ended well, in time."""
        app = this.app

        def say(line: str) -> None:
            logs.get().info(logs.MIGRATION_SAID, app=app, id=operation.id, line=line)

        async def tell() -> None:
            if output.text != rollout.output:
                rollout.output = output.text
                await steps.tell(output.last[:200])
                await steps.write(Changes(deployments=[rollout.row("migrating")]))

        output = Output(given.secrets, say)
        facts = {"NORN_APP": app, "NORN_REVISION": this.revision, "NORN_DATABASE": given.database}
        ended = await self._commands.run(
            app,
            migration.command,
            {**given.environment, **facts},
            migration.timeout,
            output,
            tell,
        )
        rollout.output = output.text
        last = f": {output.last[:300]}" if output.last else ""
        if ended.late:
            raise NornError(f"the command took over {migration.timeout} s, and was ended{last}")
        if ended.code != 0:
            raise NornError(f"the command ended with exit code {ended.code}{last}")

    async def _taken_up(
        self, operation: Operation, before: Migrated | None, this: Migrated, steps: Steps
    ) -> str:
        """A predecessor had begun with the command. It is not run again."""
        snapshot = str(operation.arguments.get("snapshot", ""))
        if before is not None and before.snapshot == snapshot:
            if before.state is MigrationState.DONE:
                return _success(before)
            if before.state is MigrationState.FAILED:
                raise NornError(remedied(this.app, before))
        ended = replace(this, state=MigrationState.CUT_OFF, snapshot=snapshot, error=RESTARTED)
        await steps.write(Changes(migrated=[ended], events=[_failure(ended)]))
        raise NornError(remedied(this.app, ended))


@dataclass(slots=True)
class _Rollout:
    """The migration's row in deployments. output: what the step under way has said."""

    app: AppName
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    snapshot: str = ""
    output: str = ""
    _ended: tuple[Step, ...] = ()
    _step: str = ""
    _since: float = 0.0

    def begin(self, step: str) -> None:
        self._step, self._since, self.output = step, time.monotonic(), ""

    def done(self, output: str | None = None) -> None:
        self._end("ok", self.output if output is None else output)

    def failed(self, error: str) -> None:
        self._end("failed", self.output or error)

    def _end(self, status: str, output: str) -> None:
        if self._step:
            self._ended = (*self._ended, self._as(status, output))
        self._step = ""

    def _as(self, status: str, output: str) -> Step:
        took = round((time.monotonic() - self._since) * 1000)
        return Step(self._step, status, took, output)

    def row(self, status: str, error: str | None = None) -> Deployment:
        under_way = (self._as("running", self.output),) if self._step else ()
        steps = (*self._ended, *under_way)
        now = datetime.now(UTC)
        return Deployment(self.id, self.app, status, steps, error, self.started_at, now)


def _words(fault: Exception) -> str:
    if isinstance(fault, NornError):
        return sentence(fault)
    if isinstance(fault, OSError):
        where = f"{fault.filename}: " if fault.filename else ""
        return where + (fault.strerror or type(fault).__name__)
    return f"internal: {type(fault).__name__}"


def _success(this: Migrated) -> str:
    to = f" to {this.revision}" if this.revision else ""
    return f"{this.app} is migrated{to}; the copy made before is {this.snapshot}"


def _failure(this: Migrated) -> Event:
    fields = {"revision": this.revision, "snapshot": this.snapshot}
    return Event(logs.MIGRATION_FAILED, "error", this.app, this.error, fields)
