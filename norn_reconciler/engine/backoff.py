"""How long to wait before the next try. Pure: attempts and a random number go in."""

from __future__ import annotations

from collections.abc import Callable, Hashable

FIRST = 0.5  # seconds
CAP = 60.0  # seconds


def delay(attempt: int, rand: float) -> float:
    """Seconds before try `attempt` + 1: doubles from FIRST up to CAP, with the lower half jittered
    (`rand` in [0, 1)), so that a fleet of writers does not knock in step."""
    full = min(CAP, FIRST * 2.0 ** min(attempt, 16))
    return full * (0.5 + rand / 2)


class Backoff:
    """Counts failed attempts by key (an app, or the endpoint) and hands out the delays."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._attempts: dict[Hashable, int] = {}

    def failed(self, key: Hashable) -> float:
        """One more failure: seconds to wait now."""
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return delay(attempt, self._random())

    def failing(self, key: Hashable) -> bool:
        return key in self._attempts

    def succeeded(self, key: Hashable) -> bool:
        """Forget the failures. True when there were any."""
        return self._attempts.pop(key, 0) > 0
