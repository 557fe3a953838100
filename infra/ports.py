"""TCP ports on 127.0.0.1."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

LOWEST = 15000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(taken: Collection[int] = ()) -> int:
    """A port that nobody listens on right now, and none of `taken`.

    Below the range from which the kernel serves outgoing connections: a server that is stopped and
    started again must find its port free.
    """
    highest = int(_RANGE.read_text().split()[0]) - 1
    for _ in range(200):
        port = random.SystemRandom().randint(min(LOWEST, highest - 1000), highest)
        if port not in taken and _can_bind(port):
            return port
    raise OSError("no free port on 127.0.0.1")


def listening(port: int) -> bool:
    """Whether somebody answers on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
