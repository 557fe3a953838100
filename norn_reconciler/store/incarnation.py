"""Which process holds the lease, precisely enough to tell that it is dead.

A daemon that was killed is restarted within a second; waiting for the dead one's lease to run out
would be a needless gap. Silence proves nothing (the holder may be cut off from norn_db and still
reach the services), but the kernel knows: on the same boot and in the same PID namespace, a process
that is not there, or whose PID is another process's now, is gone for good.
"""

from __future__ import annotations

import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def current() -> str:
    """This process: boot id, PID namespace, PID and start time; empty where /proc has none."""
    pid = os.getpid()
    started = _start_time(pid)
    world = _world()
    return f"{world} {pid} {started}" if world and started else ""


def is_gone(incarnation: str | None) -> bool:
    """True only when that process certainly does not run any more."""
    words = (incarnation or "").split()
    if len(words) != 4 or " ".join(words[:2]) != _world():
        return False
    pid, started = int(words[2]), words[3]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's process: it may be another one by now
    now = _start_time(pid)
    return bool(now) and now != started


def _world() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Clock ticks since boot, proc(5) stat field 22; empty when it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
