"""A server process that outlives the command that started it, known by its pid file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.accounts import Account, identity

PAUSE = 0.05  # seconds between looks


class StackError(RuntimeError):
    """A server could not be brought up or down. The message quotes its log's tail."""


class Process:
    """pid_file: holds pid and start time while it runs. log: where its output goes."""

    def __init__(self, title: str, pid_file: Path, log: Path) -> None:
        self.title = title
        self.pid_file = pid_file
        self.log = log

    @property
    def pid(self) -> int | None:
        """None when it does not run. A pid that meanwhile belongs to another process is not ours:
        the start time tells, also across a reboot."""
        try:
            pid, start = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == start else None

    def spawn(
        self, argv: Sequence[str], account: Account | None, environment: Mapping[str, str]
    ) -> None:
        """Start it in a session of its own, as `account` (None: as ourselves), and note its pid."""
        self.log.touch(mode=0o600)
        with self.log.open("ab") as out:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **identity(account),
                env=environment,
                cwd="/",
            )
        self.pid_file.write_text(f"{child.pid} {_start_time(child.pid)}\n")
        # It belongs to the machine now: nobody here waits for it, and that is no news to warn of.
        child.returncode = 0

    def wait(self, ready: Callable[[], bool], seconds: float) -> None:
        """Until `ready`. StackError when it died, or when `seconds` are over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.pid is None:
                raise StackError(f"{self.title} ended while starting:\n{self.tail()}")
            if ready():
                return
            time.sleep(PAUSE)
        raise StackError(f"{self.title} was not ready after {seconds:.0f} s:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The log's last lines, indented."""
        try:
            found = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "  (no log)"
        return "\n".join(f"  {line}" for line in found[-lines:]) or "  (the log is empty)"

    def send(self, number: int) -> None:
        """Signal the process itself, if it runs."""
        if (pid := self.pid) is not None:
            _signal(pid, number)

    def signal_all(self, number: int) -> None:
        """Signal the process and its descendants: a frozen PostgreSQL postmaster alone leaves its
        sessions answering. The parent goes first, so that it makes no new ones."""
        if (pid := self.pid) is not None:
            _signal(pid, number)
            for child in _descendants(pid):
                _signal(child, number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> None:
        """Ask it to end and wait; after `seconds` make it end. Frozen ones are thawed first."""
        pid = self.pid
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return
        self.signal_all(signal.SIGCONT)
        family = _family(pid)
        _signal(pid, number)
        if not _gone(family, seconds):
            self._end(family)
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL for it and its descendants; returns when all are gone."""
        pid = self.pid
        if pid is not None:
            _signal(pid, signal.SIGSTOP)  # it makes no child between the look and the kill
            self._end(_family(pid))
        self.pid_file.unlink(missing_ok=True)

    def _end(self, family: Mapping[int, str]) -> None:
        for pid, start in family.items():
            if _start_time(pid) == start:
                _signal(pid, signal.SIGKILL)
        if not _gone(family, 10.0):
            raise StackError(f"{self.title} (pid {min(family)}) does not end")


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _family(pid: int) -> Mapping[int, str]:
    """pid → start time of the process and its descendants."""
    found = {each: _start_time(each) for each in (pid, *_descendants(pid))}
    return {each: start for each, start in found.items() if start is not None}


def _gone(family: Mapping[int, str], seconds: float) -> bool:
    """Whether all of them ended within `seconds`."""
    until = time.monotonic() + seconds
    while any(_start_time(pid) == start for pid, start in family.items()):
        if time.monotonic() > until:
            return False
        for pid in family:
            with contextlib.suppress(ChildProcessError):  # others' children are theirs to collect
                os.waitpid(pid, os.WNOHANG)
        time.sleep(PAUSE / 2)
    return True


def _status(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _start_time(pid: int) -> str | None:
    """In clock ticks since boot, with the boot's id; None when it has ended."""
    fields = _status(pid)
    if fields is None:
        return None
    state, threads = fields[0], int(fields[17])
    # A process whose first thread has ended shows as a zombie while its others still end: a JVM
    # that was killed holds its port until the last of them is gone.
    if state == "X" or (state == "Z" and threads <= 1):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{fields[19]}"


def _descendants(pid: int) -> list[int]:
    """Children, their children, …, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _status(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found
