"""Says when to look at the specs folder again. A hint, never the truth: whoever is told looks for
himself, and a clock tells besides, since inotify sees no network file system and no new folder."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncGenerator, Callable
from enum import StrEnum
from pathlib import Path

from watchfiles import awatch

DEBOUNCE = 0.02  # seconds of quiet that end a burst of events
BURST = 0.2  # seconds after which a burst is told of though it goes on


class Hint(StrEnum):
    """START: the first; CHANGE: the system reported one; TICK: the time is up."""

    START = "start"
    CHANGE = "change"
    TICK = "tick"


def _silent(_: Exception) -> None:
    return


async def changes(
    directory: Path,
    scan_seconds: float,
    *,
    degraded: Callable[[Exception], None] = _silent,
) -> AsyncGenerator[Hint, None]:
    """For ever: "look again", at once, on changes, and every `scan_seconds` at the latest.

    Hints that come while the caller is busy are one hint. The folder may be missing, replaced, or
    unwatchable: then the clock alone tells. degraded: called once each time watching fails for
    another reason than a missing folder. Close it (contextlib.aclosing) to end the watch."""
    changed = asyncio.Event()
    watching = asyncio.create_task(_watch(directory, scan_seconds, changed, degraded))
    try:
        yield Hint.START
        while True:
            hint = Hint.CHANGE
            try:
                async with asyncio.timeout(scan_seconds):
                    await changed.wait()
            except TimeoutError:
                hint = Hint.TICK
            changed.clear()
            yield hint
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(
    directory: Path,
    scan_seconds: float,
    changed: asyncio.Event,
    degraded: Callable[[Exception], None],
) -> None:
    """Keep a watch on whatever stands at `directory` now."""
    reported = ""
    while True:
        identity = _identity(directory)
        if identity is not None:
            try:
                await _watch_one(directory, identity, scan_seconds, changed)
                reported = ""
            except (OSError, RuntimeError) as error:
                # Out of inotify watches, or the folder went while the watch was set up.
                if _identity(directory) is not None and reported != str(error):
                    reported = str(error)
                    degraded(error)
                await asyncio.sleep(scan_seconds)
        else:
            await asyncio.sleep(scan_seconds)


async def _watch_one(
    directory: Path, identity: tuple[int, int], scan_seconds: float, changed: asyncio.Event
) -> None:
    """Until another folder (or none) stands at `directory`."""
    stop = asyncio.Event()
    events = awatch(
        directory,
        watch_filter=None,
        debounce=int(BURST * 1000),
        step=int(DEBOUNCE * 1000),
        stop_event=stop,
        rust_timeout=int(scan_seconds * 1000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
        force_polling=False,
    )
    try:
        async for found in events:
            if found:
                changed.set()
            if _identity(directory) != identity:
                changed.set()
                return
    finally:
        stop.set()
        await events.aclose()


def _identity(directory: Path) -> tuple[int, int] | None:
    """Tells one folder from another of the same name."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
