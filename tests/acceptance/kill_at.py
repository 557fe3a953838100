"""`python -m tests.acceptance.kill_at N apply`: the norn command, killed (SIGKILL, no goodbye) at
the N-th boundary of a write: right before a request to a service, and right before and after a
transaction in norn_db. N = 0 counts only. How many were passed goes to standard error."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from norn_reconciler.cli import main
from norn_reconciler.store.fence import LeaseFence
from norn_reconciler.store.store import PostgresStore

passed = 0
fatal = 0


def boundary() -> None:
    global passed  # noqa: PLW0603 -- one counter for the whole process is what is wanted
    passed += 1
    if passed == fatal:
        os.kill(os.getpid(), signal.SIGKILL)


def before(method: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        boundary()
        return method(*arguments, **named)

    return wrapped


def around(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        boundary()
        result = await method(*arguments, **named)
        boundary()
        return result

    return wrapped


if __name__ == "__main__":
    fatal = int(sys.argv.pop(1))
    LeaseFence.check = before(LeaseFence.check)  # type: ignore[method-assign]
    PostgresStore.claim = around(PostgresStore.claim)  # type: ignore[method-assign]
    PostgresStore.record = around(PostgresStore.record)  # type: ignore[method-assign]
    try:
        main()
    finally:
        print(f"boundaries {passed}", file=sys.stderr)
