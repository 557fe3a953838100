"""norn, killed (SIGKILL, no goodbye) at a boundary of a write: right before a request to a service,
right before and after a transaction in norn_db, right before and after an env file appears or goes;
right before each statement about a whole database.

A process counts them from the moment on that a file says so."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from norn_reconciler.providers.postgres import whole
from norn_reconciler.store.fence import LeaseFence
from norn_reconciler.store.store import PostgresStore

PROVIDERS = "norn_reconciler.providers."


class Boundaries:
    """Counts them, and kills at the fatal one.

    order: a file that holds the fatal one; while it is not there nothing counts. Each goes by its
    name with how often it came (`lane-kv: after record 2`), since what the lanes do beside each
    other comes in another order each time. A file beside it, `.notes`, has a line for each.
    """

    def __init__(self, order: Path) -> None:
        self._seen: Counter[str] = Counter()
        self._fatal = ""
        self._order = order
        self._notes = order.with_suffix(".notes")
        self._ordered = 0  # when, by the file's own time

    def __call__(self, what: str) -> None:
        if not self._counting():
            return
        self._seen[what] += 1
        name = f"{what} {self._seen[what]}"
        with self._notes.open("a") as notes:
            notes.write(f"{name}\n")
        if self._fatal == name:
            os.kill(os.getpid(), signal.SIGKILL)

    def _counting(self) -> bool:
        try:
            self._fatal, when = self._order.read_text(), self._order.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if when != self._ordered:  # a new order: everything counts from one
            self._ordered = when
            self._seen.clear()
        return True


def install(boundary: Boundaries) -> None:
    """From here on this process passes `boundary` at each of them."""
    LeaseFence.check = _asking(LeaseFence.check, boundary)  # type: ignore[method-assign]
    PostgresStore._writing = _around(PostgresStore._writing, boundary)  # type: ignore[method-assign]
    whole._do = _doing(whole._do, boundary)
    os.rename = _delivering(os.rename, boundary)
    os.unlink = _delivering(os.unlink, boundary)


def _asking(check: Callable[[LeaseFence], None], boundary: Boundaries) -> Callable[..., None]:
    def checked(fence: LeaseFence) -> None:
        asks = sys._getframe(1)
        module: str = asks.f_globals["__name__"]
        if module.startswith(PROVIDERS):  # the lane asks, too, and sends nothing
            service = module.removeprefix(PROVIDERS).partition(".")[0]
            boundary(f"{service}: before {_request(asks.f_locals)}")
        check(fence)

    return checked


def _doing(do: Callable[..., Any], boundary: Boundaries) -> Callable[..., Any]:
    """What long work does to whole databases, statement by statement."""

    async def watched(conn: Any, statement: str, *names: str, **options: str) -> None:
        boundary(f"databases: before {' '.join(re.findall('[A-Z_]+', statement)[:3])}")
        await do(conn, statement, *names, **options)

    return watched


def _request(local: Mapping[str, Any]) -> str:
    """What is about to be sent, in two words: from the variables of who is about to send it."""
    match local:
        case {"phase": phase}:
            return str(phase.name)
        case {"statements": [*statements]}:
            return ", ".join(sorted({_words(s.as_string(None)) for s in statements}))
        case {"statement": statement}:
            return _words(statement.as_string(None))
        case {"action": action}:
            return type(action).__name__
        case {"changed": _}:
            return "ACL SAVE"
        case {"commands": commands}:
            return ", ".join(sorted({_words(" ".join(c)) for c in commands}))
    return "a request"


def _words(statement: str) -> str:
    """No more than its beginning: further on there are names and secrets."""
    return " ".join(re.findall(r"\w+", statement)[:2])


Writing = Callable[[PostgresStore, int], AbstractAsyncContextManager[Any]]


def _around(writing: Writing, boundary: Boundaries) -> Writing:
    @asynccontextmanager
    async def watched(store: PostgresStore, epoch: int, what: str) -> AsyncIterator[Any]:
        task = asyncio.current_task()
        who = task.get_name() if task else ""
        boundary(f"{who}: before {what}")
        async with writing(store, epoch) as conn:
            yield conn
        boundary(f"{who}: after {what}")

    def named(store: PostgresStore, epoch: int) -> AbstractAsyncContextManager[Any]:
        return watched(store, epoch, sys._getframe(1).f_code.co_name)

    return named


def _delivering(change: Callable[..., None], boundary: Boundaries) -> Callable[..., None]:
    """os.rename, os.unlink: the moment at which an env file appears or goes."""

    def changed(*paths: Any, **named: Any) -> None:
        if not str(paths[-1]).endswith(".env"):
            change(*paths, **named)
            return
        what = f"{change.__name__} of the env file"
        boundary(f"delivery: before {what}")
        change(*paths, **named)
        boundary(f"delivery: after {what}")

    return changed
