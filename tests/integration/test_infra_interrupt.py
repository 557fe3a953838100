"""Ended early, `make demo` and a test run leave no server and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

SUITE = """
import time

def test_long(servers):
    assert servers.valkey_url
    print("up", flush=True)
    time.sleep(120)
"""


def working_in(folder: Path) -> list[str]:
    """What runs below `folder`: by its command line, or by its working folder, since Valkey puts
    a title in place of its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                place = str((entry / "cwd").readlink())
            except OSError:
                continue
            if str(folder) in line or str(folder) in place:
                found.append(line)
    return found


def started(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NORN_")}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    with (folder / "output").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *argv], env=environment, cwd=ROOT, stdout=out, stderr=out
        )


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers' user gets through to: pytest's own folders are closed to others."""
    made = tmp_path_factory.mktemp("interrupt")
    for path in (made, *made.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o001)
    return made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["demo", "suite"])
def test_nothing_is_left(folder: Path, what: str, number: signal.Signals) -> None:
    if what == "demo":
        argv = ["-m", "infra.demo"]
    else:
        test = folder / "test_long.py"
        test.write_text(SUITE)
        argv = [
            "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider",
            "-c", os.devnull, "--rootdir", str(folder), str(test),
        ]  # fmt: skip
    process = started(folder, *argv)
    try:
        # A server of ours runs, but not everything does.
        until = time.monotonic() + PATIENCE
        while not any("valkey-server" in line for line in working_in(folder)):
            assert process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(PATIENCE) != 0
    finally:
        process.kill()
        process.wait()
    assert working_in(folder) == []
    assert list(folder.glob("norn-*")) == []
