"""norn's commands as processes of their own that begin at once: forked from an interpreter that has
everything imported. Who starts hundreds pays for the imports once. The daemon of `Norn.daemon` is
started as everybody starts it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

# Whatever a command or a daemon imports only when it needs it.
import norn_reconciler.daemon
import norn_reconciler.oneshot
import norn_reconciler.providers.events.wire
import norn_reconciler.providers.kv.provider
import norn_reconciler.providers.postgres.wire  # noqa: F401
from norn_reconciler.cli import main
from norn_reconciler.cli.app import load
from tests.acceptance.harness import Daemon, Norn
from tests.acceptance.kill_at import Boundaries, install

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([__name__])
load()


def _become(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    errors: Path,
    order: Path | None,
) -> None:
    """In the new process: be `norn` with these arguments."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, number in ((out, 1), (errors, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    if order is not None:
        install(Boundaries(order))
    sys.argv = ["norn", *arguments]
    main()


class Forked:
    """As much of subprocess.Popen as a Daemon needs."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("norn", seconds or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass
class Warm(Norn):
    """The same commands, output and exit codes as of `Norn`."""

    def ended(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            out, errors = Path(folder) / "out", Path(folder) / "errors"
            process = self._fork(arguments, self.environment(**more), out, errors)
            try:
                code = process.wait(120)
            finally:
                process.kill()  # it may hang, and nobody will miss it
            return subprocess.CompletedProcess(arguments, code, out.read_text(), errors.read_text())

    def until(self, place: str, *arguments: str) -> list[str]:
        """A command, killed at `place` ("": nowhere). The boundaries that it passed, by name: which
        results share a write is a matter of time, so it may end without passing `place`."""
        order, told = self.folder / "die.order", self.folder / "told"
        notes = order.with_suffix(".notes")
        notes.write_text("")
        order.write_text(place)
        ended = self._fork(arguments, self.environment(), told, told, order).wait(120)
        passed = notes.read_text().splitlines()
        expected = -signal.SIGKILL if place in passed else 0
        assert ended == expected, (place, ended, told.read_text())
        return passed

    def start(self, order: Path | None = None, **more: str) -> Daemon:
        """`norn run`, until somebody ends it. order: see kill_at.Boundaries."""
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        log.touch()
        environment = self.environment(NORN_LOG_FORMAT="json", **more)
        forked = self._fork(["run"], environment, log, log, order)
        daemon = Daemon(forked, log)  # type: ignore[arg-type]
        self.daemons.append(daemon)
        return daemon

    def _fork(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        errors: Path,
        order: Path | None = None,
    ) -> Forked:
        process = context.Process(
            target=_become, args=(arguments, self.folder, environment, out, errors, order)
        )
        process.start()
        return Forked(process)
