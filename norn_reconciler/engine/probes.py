"""When an app's isolation is tried: at once after a change, then every so often, spread, a few in
each round. Pure: time and chance are passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
                self._due[app] = now + self._every * self._random()
            if self._proven.get(app) != digest:
                fresh.append(app)
            elif self._due[app] <= now:
                routine.append(app)
        routine.sort(key=lambda app: self._due[app])
        return fresh + routine[: max(LEAST, int(len(apps) * SHARE))]

    def done(self, app: AppName, digest: str, ok: bool, now: float) -> None:
        """`app` was tried. ok: False when it failed, or when nobody could tell."""
        self._proven[app] = digest
        wait = self._every * (0.9 + 0.2 * self._random()) if ok else min(AGAIN, self._every)
        self._due[app] = now + wait

    def at_once(self, app: AppName) -> None:
        """Something about it moved, or somebody asked."""
        if app in self._due:
            self._due[app] = 0.0
