"""What a person asks the writer for: checked, put down as a row, and followed to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from norn_reconciler import oneshot
from norn_reconciler.compose import open_store
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseHeld, NornError
from norn_reconciler.model.records import Operation, OperationState
from norn_reconciler.settings import Settings
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store.store import PostgresStore

POLL = 0.1  # seconds between two looks at the row
WRITER = 5.0  # seconds between two looks at whether anybody is the writer
ENDED = {OperationState.DONE, OperationState.FAILED}


@dataclass(frozen=True, slots=True)
class Answer:
    """ok: False when it failed, or did not end although the person waits for the end."""

    text: str
    ok: bool


async def ask(
    settings: Settings, operation: Operation, *, follow: bool, insist: bool, patience: float
) -> Answer:
    """follow: wait for the end, `patience` seconds at most. insist: being noted for a writer that
    does not run is not enough. Raises NornError for what no writer could do."""
    async with open_store(settings, role="cli") as store:
        await _refuse(settings, store, operation)
        number = await store.request(operation)
        lease = await store.lease_holder()
        if not lease.held:
            text = (
                f"Noted as operation {number}. No daemon is running: "
                "the next `norn run` or `norn apply` does it."
            )
            return Answer(text, not insist)
        if not follow:
            return Answer(f"Noted as operation {number}; {lease.holder} does it.", True)
        return await _followed(store, number, operation.app, patience)


async def ask_for_work(
    settings: Settings, operation: Operation, *, patience: float, tell: Callable[[str], None]
) -> tuple[Operation | None, Answer]:
    """Ask for what takes long, and follow it. While nobody is the writer this process is, also
    where a daemon ends on the way. tell: is given each step and how far it is."""
    async with open_store(settings, role="cli") as store:
        await _refuse(settings, store, operation)
        number = await store.request(operation)
        until, last = time.monotonic() + patience, ""

        def news(step: str) -> None:
            nonlocal last
            if step and step != last:
                last = step
                tell(step)

        while True:
            if not (await store.lease_holder()).held:
                with suppress(LeaseHeld):  # somebody who has just begun does it
                    await oneshot.long_works(settings)
            left = until - time.monotonic()
            found = await _ended(store, number, min(left, WRITER), news)
            if found is not None or left <= WRITER:
                return await store.operation(number), _answer(
                    found, number, operation.app, patience
                )


async def put(settings: Settings, operation: Operation) -> tuple[int, str | None]:
    """Put it down as it is. Its number, and who is at work: None while nobody is."""
    async with open_store(settings, role="cli") as store:
        number = await store.request(operation)
        lease = await store.lease_holder()
        return number, lease.holder if lease.held else None


async def follow(settings: Settings, number: int, patience: float) -> Answer:
    """Wait for the end of an operation that is about no single app, `patience` seconds at most."""
    async with open_store(settings, role="cli") as store:
        return await _followed(store, number, None, patience)


async def _refuse(settings: Settings, store: PostgresStore, operation: Operation) -> None:
    """Raise NornError for an app that nobody knows, and for a digest that nothing bears."""
    app, digest = operation.app, operation.digest
    if app is not None and await store.app(app) is None and not await _in_folder(settings, app):
        raise NornError(f"no app {app} is known, and no file asks for it")
    if app is not None or digest is None or (await store.lease_holder()).held:
        return  # a writer that is at work knows best what waits for a digest
    standing = await store.standing()
    if digest in (*standing.held.split(), *standing.doomed.split()):
        return
    found = (await oneshot.plan(settings, [])).preview
    if not found.faults and not found.waits_for(digest):
        raise NornError(f"nothing waits for {digest}: see `norn plan` for what does")


async def _in_folder(settings: Settings, app: AppName) -> bool:
    """A file that no writer has seen yet may ask for it."""
    return app in (await oneshot.settled(Specs(settings), {}, {})).members


async def _followed(
    store: PostgresStore, number: int, app: AppName | None, patience: float
) -> Answer:
    return _answer(await _ended(store, number, patience), number, app, patience)


async def _ended(
    store: PostgresStore,
    number: int,
    seconds: float,
    news: Callable[[str], None] = lambda step: None,
) -> Operation | None:
    """The operation once it has ended; None when it has not within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        operation = await store.operation(number)
        if operation is not None and operation.state in ENDED:
            return operation
        if operation is not None:
            news(operation.step)
        if time.monotonic() >= until:
            return None
        await asyncio.sleep(POLL)


def _answer(ended: Operation | None, number: int, app: AppName | None, patience: float) -> Answer:
    if ended is not None:
        return Answer(ended.result, ended.state is OperationState.DONE)
    where = f"norn describe {app}" if app else "norn status"
    text = f"Operation {number} is not done after {patience:g} s; it goes on: {where}"
    return Answer(text, False)
