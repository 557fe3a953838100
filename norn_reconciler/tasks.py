"""What every endless loop asks itself between two turns."""

from __future__ import annotations

import asyncio


def checkpoint() -> None:
    """Raise CancelledError if this task was cancelled and something on the way swallowed it.

    Python 3.11's asyncio.wait_for returns the result, and forgets the cancellation, when both come
    in one turn of the event loop (cpython #86296); drivers use it. After a process was frozen for a
    while everything is due at once, so that does happen."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
