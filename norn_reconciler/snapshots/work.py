"""The operation `snapshot`: one app's database into one file, recorded, and the old ones thrown
away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from norn_reconciler import logs
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


class SnapshotWork:
    """commit: what the name says of the spec that was in force."""

    kind = KIND
    exclusive = False
    of_removed = False

    def __init__(
        self,
        folder: Folder,
        sources: Sources,
        commit: Callable[[AppRecord], str],
        pruning: Pruning,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._sources = sources
        self._commit = commit
        self._pruning = pruning
        self._now = now

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a snapshot is of an app"
        database, credential = own_database(self._sources, subject)
        await steps.begin("prepare")
        await asyncio.to_thread(self._folder.prepare)
        await asyncio.to_thread(self._folder.sweep)
        source = await self._sources.look(subject.app, credential)
        client = await asyncio.to_thread(clients.fitting, source.version)
        name = self._whole(operation, database)
        if name is None:
            name = await self._made(database, subject, source, client, steps)
        else:
            await steps.begin("verify")
            await listed(client, self._folder.file(name))
        await steps.begin("record")
        path = self._folder.file(name)
        record = await self._record(path, subject, source, client)
        text = f"{name}, {size_words(record.size)}"
        event = Event(
            logs.SNAPSHOT_CREATED,
            "info",
            subject.app.name,
            text,
            {"name": name, "size": record.size, "sha256": record.sha256},
            self._sources.key,
        )
        await steps.write(Changes(snapshots=[record], events=[event]))
        await steps.begin("prune")
        gone = await self._pruning.prune([subject.app.name], steps, sure=frozenset({name}))
        return text + (f"; {len(gone)} older pruned" if gone else "")

    def _whole(self, operation: Operation, database: str) -> str | None:
        """What a predecessor of this very operation had finished but for its record."""
        name = parsed(str(operation.arguments.get("name", "")))
        if name is None or name.database != database or self._folder.size(str(name)) is None:
            return None
        return str(name)

    async def _made(
        self, database: str, subject: Subject, source: Source, client: Client, steps: Steps
    ) -> str:
        commit = await asyncio.to_thread(self._commit, subject.record)
        name = str(named(database, commit, self._now()))
        if self._folder.size(name) is not None:
            await asyncio.sleep(_SECOND)
            name = str(named(database, commit, self._now()))
        await steps.begin("dump", name=name)

        async def tell(size: int) -> None:
            await steps.tell(size_words(size))

        with self._folder.part(name) as part:
            await dump(client, source, part, tell)
            await steps.begin("verify")
            await asyncio.to_thread(part.sync)
            await listed(client, part.path)
            await steps.begin("keep")
            await asyncio.to_thread(self._folder.keep, part, name)
        return name

    async def _record(
        self, path: Path, subject: Subject, source: Source, client: Client
    ) -> SnapshotRecord:
        name = parsed(path.name)
        assert name is not None
        return SnapshotRecord(
            path.name,
            subject.app.name,
            name.database,
            name.commit,
            (await asyncio.to_thread(path.stat)).st_size,
            await digest(path),
            f"{source.version // 10000}.{source.version % 10000}",
            client.words,
            name.made_at,
        )


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


def size_words(size: int) -> str:
    """`812 bytes`, `12.3 kB`, `4.0 MB`: as disks are sold."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
