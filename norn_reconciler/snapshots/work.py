"""The operation `snapshot`: one app's database into one file, recorded, and the old ones thrown
away."""

from __future__ import annotations

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.secret import DUE, LOST, Credential
from norn_reconciler.model.snapshots import SnapshotRecord, Source, Sources
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots.copies import Copies, created
from norn_reconciler.snapshots.prune import Pruning

KIND = "snapshot"


class SnapshotWork:
    kind = KIND
    exclusive = False
    of_removed = False

    def __init__(self, sources: Sources, copies: Copies, pruning: Pruning) -> None:
        self._sources = sources
        self._copies = copies
        self._pruning = pruning

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a snapshot is of an app"
        record, pruned = await self.make(operation, subject, steps)
        text = created(record, self._sources.key).message
        return text + (f"; {pruned} older pruned" if pruned else "")

    async def make(
        self, operation: Operation, subject: Subject, steps: Steps, *, fresh: bool = False
    ) -> tuple[SnapshotRecord, int]:
        """A snapshot that is recorded, and how many older ones went for it. fresh: what a
        predecessor had finished is recorded, and another one made: time has passed since."""
        database, credential = own_database(self._sources, subject)
        await steps.begin("prepare")
        await self._copies.prepare()
        source = await self._sources.look(subject.app, credential)
        # What a predecessor of this very operation had finished.
        before = self._copies.whole(str(operation.arguments.get("name", "")), database)
        record = await self._recorded(subject, database, source, steps, before)
        if fresh and before is not None:
            record = await self._recorded(subject, database, source, steps)
        await steps.begin("prune")
        sure = frozenset({record.name})
        return record, len(await self._pruning.prune([subject.app.name], steps, sure=sure))

    async def _recorded(
        self,
        subject: Subject,
        database: str,
        source: Source,
        steps: Steps,
        before: str | None = None,
    ) -> SnapshotRecord:
        record = await self._copies.make(subject.record, database, source, steps, before)
        event = created(record, self._sources.key)
        await steps.write(Changes(snapshots=[record], events=[event]))
        return record


def own_database(sources: Sources, subject: Subject) -> tuple[str, Credential]:
    """The app's database and its owner's password. Raises NornError for what norn can't log in
    to."""
    app, key = subject.app.name, sources.key
    wanted = sources.database(subject.app)
    if wanted is None:
        raise NornError(f"{app} has no database: its spec has no services.{key}")
    held = subject.owned.get(key, {}).get(wanted)
    if held is None or held.state is not HeldState.OWNED:
        raise NornError(f"database {wanted[1]} is not there yet: see norn status {app}")
    mark = subject.marks.get(key)
    if mark is None:
        raise NornError(
            f"norn does not know the password of {app}, which it was adopted with, and enters a "
            f"database as its owner only: first norn rotate {app}"
        )
    if mark.fingerprint in {DUE, LOST}:
        raise NornError(
            f"the password of {app} is being set anew: try again once it is Ready "
            f"(norn status {app})"
        )
    return wanted[1], subject.credentials[key]
