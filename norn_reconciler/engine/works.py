"""Long work beside the lanes: a task for each, a few at a time, one at a time of an app; fenced
while it runs, and begun anew by whoever has the lease after a crash."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

from norn_reconciler import logs
from norn_reconciler.engine import status
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.roster import Entry
from norn_reconciler.engine.telling import log_event, operation_finished, operation_started
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import LeaseLost, NornError, StoreUnavailable, sentence
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.records import Changes, Operation, OperationState, Store
from norn_reconciler.model.status import Condition
from norn_reconciler.model.work import LongWork, Subject

T = TypeVar("T")

AT_ONCE = 2  # works that run beside each other
_WATCH = 0.5  # seconds between two looks at the fence while a work runs
_AWAY = 1.0  # seconds between two tries to write while norn_db is away


class Works:
    """works: one of each kind. Whoever makes it closes it: then nothing of it runs any more."""

    def __init__(
        self,
        book: Mirror,
        store: Store,
        fence: Fence,
        works: Iterable[LongWork] = (),
        at_once: int = AT_ONCE,
        alone: Callable[[AppName], AbstractAsyncContextManager[None]] = lambda app: nullcontext(),
    ) -> None:
        self._book = book
        self._store = store
        self._fence = fence
        self._works = {work.kind: work for work in works}
        self._room = asyncio.Semaphore(at_once)
        self._turns: dict[AppName, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._alone = alone
        self._taken: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._closed = False

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(self._works)

    def exclusive(self, kind: str) -> bool:
        return self._works[kind].exclusive

    def take(self, operation: Operation) -> None:
        """Begin with it as soon as there is room, unless it is taken already. What a former process
        was at is begun anew."""
        if self._closed or operation.id in self._taken:
            return
        task = asyncio.create_task(self._do(operation), name=f"work-{operation.kind}")
        self._taken[operation.id] = (operation.kind, task)
        task.add_done_callback(lambda _: self._taken.pop(operation.id, None))

    async def drain(self, exclusive: bool = False) -> None:
        """Until nothing that was taken is left; exclusive: of what no lane may come in between."""
        while tasks := [
            task for kind, task in self._taken.values() if not exclusive or self.exclusive(kind)
        ]:
            await asyncio.wait(tasks)

    async def serve(self) -> None:
        """Until cancelled; then nothing of it runs any more."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """End what runs. It stays as it is in norn_db, and is begun anew."""
        self._closed = True
        tasks = [task for _, task in self._taken.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, operation: Operation) -> None:
        try:
            async with self._turn(operation.app), self._quiet(operation):
                await self._run(operation)
        except LeaseLost as lost:
            logs.get().error(logs.LEASE_LOST, error=str(lost))
        except StoreUnavailable as away:
            logs.get().warning(logs.STORE_LOST, error=str(away))

    @asynccontextmanager
    async def _turn(self, app: AppName | None) -> AsyncIterator[None]:
        """An app's first, so that nobody waits for it in a place that others need."""
        if app is None:
            async with self._room:
                yield
            return
        async with self._turns[app], self._room:
            yield

    def _quiet(self, operation: Operation) -> AbstractAsyncContextManager[None]:
        """Where nothing else is done with its app meanwhile."""
        if operation.app is None or not self.exclusive(operation.kind):
            return nullcontext()
        return self._alone(operation.app)

    async def _run(self, operation: Operation) -> None:
        operation_started(operation)
        steps = _Steps(self, operation)
        try:
            work = self._works[operation.kind]
            subject = self._subject(operation.app, work) if operation.app else None
            running = work.run(operation, subject, steps)
            state, text = OperationState.DONE, await self._fenced(running, operation.kind)
        except (LeaseLost, StoreUnavailable):
            raise
        except NornError as fault:
            state, text = OperationState.FAILED, sentence(fault)
        except OSError as fault:
            where = f"{fault.filename}: " if fault.filename else ""
            why = fault.strerror or type(fault).__name__
            state, text = OperationState.FAILED, where + why
        except Exception as fault:  # a defect of ours ends this operation, not the daemon
            logs.get().exception(logs.LANE_FAULTED, kind=operation.kind, id=operation.id)
            state, text = OperationState.FAILED, f"internal: {type(fault).__name__}"
        await steps.end(state, text)

    def _subject(self, app: AppName, work: LongWork) -> Subject:
        """Raises NornError for an app that this work is not done with."""
        book, record = self._book, self._book.records.get(app)
        if not work.of_removed:
            entry: Entry | None = book.asked_for(app)
        elif record is None:
            raise NornError(f"no app {app} is known")
        else:
            entry = book.entries.get(app)
        wanted = entry.app if entry is not None else App(app, {})
        keys = sorted(book.held_on(app) | wanted.sections.keys())
        return Subject(
            wanted,
            entry.record if entry is not None else book.records[app],
            {key: book.owned(key, app) for key in keys},
            {key: book.service(key, app) for key in keys},
            {key: book.credential(app, key) for key in keys},
            entry is None or entry.leaving,
            entry.member.migration if entry is not None else None,
            book.migrated.get(app),
            entry.member.job if entry is not None else None,
        )

    async def _fenced(self, work: Coroutine[object, object, str], kind: str) -> str:
        """Its result; it is ended once this process may no longer act."""
        task = asyncio.create_task(work, name=f"work-{kind}")
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_WATCH)
                if done:
                    return task.result()
                self._fence.check()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """norn_db may be away for a moment: hours of work are not given up for that. Raises
        LeaseLost when it takes longer than the lease."""
        while True:
            self._fence.check()
            try:
                return await write()
            except StoreUnavailable:
                await asyncio.sleep(_AWAY)

    async def put(self, operation: Operation) -> None:
        await self.insist(lambda: self._store.update_operation(self._book.epoch, operation))

    async def record(self, changes: Changes) -> None:
        async def write() -> None:
            async with self._book.turn:
                await self._book.write(changes)

        await self.insist(write)

    async def show(self, app: AppName, kind: str, condition: Condition | None) -> None:
        async def write() -> None:
            async with self._book.turn:  # a file may have come back: the record is as of now
                record = self._book.records.get(app)
                if record is None:
                    return
                conditions = {k: c for k, c in record.conditions.items() if k != kind}
                if condition is not None:
                    conditions[kind] = condition.with_transition(record.conditions.get(kind))
                if not status.same(conditions, record.conditions):
                    shown = replace(record, conditions=conditions)
                    await self._book.write(Changes(apps=[shown]))

        await self.insist(write)


class _Steps:
    """One operation's: implements model.work.Steps."""

    def __init__(self, works: Works, operation: Operation) -> None:
        self._works = works
        self._operation = replace(operation, state=OperationState.RUNNING, step="")
        self._step = ""

    async def begin(self, step: str, **facts: object) -> None:
        self._step = step
        arguments = {**self._operation.arguments, **facts}
        self._operation = replace(self._operation, arguments=arguments)
        await self._put(step)

    async def tell(self, progress: str) -> None:
        await self._put(f"{self._step}: {progress}")

    async def _put(self, step: str) -> None:
        operation = self._operation = replace(self._operation, step=step)
        await self._works.put(operation)
        logs.get().info(
            logs.OPERATION_PROGRESSED,
            kind=operation.kind,
            app=operation.app,
            id=operation.id,
            step=step,
        )

    async def show(self, kind: str, condition: Condition | None) -> None:
        if self._operation.app is not None:
            await self._works.show(self._operation.app, kind, condition)

    async def write(self, changes: Changes) -> None:
        await self._works.record(changes)
        for event in changes.events:
            log_event(event)

    async def end(self, state: OperationState, text: str) -> None:
        operation = replace(self._operation, state=state, step="", result=text)
        await self._works.put(operation)
        operation_finished(operation)
