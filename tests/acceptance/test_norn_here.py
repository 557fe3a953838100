"""A command that runs inside this process leaves it as it was: the tests that come after run the
product's parts here, too, and look at what they log."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from norn_reconciler import logs
from tests.acceptance.harness import spec
from tests.acceptance.norn_here import working_folder
from tests.servers import Servers


def _process() -> dict[str, object]:
    """What a command could change of the process it runs in."""
    gc.collect()
    root, made = logging.getLogger(), logging.Logger.manager.loggerDict
    loggers = [log for log in made.values() if isinstance(log, logging.Logger)]
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "loop policy": asyncio.get_event_loop_policy(),
        "root": (root.handlers[:], root.level, logging.root.manager.disable),
        "levels": {log.name: log.level for log in loggers if log.level},
        "handlers": {log.name: log.handlers[:] for log in loggers if log.handlers},
        "structlog": (structlog.is_configured(), structlog.get_config()),
        "context": structlog.contextvars.get_contextvars(),
        "log lines": dict(logs._to),
        "warnings": warnings.filters[:],
        "threads": set(threading.enumerate()),
        "open": sorted(filter(None, map(_socket, Path("/proc/self/fd").iterdir()))),
    }


def _socket(fd: Path) -> str:
    try:
        found = str(fd.readlink())
    except OSError:
        return ""  # the listing's own
    return found if found.startswith("socket:") else ""


def test_a_command_leaves_the_process_as_it_was(
    servers: Servers, tmp_path: Path, name: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    with working_folder(servers, tmp_path / "imports") as norn:
        norn.write("imports.yaml", spec(name("imports")))
        norn.run("apply")  # what is imported stays, with what it sets up by that
    with working_folder(servers, tmp_path / "work", NORN_LOG_FORMAT="json") as norn:
        norn.write("here.yaml", spec(name("here")))
        before = _process()
        norn.run("apply")
        assert '"event": "app.ready"' in norn.errors
        norn.run("apply", "--nonsense", code=2)
        norn.run("plan", "--check")
        assert _process() == before
        logs.get().warning("from.elsewhere")  # would go to the command's own stream, now closed
        assert "from.elsewhere" in capsys.readouterr().out
