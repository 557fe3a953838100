"""When an app's isolation is tried: at once after a change, then every so often, spread, a few in
each round. Pure: time and chance are passed in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from norn_reconciler.model.app import AppName

LEAST = 20  # routine probes in a round that are always allowed
SHARE = 0.05  # of the round's apps: a fleet of any size is through within the hour
AGAIN = 30.0  # seconds until a failed probe, or one that told nothing, is made again


class Probes:
    """One service's plan of probes. every: seconds between two of one app. random: 0 to 1."""

    def __init__(self, every: float, random: Callable[[], float]) -> None:
        self._every = every
        self._random = random
        self._due: dict[AppName, float] = {}
        self._proven: dict[AppName, str] = {}  # digest of what was wanted then
        self._neighbours: dict[AppName, AppName] = {}  # whose place was tried last
        self._suspects: set[AppName] = set()  # and was open

    def due(
        self, apps: Mapping[AppName, str], verified: Callable[[AppName], bool], now: float
    ) -> list[AppName]:
        """Those of `apps` (name → digest of what is wanted) whose turn it is.

        What changed is never put off. verified: whether an earlier process has proven it."""
        fresh: list[AppName] = []
        routine: list[AppName] = []
        for app, digest in apps.items():
            if app not in self._proven and verified(app):
                self._proven[app] = digest
                self._due.setdefault(app, now + self._every * self._random())
            if self._proven.get(app) != digest:
                fresh.append(app)
            elif self._due[app] <= now:
                routine.append(app)
        routine.sort(key=lambda app: self._due[app])
        return fresh + routine[: max(LEAST, int(len(apps) * SHARE))]

    def neighbour(self, app: AppName, there: Sequence[AppName]) -> AppName | None:
        """Whose place is tried next: everybody's in turn, beginning anywhere; one that was open
        until it is shut, since another's refusal says nothing of it. there: sorted names."""
        last = self._neighbours.get(app)
        if last is None:
            at = int(len(there) * self._random())
        elif app in self._suspects and last in there:
            return last
        else:
            at = bisect_right(there, last)
        return next((name for name in (*there[at:], *there[:at]) if name != app), None)

    def tried(self, app: AppName, neighbour: AppName | None, was_open: bool) -> None:
        """What became of it."""
        if neighbour is not None:
            self._neighbours[app] = neighbour
            (self._suspects.add if was_open else self._suspects.discard)(app)

    def done(self, app: AppName, digest: str, ok: bool, now: float) -> None:
        """`app` was tried. ok: False when it failed, or when nobody could tell."""
        self._proven[app] = digest
        wait = self._every * (0.9 + 0.2 * self._random()) if ok else min(AGAIN, self._every)
        self._due[app] = now + wait

    def at_once(self, app: AppName) -> None:
        """Something about it moved, or somebody asked."""
        self._due[app] = 0.0
