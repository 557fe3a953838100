"""The single writer's mandate: a row in norn_db, its renewal, and what a new leader does first."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from norn_reconciler.model.errors import LeaseHeld, LeaseLost, NornError, StoreUnavailable
from norn_reconciler.model.records import Lease
from norn_reconciler.store import codec, incarnation, queries
from norn_reconciler.store.database import Connection, session_name
from norn_reconciler.store.fence import LeaseFence, boottime
from norn_reconciler.store.reads import StoreReads
from norn_reconciler.tasks import checkpoint

Sleep = Callable[[float], Awaitable[object]]

_NODES = uuid.UUID("5f0c4c8e-3f1b-5d5a-9a63-0b8f6d1e7a42")  # namespace of our cluster_nodes ids
_POLL_SECONDS = 1.0  # how often a standby looks, at most
_SILENT_LEASES = 3  # leases without a heartbeat, after which a process with a living twin is gone
_FAREWELL_SECONDS = 2.0  # what a standby that ends gives norn_db to hear it


async def acquire(
    store: StoreReads,
    seconds: float,
    *,
    wait: bool = False,
    clock: Callable[[], float] = boottime,
    sleep: Sleep = asyncio.sleep,
) -> tuple[Lease, LeaseFence]:
    """Become the writer under `store.instance`, for `seconds` from now unless renewed.

    Free, released, expired by norn_db's clock, or held by a process that is certainly dead: taken,
    with a new epoch; the former holder's sessions in norn_db are ended, and its deployments in
    flight become failed. A process that takes it twice under one name must have revoked its former
    fence. Else raises LeaseHeld, or waits as a standby with a heartbeat in cluster_nodes, until it
    is cancelled. Raises StoreUnavailable.
    """
    pause = min(_POLL_SECONDS, seconds / 3)
    beaten = float("-inf")
    try:
        while True:
            try:
                return await _attempt(store, seconds, clock)
            except LeaseHeld:
                if not wait:
                    raise
            if clock() - beaten >= seconds / 3:
                await heartbeat(store, seconds)
                beaten = clock()
            await sleep(pause)
    except asyncio.CancelledError:
        if beaten > float("-inf"):
            with suppress(NornError):
                await heartbeat(store, seconds, status="stopped", within=_FAREWELL_SECONDS)
        raise


async def renew(store: StoreReads, lease: Lease, fence: LeaseFence) -> None:
    """Hold the lease for another `lease.seconds`, with a heartbeat in the same transaction.

    Also after it ran out, as long as nobody else took it. Raises LeaseLost (and revokes the fence)
    when somebody did, StoreUnavailable after a third of the lease at most.
    """
    sent = fence.now()
    values = {"epoch": lease.epoch, "holder": lease.holder, "seconds": lease.seconds}
    limit = min(store.database.request_timeout, lease.seconds / 3)
    async with store.database.transaction(limit) as conn:
        held = await (await conn.execute(queries.RENEW, values)).fetchone()
        if held is not None:
            await _put_node(conn, lease.holder, "leader", "ready", lease.seconds)
    if held is None:
        fence.revoke()
        raise LeaseLost(f"another process took the lease of {lease.holder} (epoch {lease.epoch})")
    fence.extend(sent)


async def release(store: StoreReads, lease: Lease, fence: LeaseFence) -> None:
    """Give the lease back, so that a standby need not wait. Nothing to do when it is not ours any
    more. Call it when no request is under way. Raises StoreUnavailable: it then simply runs out."""
    fence.revoke()
    async with store.database.transaction() as conn:
        values = {"epoch": lease.epoch, "holder": lease.holder}
        if await (await conn.execute(queries.RELEASE, values)).fetchone() is not None:
            await _put_node(conn, lease.holder, "standby", "stopped", lease.seconds)


async def keep(
    store: StoreReads,
    lease: Lease,
    fence: LeaseFence,
    on_lost: Callable[[LeaseLost], object],
    *,
    on_away: Callable[[StoreUnavailable], object] = lambda fault: None,
    on_back: Callable[[], object] = lambda: None,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Renew every third of the lease until cancelled, or until it is lost for good.

    norn_db away: `on_away` once, and more frequent tries; the fence runs out by itself and opens
    again with the first renewal that is granted (`on_back`). Another holder: `on_lost`, and return.
    """
    third = lease.seconds / 3
    away = False
    while True:
        checkpoint()
        await sleep(min(_POLL_SECONDS, third) if away else third)
        try:
            await renew(store, lease, fence)
        except LeaseLost as lost:
            on_lost(lost)
            return
        except StoreUnavailable as fault:
            if not away:
                on_away(fault)
            away = True
        else:
            if away:
                on_back()
            away = False


async def heartbeat(
    store: StoreReads, seconds: float, *, status: str = "ready", within: float | None = None
) -> None:
    """Say in cluster_nodes that this process stands by. seconds: the lease's length. Raises
    StoreUnavailable, after `within` seconds or the request's usual time."""
    async with store.database.session(within) as conn:
        await _put_node(conn, store.instance, "standby", status, seconds)


def node_id(instance: str) -> str:
    """This process's id in cluster_nodes: daemons that share a name have a row each. A UUID, so
    that a column of that type takes it too."""
    return str(uuid.uuid5(_NODES, f"{instance} {incarnation.current() or os.getpid()}"))


async def _attempt(
    store: StoreReads, seconds: float, clock: Callable[[], float]
) -> tuple[Lease, LeaseFence]:
    me = incarnation.current()
    async with store.database.session() as conn:
        seen = await _lease_row(conn)
        mine = seen["holder"] == store.instance and bool(me) and seen["incarnation"] == me
        dead = mine or incarnation.is_gone(seen["incarnation"])
        if seen["holder"] is not None and not (seen["expired"] or dead):
            raise _held(seen)
        # Before: a stopped process may sit in a transaction that keeps the row's lock.
        await _end_sessions(store, conn, seen["holder"])
        sent = clock()
        async with conn.transaction():
            values = {
                "holder": store.instance,
                "incarnation": me or None,
                "seconds": seconds,
                "seen": seen["epoch"],
                "dead": dead,
            }
            taken = await (await conn.execute(queries.ACQUIRE, values)).fetchone()
            if taken is not None:
                await conn.execute(queries.FAIL_IN_FLIGHT, {"epoch": taken["epoch"]})
                await conn.execute(queries.LEADERS_LOST, {"id": node_id(store.instance)})
                await _put_node(conn, store.instance, "leader", "ready", seconds)
        if taken is None:
            raise _held(await _lease_row(conn))
        # After: what the former holder opened in between.
        await _end_sessions(store, conn, seen["holder"])
    lease = Lease(store.instance, taken["epoch"], seconds)
    fence = LeaseFence(lease, clock=clock)
    fence.extend(sent)
    return lease, fence


async def _lease_row(conn: Connection) -> dict[str, Any]:
    row = await (await conn.execute(queries.LEASE)).fetchone()
    assert row is not None, "the migration inserts the lease's only row"
    return row


def _held(row: dict[str, Any]) -> LeaseHeld:
    """Between our look and our try it may have been released again: then nobody is named."""
    return LeaseHeld(row["holder"] or "another process", row["expires_at"] or datetime.now(UTC))


async def _end_sessions(store: StoreReads, conn: Connection, holder: str | None) -> None:
    if holder is not None:
        own = store.database.pids()
        await conn.execute(queries.END_SESSIONS, {"name": session_name(holder), "own": own})


async def _put_node(
    conn: Connection, instance: str, role: str, status: str, seconds: float
) -> None:
    row = {
        "id": node_id(instance),
        "name": instance,
        "provider": "norn-reconciler",
        "region": "",
        "size": "",
        "role": role,
        "public_ip": "",
        "tailscale_ip": "",
        "status": status,
        "provider_id": str(os.getpid()),
        "error": "",
    }
    await conn.execute(queries.PUT_NODE, {"row": codec.dumps(row)})
    twins = {"id": row["id"], "name": instance, "seconds": seconds * _SILENT_LEASES}
    await conn.execute(queries.DROP_SILENT_TWINS, twins)
