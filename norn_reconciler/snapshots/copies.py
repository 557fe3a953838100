"""One database into one file that is whole, verified, and under its name: a snapshot's own part,
and that of whatever makes one before it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model.records import AppRecord
from norn_reconciler.model.snapshots import SnapshotRecord, Source
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.clients import Client
from norn_reconciler.snapshots.dump import dump, listed
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.names import named, parsed

_SECOND = 1.0  # two of one database may not bear one name


class Copies:
    """commit: what the name says of the spec that was in force."""

    def __init__(
        self,
        folder: Folder,
        commit: Callable[[AppRecord], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._commit = commit
        self._now = now

    async def prepare(self) -> None:
        """The folder is there, and what others left half is not."""
        await asyncio.to_thread(self._folder.prepare)
        await asyncio.to_thread(self._folder.sweep)

    def whole(self, name: str, database: str) -> str | None:
        """`name`, if that is a finished copy of `database`."""
        known = parsed(name)
        if known is None or known.database != database or self._folder.size(name) is None:
            return None
        return str(known)

    async def make(
        self, app: AppRecord, database: str, source: Source, steps: Steps, before: str | None = None
    ) -> SnapshotRecord:
        """database: what the file is to say, whatever it is called just now. before: one that a
        predecessor had finished but for its record. The record is the caller's to write. Raises
        NornError, OSError."""
        client = await asyncio.to_thread(clients.fitting, source.version)
        if before is None:
            name = await self._made(app, database, source, client, steps)
        else:
            name = before
            await steps.begin("verify")
            await listed(client, self._folder.file(name))
        await steps.begin("record")
        known, path = parsed(name), self._folder.file(name)
        assert known is not None
        return SnapshotRecord(
            name,
            app.app,
            known.database,
            known.commit,
            (await asyncio.to_thread(path.stat)).st_size,
            await digest(path),
            f"{source.version // 10000}.{source.version % 10000}",
            client.words,
            known.made_at,
        )

    async def _made(
        self, app: AppRecord, database: str, source: Source, client: Client, steps: Steps
    ) -> str:
        commit = await asyncio.to_thread(self._commit, app)
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


def created(record: SnapshotRecord, service: str) -> Event:
    """That it is there."""
    fields = {"name": record.name, "size": record.size, "sha256": record.sha256}
    text = f"{record.name}, {size_words(record.size)}"
    return Event(logs.SNAPSHOT_CREATED, "info", record.app, text, fields, service)


def size_words(size: int) -> str:
    """`812 bytes`, `12.3 kB`, `4.0 MB`: as disks are sold."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
