"""Runs one program and measures it from exec to exit."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """began: seconds since 1970. seconds: wall time. cpu: seconds of its processors. peak: MB
    resident at most."""

    began: float
    seconds: float
    cpu: float
    peak: float
    output: str
    errors: str


def run(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Run:
    """RuntimeError when it fails, with what it said."""
    out, errors = folder / "stdout", folder / "stderr"
    with out.open("wb") as to_out, errors.open("wb") as to_errors:
        started, began = time.time(), time.perf_counter()
        child = subprocess.Popen(
            argv, cwd=folder, env=dict(environment), stdout=to_out, stderr=to_errors
        )
        peak = 0.0
        handle = os.pidfd_open(child.pid)
        try:
            # Not rusage: a child that was forked off inherits its parent's peak there.
            while not select.select([handle], [], [], 0.02)[0]:
                peak = max(peak, peak_of(child.pid))
            seconds = time.perf_counter() - began
            _, status, usage = os.wait4(child.pid, 0)
        finally:
            os.close(handle)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(
            f"{' '.join(argv)} ended with {child.returncode}:\n"
            f"{out.read_text()[-2000:]}{errors.read_text()[-4000:]}"
        )
    cpu = usage.ru_utime + usage.ru_stime
    return Run(started, seconds, cpu, peak, out.read_text(), errors.read_text())


def peak_of(pid: int) -> float:
    """MB resident at most so far; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((x for x in text.splitlines() if x.startswith("VmHWM")), "x 0")
    return int(line.split()[1]) / 1024
