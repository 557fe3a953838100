"""LeaseFence: model.ports.Fence by a deadline on this machine's clock. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

from norn_reconciler.model.errors import LeaseLost
from norn_reconciler.model.records import Lease


def boottime() -> float:
    """Seconds on a clock that goes on while the machine sleeps or the process is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseFence:
    """Open from a renewal until shortly before norn_db may give the lease to another.

    The deadline counts from BEFORE the renewal was sent: norn_db's own count starts later, so ours
    ends earlier however long the answer took. margin: seconds of safety for clocks that run at
    different rates and for the request that follows a check; default a tenth of the lease.
    """

    def __init__(
        self, lease: Lease, *, margin: float | None = None, clock: Callable[[], float] = boottime
    ) -> None:
        self._lease = lease
        self._good_for = lease.seconds - (lease.seconds / 10 if margin is None else margin)
        self._clock = clock
        self._deadline = float("-inf")
        self._revoked = False

    def now(self) -> float:
        """The fence's clock: take it before sending a renewal, hand it to `extend` after."""
        return self._clock()

    def extend(self, sent: float) -> None:
        """A renewal sent at `sent` was granted. Never shortens, never reopens after `revoke`."""
        self._deadline = max(self._deadline, sent + self._good_for)

    def revoke(self) -> None:
        """Closed for good."""
        self._revoked = True

    @property
    def remaining(self) -> float:
        """Seconds for which it is open; 0 when closed."""
        return 0.0 if self._revoked else max(0.0, self._deadline - self._clock())

    def check(self) -> None:
        """Raise LeaseLost unless open."""
        if self.remaining <= 0.0:
            why = "was given up" if self._revoked else "was not renewed in time"
            raise LeaseLost(f"the lease of {self._lease.holder} {why}: nothing more is written")
