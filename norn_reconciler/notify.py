"""systemd's notification protocol, sd_notify(3): one datagram a message."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """environment: NOTIFY_SOCKET and WATCHDOG_USEC as systemd sets them."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        self.watchdog_seconds: float | None = int(usec) / 1e6 if usec.isdigit() else None

    def send(self, *lines: str) -> None:
        """Tell systemd, e.g. "READY=1". A socket that is gone is no fault of ours."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # abstract namespace
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.sendto("\n".join(lines).encode(), address)
            except OSError:
                return
