"""Reads for people, and requests to the writer: what works beside a running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any

from norn_reconciler.model.app import AppName
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.errors import SchemaMismatch
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.records import AppRecord, Generation, Operation
from norn_reconciler.model.secret import Secret
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.model.status import Event
from norn_reconciler.store import codec, queries, shown
from norn_reconciler.store.database import Connection, Database, cut_at
from norn_reconciler.store.faults import translated
from norn_reconciler.store.revisions import verdict
from norn_reconciler.store.views import (
    AppHealth,
    ForgeView,
    Happening,
    LeaseState,
    Node,
    PastDeployment,
    RecordedEvent,
    Standing,
)

_LISTEN_SECONDS = 15.0  # silence after which a listening connection is asked whether it lives


class StoreReads:
    """instance: this process's name in the lease and, as `norn:<instance>`, of its sessions. A
    command that never takes the lease gives itself another name than the daemon's: a new leader
    ends the sessions that bear the old one's. request_timeout: seconds."""

    def __init__(self, url: Secret, *, instance: str, request_timeout: float = 10.0) -> None:
        self.instance = instance
        self.database = Database(url, instance=instance, request_timeout=request_timeout)

    async def close(self) -> None:
        await self.database.close()

    async def require_schema(self) -> None:
        """Raise SchemaMismatch unless norn_db's schema is exactly this program's; SchemaMissing
        where it holds no table of ours at all."""
        try:
            rows = await self._read(queries.REVISION)
        except SchemaMismatch:
            rows = []
        if not rows and await self._read(queries.TABLES):
            raise SchemaMismatch(
                "norn_db has tables of norn-reconciler and no word of their version: restore it"
            )
        verdict(rows[0]["version_num"] if rows else None)

    async def key_fingerprint(self) -> str | None:
        """Of the master key that norn_db's credentials are derived from."""
        rows = await self._read(queries.META)
        return rows[0]["key_fingerprint"] if rows else None

    async def apps(self) -> Sequence[AppRecord]:
        """All known apps, by name."""
        return [codec.app_record(r) for r in await self._read(queries.APPS, {"app": None})]

    async def app(self, name: AppName) -> AppRecord | None:
        rows = await self._read(queries.APPS, {"app": name})
        return codec.app_record(rows[0]) if rows else None

    async def inventory_of(self, app: AppName) -> Mapping[str, Owned]:
        """What one app has, by service."""
        found: dict[str, dict[ObjectKey, Held]] = {}
        for row in await self._read(queries.INVENTORY, {"app": app}):
            held = codec.held_value(row)
            found.setdefault(row["service"], {})[held.key] = held
        return found

    async def standing(self) -> Standing:
        """What holds for the whole folder."""
        rows = await self._read(queries.META)
        return (
            Standing(rows[0]["held"], tuple(rows[0]["refused"]), rows[0]["doomed"])
            if rows
            else Standing()
        )

    async def events(self, app: AppName | None = None, limit: int = 50) -> Sequence[RecordedEvent]:
        """Newest first; of all apps when `app` is None."""
        return [
            RecordedEvent(
                r["id"],
                r["at"],
                Event(r["event"], r["severity"], r["app"], r["message"], r["fields"], r["service"]),
            )
            for r in await self._read(shown.EVENTS, {"app": app, "limit": limit})
        ]

    async def deployments(
        self, app: AppName | None = None, limit: int = 20
    ) -> Sequence[PastDeployment]:
        """Newest first, other Norn tools' rows included."""
        return [
            PastDeployment(**{**r, "steps": codec.steps_of(r["steps"])})
            for r in await self._read(shown.DEPLOYMENTS, {"app": app, "limit": limit})
        ]

    async def forge_states(self, app: AppName | None = None) -> Sequence[ForgeView]:
        """By app."""
        return [
            ForgeView(
                **{
                    **r,
                    "steps": codec.steps_of(r["steps"]),
                    "resources": codec.mapping_of(r["resources"]),
                }
            )
            for r in await self._read(shown.FORGE_STATES, {"app": app})
        ]

    async def app_health(self) -> Sequence[AppHealth]:
        """The last probe of each active app on each service, by app and service."""
        return [AppHealth(**r) for r in await self._read(shown.HEALTH_CHECKS)]

    async def nodes(self) -> Sequence[Node]:
        """Processes of this daemon, by name, the leader first."""
        return [Node(**r) for r in await self._read(shown.NODES)]

    async def snapshots(self, app: AppName | None = None) -> Sequence[SnapshotRecord]:
        """Newest first; of all apps when `app` is None."""
        rows = await self._read(queries.SNAPSHOTS, {"app": app})
        return [codec.snapshot_record(r) for r in rows]

    async def crons(self) -> Sequence[CronState]:
        """What is to run and when, by app, other Norn tools' rows included."""
        return [CronState(**row) for row in await self._read(queries.CRONS)]

    async def history(
        self, app: AppName | None, events: Sequence[str], since: datetime | None, limit: int
    ) -> Sequence[Happening]:
        """Newest first: operations, rollouts, and the events of these names. Of all apps when `app`
        is None."""
        values = {"app": app, "events": list(events), "since": since, "limit": limit}
        return [
            Happening(**{**row, "steps": codec.steps_of(row["steps"] or [])})
            for row in await self._read(shown.HISTORY, values)
        ]

    async def generations(self, app: AppName) -> Sequence[Generation]:
        """The versions of its spec that norn_db has, newest first."""
        return [Generation(**row) for row in await self._read(queries.GENERATIONS, {"app": app})]

    async def pause_cron(self, row: str, paused: bool) -> bool:
        """Whether there is such a row. Needs no lease: this column is anybody's."""
        return bool(await self._read(queries.PAUSE_CRON, {"row": row, "paused": paused}))

    async def lease_holder(self) -> LeaseState:
        row = (await self._read(queries.LEASE))[0]
        return LeaseState(row["holder"], row["epoch"], row["expires_at"], row["expired"])

    async def request(self, operation: Operation) -> int:
        """Ask the writer for an operation and wake it. `operation.id` and its state are ignored.
        Returns the new id. Needs no lease."""
        values = {
            "kind": operation.kind,
            "app": operation.app,
            "arguments": codec.dumps(operation.arguments),
            "digest": operation.digest,
            "requested_by": codec.clean(operation.requested_by),
        }
        new: int = (await self._read(queries.REQUEST_OPERATION, values))[0]["id"]
        return new

    async def destroyed(self, seconds: float) -> tuple[frozenset[AppName], frozenset[str]]:
        rows = await self._read(queries.DESTROYED, {"seconds": seconds})
        apps = frozenset(AppName(r["value"]) for r in rows if r["kind"] == "app")
        return apps, frozenset(r["value"] for r in rows if r["kind"] == "digest")

    async def operation(self, id: int) -> Operation | None:
        rows = await self._read(queries.OPERATION, {"id": id})
        return codec.operation(rows[0]) if rows else None

    async def pending_operations(self) -> Sequence[Operation]:
        """Queued and running ones, oldest first."""
        return [codec.operation(r) for r in await self._read(queries.PENDING_OPERATIONS)]

    async def recent_operations(
        self, app: AppName | None = None, limit: int = 20
    ) -> Sequence[Operation]:
        """Newest first."""
        values = {"app": app, "limit": limit}
        return [codec.operation(r) for r in await self._read(queries.RECENT_OPERATIONS, values)]

    async def listen(self) -> AsyncGenerator[None, None]:
        """Yield whenever operations may have been requested: once as soon as nothing can be missed
        any more, then on each notification (several may become one).

        Raises StoreUnavailable when the connection is lost, noticed within some 15 s plus
        request_timeout if norn_db is frozen: poll then, and listen anew. Use it with
        contextlib.aclosing.
        """
        conn = await self.database.connect()
        try:
            with translated():
                await self._answer(conn, queries.LISTEN)
            yield None
            while True:
                with translated():
                    heard = [n async for n in conn.notifies(timeout=_LISTEN_SECONDS, stop_after=1)]
                    if not heard:
                        await self._answer(conn, queries.PING)
                if heard:
                    yield None
        finally:
            await conn.close()

    async def _answer(self, conn: Connection, statement: str) -> None:
        until = asyncio.get_running_loop().time() + self.database.request_timeout
        with cut_at(conn, until):
            await conn.execute(statement)

    async def _read(
        self, statement: str, values: Mapping[str, Any] | None = None
    ) -> list[codec.Row]:
        async with self.database.session() as conn:
            return await self._rows(conn, statement, values)

    @staticmethod
    async def _rows(
        conn: Connection, statement: str, values: Mapping[str, Any] | None = None
    ) -> list[codec.Row]:
        return list(await (await conn.execute(statement, values)).fetchall())
