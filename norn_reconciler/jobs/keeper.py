"""Runs one command, and sees to it that nothing of it outlives it, norn, or its time.

A program of its own between norn and the command: no Python may run between fork and exec in a
process that has threads, and only a parent that is not norn is left when norn is killed. Whatever
the command starts, also in sessions of its own, becomes this one's child when its parent ends, and
is killed with it. Standard library only; what is to be run comes on standard input, so that no
secret is in a command line or in this process's environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

UNABLE = 125  # the command could not even be begun
_KILLED = 128 + signal.SIGKILL
# TERM: its time is over. HUP: norn has ended. ALRM: it was asked to end, and has not.
_HEARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM}
_DEATH_SIGNAL, _SUBREAPER, _NO_NEW_PRIVILEGES = 1, 36, 38  # linux/prctl.h


def main(norn: int) -> int:
    """norn: the process that started this one. Returns the command's exit code, 128 + N for a
    signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    order: dict[str, Any] = json.load(sys.stdin)
    _prctl(_DEATH_SIGNAL, signal.SIGHUP)
    _prctl(_SUBREAPER, 1)
    if os.getppid() != norn:
        return UNABLE
    here = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _become(order, here)
        except BaseException as fault:  # nothing of this program may go on in the child
            os.write(2, f"norn: the command can't be begun: {fault}\n".encode())
        os._exit(UNABLE)
    try:
        return _followed(child, order["patience"])
    finally:
        _end_all(child)
        if order["scratch"]:
            shutil.rmtree(order["folder"], ignore_errors=True)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _become(order: dict[str, Any], keeper: int) -> None:
    """In the child: be the command."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that is inherited
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.umask(0o077)
    if (account := order["account"]) is not None:
        os.setgroups(account["groups"])
        os.setresgid(*[account["gid"]] * 3)
        os.setresuid(*[account["uid"]] * 3)
    _prctl(_NO_NEW_PRIVILEGES, 1)  # what it starts can be ended by whoever may end it
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != keeper:
        return
    os.chdir(order["folder"])
    os.execve("/bin/sh", ["/bin/sh", "-c", order["command"]], order["environment"])


def _followed(child: int, patience: int) -> int:
    while True:
        heard = signal.sigwait(_HEARD)
        if heard == signal.SIGTERM:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)
            signal.alarm(patience)
        elif heard != signal.SIGCHLD:
            return _KILLED
        elif (status := _reaped(child)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reaped(child: int) -> int | None:
    """How `child` ended, if it has. Orphans that were left to us are taken, too."""
    found: int | None = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = ended[1]
    return found


def _end_all(child: int) -> None:
    """The children of whoever is killed here are ours then: until there is nobody left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    found, here = [], os.getpid()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            after_name = (path / "stat").read_text(errors="replace").rpartition(")")[2]
            if int(after_name.split()[1]) == here:
                found.append(int(path.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
