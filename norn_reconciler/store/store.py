"""PostgresStore: model.records.Store on norn_db, what the engine writes through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseLost
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.records import AppState, Changes, Operation, ServiceRecord, Snapshot
from norn_reconciler.model.status import Event
from norn_reconciler.store import codec, queries
from norn_reconciler.store.database import Connection
from norn_reconciler.store.reads import StoreReads

_ALL = {"app": None}


class PostgresStore(StoreReads):
    """One instance's way into norn_db. Constructing one does no I/O.

    Every method raises StoreUnavailable when norn_db does not answer within request_timeout,
    SchemaMismatch where its tables are missing or older. A StoreUnavailable from a write leaves
    open whether it was committed; all writes but events may simply be sent again.
    """

    async def snapshot(self) -> Snapshot:
        """All that the engine starts from, as of one instant."""
        async with self.database.reading() as conn:
            apps = await self._rows(conn, queries.APPS, _ALL)
            held = await self._rows(conn, queries.INVENTORY, _ALL)
            services = await self._rows(conn, queries.SERVICES, _ALL)
            meta = await self._rows(conn, queries.META)
            migrated = await self._rows(conn, queries.MIGRATED)
        inventory: dict[str, dict[AppName, dict[ObjectKey, Held]]] = defaultdict(dict)
        for row in held:
            value = codec.held_value(row)
            inventory[row["service"]].setdefault(row["app"], {})[value.key] = value
        records: dict[str, dict[AppName, ServiceRecord]] = defaultdict(dict)
        for row in services:
            records[row["service"]][row["app"]] = codec.service_record(row)
        return Snapshot(
            {r.app: r for r in map(codec.app_record, apps)},
            dict(inventory),
            dict(records),
            meta[0]["key_fingerprint"] if meta else None,
            meta[0]["held"] if meta else "",
            tuple(meta[0]["refused"]) if meta else (),
            # Nothing is written of an app any more once it is removed.
            {row["app"]: row["age"] for row in apps if row["state"] == AppState.REMOVED.value},
            {m.app: m for m in map(codec.migrated, migrated)},
            meta[0]["doomed"] if meta else "",
        )

    async def claim(
        self,
        epoch: int,
        service: str,
        rows: Mapping[AppName, Mapping[ObjectKey, Held]],
        events: Sequence[Event] = (),
    ) -> None:
        """Write intent rows and events, one commit for the batch. Raises LeaseLost."""
        flat = [
            codec.held_row(service, app, h) for app, held in rows.items() for h in held.values()
        ]
        if not flat and not events:
            return
        async with self._writing(epoch) as conn:
            if flat:
                await conn.execute(queries.CLAIM, {"rows": codec.dumps(flat)})
            if events:
                await conn.execute(queries.ADD_EVENTS, _events(events))

    async def record(self, epoch: int, changes: Changes) -> None:
        """Write all of `changes` in one transaction, one statement a table; an app that is also in
        `forgotten` ends forgotten. Does nothing at all when it is empty. Raises LeaseLost."""
        if not changes:
            return
        async with self._writing(epoch) as conn:
            for statement, values in _statements(epoch, changes):
                await conn.execute(statement, values)

    async def update_operation(self, epoch: int, operation: Operation) -> None:
        """Write its state, step, arguments and result. finished_at is norn_db's clock unless
        given. Raises LeaseLost."""
        values = {
            "id": operation.id,
            "state": operation.state.value,
            "step": codec.clean(operation.step),
            "result": codec.clean(operation.result),
            "arguments": codec.dumps(operation.arguments),
            "finished_at": operation.finished_at,
        }
        async with self._writing(epoch) as conn:
            await conn.execute(queries.PUT_OPERATION, values)

    async def prune(
        self, epoch: int, *, days: int = 30, events_per_app: int = 1000, batch: int = 2000
    ) -> int:
        """Delete what is past its retention, at most `batch` rows of a kind: call it now and then,
        and again while it returns `batch` or more. Returns how many rows went. Raises LeaseLost."""
        limits = {"days": days, "keep": events_per_app, "batch": batch}
        async with self._writing(epoch) as conn:
            gone = 0
            for statement in (
                queries.PRUNE_OLD_EVENTS,
                queries.PRUNE_MANY_EVENTS,
                queries.PRUNE_OPERATIONS,
                queries.PRUNE_GENERATIONS,
                queries.PRUNE_NODES,
                queries.PRUNE_HEALTH_CHECKS,
                queries.PRUNE_EXECUTIONS,
            ):
                gone += (await conn.execute(statement, limits)).rowcount
        return gone

    @asynccontextmanager
    async def _writing(self, epoch: int) -> AsyncIterator[Connection]:
        async with self.database.transaction() as conn:
            right = {"epoch": epoch, "holder": self.instance}
            if not await self._rows(conn, queries.HOLD_EPOCH, right):
                raise LeaseLost(f"{self.instance} no longer holds the lease (epoch {epoch})")
            yield conn


def _statements(epoch: int, changes: Changes) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """At most one statement a table, whatever the number of apps."""
    if changes.apps:
        last = {r.app: r for r in changes.apps}
        yield queries.PUT_APPS, _rows(codec.app_row(r) for r in last.values())
    if changes.inventory:
        yield queries.PUT_INVENTORY, _inventory(changes.inventory)
    if changes.services:
        yield (
            queries.PUT_SERVICES,
            _rows(codec.service_row(s, a, r) for (s, a), r in changes.services.items()),
        )
    if changes.events:
        yield queries.ADD_EVENTS, _events(changes.events)
    if changes.deployments:
        rollouts = {d.id: d for d in changes.deployments}
        yield (
            queries.PUT_DEPLOYMENTS,
            _rows(codec.deployment_row(d, epoch) for d in rollouts.values()),
        )
    if changes.forge_states:
        states = {f.app: f for f in changes.forge_states}
        yield queries.PUT_FORGE_STATES, _rows(codec.forge_row(f, epoch) for f in states.values())
    if changes.health_checks:
        yield queries.ADD_HEALTH_CHECKS, _rows(codec.health_row(h) for h in changes.health_checks)
    yield from _snapshots(changes)
    yield from _crons(epoch, changes)
    yield from _migrations(changes)
    if changes.forgotten:
        yield queries.FORGET, {"apps": sorted(changes.forgotten)}
    if changes.key_fingerprint:
        yield queries.PUT_KEY_FINGERPRINT, {"key_fingerprint": changes.key_fingerprint}
    if changes.held is not None:
        yield queries.PUT_HELD, {"held": codec.clean(changes.held)}
    if changes.doomed is not None:
        yield queries.PUT_DOOMED, {"doomed": codec.clean(changes.doomed)}
    if changes.refused is not None:
        yield queries.PUT_REFUSED, {"refused": codec.dumps(changes.refused)}


def _snapshots(changes: Changes) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if changes.snapshots:
        yield queries.PUT_SNAPSHOTS, _rows(codec.snapshot_row(r) for r in changes.snapshots)
    if changes.discarded:
        yield queries.DISCARD_SNAPSHOTS, {"names": sorted(changes.discarded)}


def _crons(epoch: int, changes: Changes) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if changes.crons:
        yield queries.PUT_CRONS, _rows(codec.cron_row(c) for c in changes.crons)
    if changes.executions:
        yield (
            queries.PUT_EXECUTIONS,
            _rows(codec.execution_row(e, epoch) for e in changes.executions),
        )
    if changes.uncron:
        yield queries.DROP_CRONS, {"apps": sorted(changes.uncron)}


def _migrations(changes: Changes) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if changes.renamed:
        yield queries.RENAME, _rows({"old": o, "new": n} for o, n in changes.renamed.items())
    if changes.migrated:
        yield queries.PUT_MIGRATED, _rows(codec.migrated_row(m) for m in changes.migrated)


def _rows(rows: Iterable[codec.Row]) -> Mapping[str, Any]:
    return {"rows": codec.dumps(list(rows))}


def _events(events: Sequence[Event]) -> Mapping[str, Any]:
    return _rows(codec.event_row(n, e) for n, e in enumerate(events))


def _inventory(inventory: Mapping[tuple[str, AppName], Owned]) -> Mapping[str, Any]:
    rows: Sequence[codec.Row] = [
        codec.held_row(service, app, held)
        for (service, app), owned in inventory.items()
        for held in owned.values()
    ]
    scope = [{"service": service, "app": app} for service, app in inventory]
    return {"rows": codec.dumps(rows), "scope": codec.dumps(scope)}
