"""One app's database into one file, verified and recorded; and the operation `snapshot`, which also
throws old ones away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from norn_reconciler import logs
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.records import AppRecord, Changes, Operation
from norn_reconciler.model.secret import DUE, LOST, Credential
from norn_reconciler.model.snapshots import SnapshotRecord, Source, Sources
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.clients import Client
from norn_reconciler.snapshots.dump import dump, listed
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.names import named, parsed
from norn_reconciler.snapshots.prune import Pruning

KIND = "snapshot"
_SECOND = 1.0  # two of one database may not bear one name


class Copier:
    """Makes one verified, recorded copy of a database. commit: what the name says of the spec that
    was in force."""

    def __init__(
        self,
        folder: Folder,
        sources: Sources,
        commit: Callable[[AppRecord], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = folder
        self.sources = sources
        self._commit = commit
        self._now = now

    async def prepare(self) -> None:
        """Raises OSError or NornError where nothing can be kept."""
        await asyncio.to_thread(self.folder.prepare)
        await asyncio.to_thread(self.folder.sweep)

    async def copy(
        self, record: AppRecord, database: str, source: Source, begun: object, steps: Steps
    ) -> SnapshotRecord:
        """begun: the name that a predecessor of this very operation had begun with, which is taken
        up where it had got that far. Raises NornError, OSError."""
        client = await asyncio.to_thread(clients.fitting, source.version)
        name = self._whole(begun, database)
        if name is None:
            name = await self._made(record, database, source, client, steps)
        else:
            await steps.begin("verify")
            await listed(client, self.folder.file(name))
        await steps.begin("record")
        made = await self._record(self.folder.file(name), record.app, source, client)
        facts = {"name": name, "size": made.size, "sha256": made.sha256}
        text, key = f"{name}, {size_words(made.size)}", self.sources.key
        event = Event(logs.SNAPSHOT_CREATED, "info", record.app, text, facts, key)
        await steps.write(Changes(snapshots=[made], events=[event]))
        return made

    def _whole(self, begun: object, database: str) -> str | None:
        """What a predecessor had finished but for its record."""
        name = parsed(str(begun or ""))
        if name is None or name.database != database or self.folder.size(str(name)) is None:
            return None
        return str(name)

    async def _made(
        self, record: AppRecord, database: str, source: Source, client: Client, steps: Steps
    ) -> str:
        commit = await asyncio.to_thread(self._commit, record)
        name = str(named(database, commit, self._now()))
        if self.folder.size(name) is not None:
            await asyncio.sleep(_SECOND)
            name = str(named(database, commit, self._now()))
        await steps.begin("dump", name=name)

        async def tell(size: int) -> None:
            await steps.tell(size_words(size))

        with self.folder.part(name) as part:
            await dump(client, source, part, tell)
            await steps.begin("verify")
            await asyncio.to_thread(part.sync)
            await listed(client, part.path)
            await steps.begin("keep")
            await asyncio.to_thread(self.folder.keep, part, name)
        return name

    async def _record(
        self, path: Path, app: AppName, source: Source, client: Client
    ) -> SnapshotRecord:
        name = parsed(path.name)
        assert name is not None
        return SnapshotRecord(
            path.name,
            app,
            name.database,
            name.commit,
            (await asyncio.to_thread(path.stat)).st_size,
            await digest(path),
            f"{source.version // 10000}.{source.version % 10000}",
            client.words,
            name.made_at,
        )


class SnapshotWork:
    kind = KIND
    exclusive = False
    of_removed = False

    def __init__(self, copier: Copier, pruning: Pruning) -> None:
        self._copier = copier
        self._pruning = pruning

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a snapshot is of an app"
        record, pruned = await self.make(operation, subject, steps)
        text = f"{record.name}, {size_words(record.size)}"
        return text + (f"; {pruned} older pruned" if pruned else "")

    async def make(
        self, operation: Operation, subject: Subject, steps: Steps, *, fresh: bool = False
    ) -> tuple[SnapshotRecord, int]:
        """A recorded snapshot, and how many older ones went for it. fresh: where a predecessor had
        made one, another is made: time has passed since."""
        sources = self._copier.sources
        database, credential = own_database(sources, subject)
        await steps.begin("prepare")
        await self._copier.prepare()
        source = await sources.look(subject.app, credential)
        begun = operation.arguments.get("name")
        record = await self._copier.copy(subject.record, database, source, begun, steps)
        if fresh and record.name == begun:
            record = await self._copier.copy(subject.record, database, source, None, steps)
        await steps.begin("prune")
        sure = frozenset({record.name})
        return record, len(await self._pruning.prune([subject.app.name], steps, sure=sure))


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
    mark = subject.services[key].mark
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


def size_words(size: int) -> str:
    """`812 bytes`, `12.3 kB`, `4.0 MB`: as disks are sold."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
