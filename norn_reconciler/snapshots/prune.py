"""Throwing away what is too old or too much: at the end of each snapshot, and as an operation of
its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.snapshots import SnapshotRecord, SnapshotRecords
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.retention import Kept, Limits, expired, last_good

KIND = "prune"


class Pruning:
    """Only what norn_db has a record of goes. Before anything goes, the one that stays is read."""

    def __init__(
        self,
        folder: Folder,
        records: SnapshotRecords,
        limits: Callable[[], Limits],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._records = records
        self._limits = limits
        self._now = now

    async def prune(
        self, apps: Collection[AppName], steps: Steps, sure: frozenset[str] = frozenset()
    ) -> list[SnapshotRecord]:
        """apps: none means all. sure: names that have just been read. Returns what went."""
        by = {
            record.name: record
            for record in await self._records.snapshots()
            if not apps or record.app in apps
        }
        names = await self._to_go(by, sure)
        gone = [by[name] for name in sorted(names)]
        if gone:
            for record in gone:
                await steps.tell(record.name)  # whether this process may still do so
                await asyncio.to_thread(self._folder.remove, record.name)
            await asyncio.to_thread(self._folder.sync)
            events = [
                Event(
                    logs.SNAPSHOT_PRUNED,
                    "info",
                    record.app,
                    f"{record.name} is deleted: newer ones are kept",
                    {"name": record.name},
                )
                for record in gone
            ]
            await steps.write(Changes(discarded=[r.name for r in gone], events=events))
        return gone

    async def _to_go(
        self, records: dict[str, SnapshotRecord], sure: frozenset[str]
    ) -> frozenset[str]:
        found = {
            name: Kept(name, r.database, r.made_at, self._folder.size(name) == r.size)
            for name, r in records.items()
        }
        read = set(sure)
        while True:
            gone = expired(found.values(), self._limits(), self._now())
            concerned = {found[name].database for name in gone}
            stays = [
                kept.name
                for database, kept in last_good(found.values()).items()
                if database in concerned and kept.name not in read
            ]
            if not stays:
                return gone
            for name in stays:
                read.add(name)
                seen = await digest(self._folder.file(name))
                found[name] = replace(found[name], good=seen == records[name].sha256)


class PruneWork:
    """apps among the operation's arguments: which; none: all."""

    kind = KIND
    exclusive = False
    of_removed = False

    def __init__(self, folder: Folder, pruning: Pruning) -> None:
        self._folder = folder
        self._pruning = pruning

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        await steps.begin("prune")
        await asyncio.to_thread(self._folder.prepare)
        await asyncio.to_thread(self._folder.sweep)
        asked = operation.arguments.get("apps")
        apps = [AppName(str(a)) for a in asked] if isinstance(asked, list) else []
        gone = await self._pruning.prune(apps, steps)
        if not gone:
            return "nothing is too old or too much"
        names = ", ".join(record.name for record in gone[:20])
        return f"{len(gone)} deleted: {names}{', …' if len(gone) > 20 else ''}"
