"""Names of apps to look at again, each once. A queue carries nothing but names: losing one costs
time, never correctness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

from norn_reconciler.model.app import AppName
from norn_reconciler.tasks import checkpoint


class Urgency(IntEnum):
    """FRESH: somebody waits (a file, a request). RETRY: its time has come. RESYNC: routine."""

    FRESH = 0
    RETRY = 1
    RESYNC = 2


class WorkQueue:
    """Dedupes, delays, and orders by urgency. `clock`: seconds, monotonic.

    An app stands in it once. An earlier due time wins over a later one, except that a pending
    retry's time is kept when a resync comes by: a resync must not outrun a backoff.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[AppName, tuple[float, Urgency]] = {}
        self._changed = asyncio.Event()

    def add(
        self, apps: Iterable[AppName], urgency: Urgency = Urgency.FRESH, after: float = 0.0
    ) -> None:
        """Look at `apps` again, not before `after` seconds from now."""
        at = self._clock() + after
        for app in apps:
            before = self._due.get(app)
            if before is not None:
                if urgency is Urgency.RESYNC:
                    continue
                if urgency is Urgency.RETRY and before[1] is Urgency.RESYNC:
                    # The resync came by while the round ran that now asks to be retried later.
                    self._due[app] = (at, urgency)
                    continue
                if before[0] <= at and before[1] <= urgency:
                    continue
                self._due[app] = (min(at, before[0]), min(urgency, before[1]))
            else:
                self._due[app] = (at, urgency)
        self._changed.set()

    def drop(self, apps: Iterable[AppName]) -> None:
        for app in apps:
            self._due.pop(app, None)

    def waiting(self) -> Mapping[AppName, float]:
        """App → seconds until it is due (0 or less: now)."""
        now = self._clock()
        return {app: at - now for app, (at, _) in self._due.items()}

    def take_due(self) -> tuple[AppName, ...]:
        """All that is due of the most urgent kind present, removed from the queue, oldest first.

        When something FRESH is due, only FRESH and RETRY are taken: routine waits its turn."""
        now = self._clock()
        due = {app: key for app, key in self._due.items() if key[0] <= now}
        if any(urgency is Urgency.FRESH for _, urgency in due.values()):
            due = {app: key for app, key in due.items() if key[1] is not Urgency.RESYNC}
        taken = tuple(sorted(due, key=lambda app: (due[app][1], due[app][0], app)))
        self.drop(taken)
        return taken

    async def take(self, linger: float) -> tuple[AppName, ...]:
        """Wait until something is due, linger so that its companions arrive too, take the batch."""
        while True:
            checkpoint()
            self._changed.clear()
            soonest = min((at for at, _ in self._due.values()), default=None)
            if soonest is not None and soonest <= self._clock():
                await asyncio.sleep(linger)
                batch = self.take_due()
                if batch:
                    return batch
                continue
            timeout = None if soonest is None else max(0.0, soonest - self._clock())
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                pass
