"""A running daemon: from a file's drop to `app.ready`, by the daemon's own clock."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.process import peak_of
from bench.workload import App, drop_spec


def dropped(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], fresh: Sequence[App]
) -> tuple[list[float], float]:
    """Seconds for each of `fresh`, one after the other, and the daemon's peak memory in MB."""
    log = folder / "daemon.log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            argv, cwd=folder, env={**environment, "NORN_LOG_FORMAT": "json"}, stdout=out, stderr=out
        )
    try:
        _line(daemon, log, "lease.acquired", None)
        time.sleep(5.0)  # the first round over everything
        took = []
        for app in fresh:
            began = time.time()
            drop_spec(folder / "specs", app)
            line = _line(daemon, log, "app.ready", app.name)
            took.append(datetime.fromisoformat(line["timestamp"]).timestamp() - began)
            time.sleep(0.7)
        return took, peak_of(daemon.pid)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def _line(
    daemon: subprocess.Popen[bytes], log: Path, event: str, app: str | None
) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until and daemon.poll() is None:
        for text in log.read_text().splitlines():
            if f'"{event}"' not in text:
                continue
            found: dict[str, Any] = json.loads(text)
            if found["event"] == event and (app is None or found.get("app") == app):
                return found
        time.sleep(0.02)
    raise RuntimeError(f"no {event} of {app} came:\n{log.read_text()[-3000:]}")
