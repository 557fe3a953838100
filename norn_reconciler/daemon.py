"""`norn run`: lifetimes. A process waits for the lease, serves a term with it, waits again."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from norn_reconciler import __version__, compose, logs, specs_folder
from norn_reconciler.engine import migrations, timetable
from norn_reconciler.engine.operations import Operations
from norn_reconciler.jobs import cron
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.errors import (
    KeyMismatch,
    LeaseHeld,
    LeaseLost,
    NornError,
    SchemaInUse,
    SchemaNewer,
    ServiceError,
    StoreUnavailable,
    expected,
)
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import Changes, Lease, Operation
from norn_reconciler.notify import Notifier
from norn_reconciler.settings import Settings
from norn_reconciler.snapshots import work as snapshots
from norn_reconciler.spec import watch
from norn_reconciler.store import lease as leases
from norn_reconciler.store.fence import LeaseFence
from norn_reconciler.store.store import PostgresStore
from norn_reconciler.tasks import checkpoint

RETRY = 2.0  # seconds between tries to reach norn_db before anything can be done
HELD = 10.0  # seconds between looks at a master key that does not fit
OPERATIONS = 3.0  # seconds: norn_db's notification is a hint, this is the promise
FOLLOW = 0.1  # seconds between looks at a request that somebody waits for
PRUNE = 3600.0  # seconds
TIMETABLE = 5.0  # seconds between looks at what runs by the clock
REFUSED = 60.0  # seconds until one that norn_db refused is tried again
BATCH = 2000  # rows of a kind that are pruned in one transaction


async def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT. Returns the exit code."""
    leave_no_core()
    name = compose.instance(settings)
    logs.get().info(
        logs.DAEMON_STARTED, version=__version__, instance=name, specs_dir=str(settings.specs_dir)
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    code = 0
    try:
        await _live(settings, name, stop)
    except* _Stopped:
        logs.get().info(logs.DAEMON_STOPPED, reason="signal")
    except* NornError as faults:
        code = 1
        for fault in expected(faults):
            logs.get().error(logs.DAEMON_FAILED, error=str(fault))
    except* Exception as defect:
        code = 1
        logs.get().error(logs.DAEMON_FAILED, error="a defect in norn itself", exc_info=defect)
    return code


async def _live(settings: Settings, name: str, stop: asyncio.Event) -> None:
    notifier = Notifier()
    async with compose.open_providers(settings, name) as providers:
        store = compose.store_of(settings, name)
        daemon = Daemon(settings, store, providers, notifier)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_watchdog(notifier), name="watchdog")
                tasks.create_task(daemon.serve(), name="serve")
                tasks.create_task(_until(stop), name="stop")
        finally:
            notifier.send("STOPPING=1")
            await store.close()


class _Stopped(Exception):
    """Asked to end: cancels the whole group."""


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


async def _watchdog(notifier: Notifier) -> None:
    """Fed by the loop itself: a loop that hangs is restarted by systemd."""
    while notifier.watchdog_seconds is not None:
        notifier.send("WATCHDOG=1")
        await asyncio.sleep(notifier.watchdog_seconds / 3)


def leave_no_core() -> None:
    """A dump of this process holds the master key and every app's password."""
    with contextlib.suppress(ValueError, OSError):  # systemd has done it, and forbids the call
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Daemon:
    """One process's life: standby, leader, standby, …"""

    def __init__(
        self,
        settings: Settings,
        store: PostgresStore,
        providers: Mapping[str, AnyProvider],
        notifier: Notifier,
    ) -> None:
        self._settings = settings
        self._store = store
        self._providers = providers
        self._notifier = notifier
        self._woken = asyncio.Event()  # somebody asked for an operation
        self._looking = asyncio.Lock()  # an older look must not be put in force after a newer one

    async def serve(self) -> None:
        """For ever: get ready, wait for the lease, serve a term. Raises SchemaNewer, and NornError
        when norn_db can't be made ready."""
        await self._prepare()
        while True:
            try:
                # A task of its own each time: a TaskGroup that a fault has ended leaves a pending
                # cancellation on the task around it, and the next group there would trip over it.
                await asyncio.create_task(self._term(), name="term")
            except* SchemaNewer:
                raise
            except* LeaseLost as lost:
                logs.get().error(logs.LEASE_LOST, error=str(lost.exceptions[0]))
            except* KeyMismatch as held:
                logs.get().error(logs.CREDENTIALS_HELD, error=str(held.exceptions[0]))
                await asyncio.sleep(HELD)
            except* NornError as away:
                logs.get().warning(logs.STORE_LOST, error=str(away.exceptions[0]))
                await asyncio.sleep(RETRY)

    async def _prepare(self) -> None:
        """norn_db has its tables, and the specs were read: then systemd is told READY."""
        away, leader = False, ""
        while True:
            try:
                await compose.upgraded(self._settings, self._store)
                break
            except StoreUnavailable as fault:
                status = str(fault)
                if not away:
                    logs.get().warning(logs.STORE_LOST, error=status)
                away = True
            except SchemaInUse as older:
                status = str(older)
                if older.holder != leader:
                    logs.get().warning(logs.SCHEMA_WAITED, holder=older.holder, error=status)
                leader = older.holder
            self._notifier.send(f"STATUS={status}", "EXTEND_TIMEOUT_USEC=30000000")
            await asyncio.sleep(RETRY)
        if away:
            logs.get().info(logs.STORE_RECOVERED)
        specs_folder.first_look(self._settings)
        self._notifier.send("READY=1", "STATUS=standing by")

    async def _acquire(self) -> tuple[Lease, LeaseFence]:
        try:
            return await leases.acquire(self._store, self._settings.lease_seconds)
        except LeaseHeld as held:
            logs.get().info(logs.LEASE_WAITED, holder=held.holder)
            self._notifier.send(f"STATUS=standing by for {held.holder}")
        return await leases.acquire(self._store, self._settings.lease_seconds, wait=True)

    async def _term(self) -> None:
        """From the lease's gain to its loss."""
        former = (await self._store.lease_holder()).holder
        lease, fence = await self._acquire()
        logs.get().info(logs.LEASE_ACQUIRED, epoch=lease.epoch)
        self._notifier.send("STATUS=leader")
        try:
            async with asyncio.TaskGroup() as tasks:
                # From the first moment: reading a large norn_db may take longer than the lease.
                tasks.create_task(self._keep(lease, fence), name="lease")
                await self._store.require_schema()  # a newer leader may have upgraded it meanwhile
                await self._end_sessions(former)
                work = await compose.parts(
                    self._settings,
                    self._providers,
                    self._store,
                    lease.epoch,
                    fence,
                    specs_folder.Specs(self._settings),
                )
                looked = asyncio.Event()
                tasks.create_task(self._specs(work, looked), name="specs")
                tasks.create_task(self._share(work), name="shares")
                tasks.create_task(work.engine.serve(), name="lanes")
                tasks.create_task(work.works.serve(), name="works")
                tasks.create_task(self._resync(work), name="resync")
                tasks.create_task(self._operate(work, looked), name="operations")
                tasks.create_task(self._listen(), name="listen")
                tasks.create_task(self._timetable(work, looked), name="timetable")
                tasks.create_task(self._reap(work, looked), name="reaper")
                tasks.create_task(self._prune(lease), name="prune")
                if self._settings.migrations:
                    tasks.create_task(self._migrate(work, looked), name="migrations")
        finally:
            with contextlib.suppress(StoreUnavailable):
                await leases.release(self._store, lease, fence)

    async def _end_sessions(self, former: str | None) -> None:
        """At most the request in flight of the former leader can slip through."""
        if former is None or former == self._store.instance:
            return
        for provider in self._providers.values():
            with contextlib.suppress(ServiceError):  # a service that is down has none
                await provider.end_sessions(former)

    async def _keep(self, lease: Lease, fence: LeaseFence) -> None:
        lost: list[LeaseLost] = []

        def away(fault: StoreUnavailable) -> None:
            logs.get().warning(logs.STORE_LOST, error=str(fault))
            self._notifier.send("STATUS=norn_db is away: observing only")

        def back() -> None:
            logs.get().info(logs.STORE_RECOVERED)
            self._notifier.send("STATUS=leader")

        await leases.keep(self._store, lease, fence, lost.append, on_away=away, on_back=back)
        raise lost[0]

    async def _specs(self, work: compose.Parts, looked: asyncio.Event) -> None:
        """Look whenever something may have changed, and again when a file was still settling."""
        source = work.specs
        hints = watch.changes(self._settings.specs_dir, self._settings.scan_seconds)
        async with contextlib.aclosing(hints):
            async for _ in hints:
                checkpoint()
                if await self._look(work):
                    looked.set()
                while (wait := source.next_look()) is not None:
                    await asyncio.sleep(wait)
                    await self._look(work)

    async def _look(self, work: compose.Parts) -> bool:
        """True when what was seen is in force now."""
        async with self._looking:
            book = work.book
            known = dict(book.records), book.inventory(), frozenset(book.busy)
            fleet = await asyncio.to_thread(work.specs.look, *known)
            try:
                # Where nothing was put in force, the next scan comes in a few seconds.
                return await work.engine.accept(fleet)
            except StoreUnavailable as away:
                logs.get().warning(logs.STORE_LOST, error=str(away))
                return False

    async def _share(self, work: compose.Parts) -> None:
        """A reader is given another app's object once norn has made it for its owner: that is
        mostly a moment after both files came."""
        while True:
            await work.book.moved.wait()
            checkpoint()
            work.book.moved.clear()
            async with self._looking:  # what moved may have come too late for one under way
                outdated = work.specs.outdated(work.book.inventory())
            if outdated:
                await self._look(work)

    async def _resync(self, work: compose.Parts) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            work.engine.resync()

    async def _operate(self, work: compose.Parts, looked: asyncio.Event) -> None:
        """From the first look on: before it no app is known to be wanted. Woken by norn_db's
        notification, by a report that somebody waits for, or by the clock."""
        await looked.wait()
        operations = Operations(work.engine, self._store, works=work.works, reaper=work.reaper)
        while True:
            checkpoint()
            self._woken.clear()
            try:
                if await operations.work():
                    await self._look(work)
            except StoreUnavailable:
                operations.following = False
            pause = FOLLOW if operations.following else OPERATIONS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _timetable(self, work: compose.Parts, looked: asyncio.Event) -> None:
        """The table is other tools', too: whatever they made of it, the apps are served."""
        await looked.wait()
        while True:
            checkpoint()
            pause = TIMETABLE
            try:
                rows = await self._store.crons()
                async with work.book.turn:
                    await work.book.write(timetable.moved(work.book, rows, datetime.now(UTC)))
                await self._copy(work, rows)
                if self._settings.cron:
                    await self._run(work, rows)
            except LeaseLost:
                raise
            except StoreUnavailable:
                pass  # whoever keeps the lease says so
            except NornError as fault:
                logs.get().warning(logs.CRON_REFUSED, error=str(fault))
                pause = REFUSED
            await asyncio.sleep(pause)

    async def _reap(self, work: compose.Parts, looked: asyncio.Event) -> None:
        """Ask for the end of the data that are due to go, whatever became of others' tables."""
        await looked.wait()
        while True:
            checkpoint()
            with contextlib.suppress(StoreUnavailable):
                await work.reaper.look()
            await asyncio.sleep(TIMETABLE)

    async def _copy(self, work: compose.Parts, rows: Sequence[CronState]) -> None:
        """Ask for the copies that are due. An operation says which time it is for: killed between
        the two writes it is not asked for again, however soon it was done."""
        came = {r.app: r.next_run_at for r in rows}
        for app, row in timetable.copies_due(work.book, rows, datetime.now(UTC)):
            time = came[row.app]
            due = time.astimezone(UTC).isoformat() if time is not None else ""
            asked = [
                o for o in await self._store.recent_operations(app) if o.kind == snapshots.KIND
            ]
            if not any(o.finished_at is None or o.arguments.get("due") == due for o in asked):
                ask = Operation(
                    0, snapshots.KIND, app, arguments={"due": due}, requested_by="schedule"
                )
                await self._store.request(ask)
            async with work.book.turn:
                await work.book.write(Changes(crons=[row]))

    async def _run(self, work: compose.Parts, rows: Sequence[CronState]) -> None:
        """Ask for the runs that are due. Moved on first: killed in between, a time is left out
        rather than run twice; and one that comes while the last run goes on is left out, too."""
        due = timetable.runs_due(work.book, rows, datetime.now(UTC))
        if not due:
            return
        pending = {o.app for o in await self._store.pending_operations() if o.kind == cron.KIND}
        async with work.book.turn:
            await work.book.write(Changes(crons=[row for _, row in due]))
        for app, _ in due:
            if app not in pending:
                await self._store.request(Operation(0, cron.KIND, app, requested_by="schedule"))

    async def _migrate(self, work: compose.Parts, looked: asyncio.Event) -> None:
        """Ask for each migration that is due, once."""
        await looked.wait()
        asked: set[migrations.Due] = set()
        while True:
            checkpoint()
            with contextlib.suppress(StoreUnavailable):
                if fresh := migrations.due_now(work.book) - asked:
                    under_way = await self._store.pending_operations()
                    busy = {o.app for o in under_way if o.kind == migrations.KIND}
                    for app, revision in sorted(fresh):
                        if app not in busy:  # else it is looked at again when that has ended
                            await self._store.request(migrations.operation(app))
                            asked.add((app, revision))
            await asyncio.sleep(OPERATIONS)

    async def _listen(self) -> None:
        while True:
            checkpoint()
            try:
                async with contextlib.aclosing(self._store.listen()) as heard:
                    async for _ in heard:
                        checkpoint()
                        self._woken.set()
            except StoreUnavailable:
                await asyncio.sleep(OPERATIONS)

    async def _prune(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(PRUNE)
            with contextlib.suppress(StoreUnavailable):
                while await self._store.prune(lease.epoch, batch=BATCH) >= BATCH:
                    checkpoint()
