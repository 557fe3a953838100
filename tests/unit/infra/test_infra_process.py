"""A server process known by its pid file: told from others, stopped with all that it started."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ports import free_port, listening
from infra.process import Process, StackError

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
# Deaf to SIGTERM, and with a child.
DEAF = [
    "bash",
    "-c",
    "trap '' TERM; sleep 600 & echo $! > \"$0\"; echo up; while :; do wait; done",
]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    found = Process("server", tmp_path / "server.pid", tmp_path / "server.log")
    yield found
    found.kill()


def is_up(process: Process) -> bool:
    return "up" in process.log.read_text()


def runs(pid: int) -> bool:
    """A zombie has ended: whoever is its parent now collects it when it likes."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_outlives_its_object_and_is_found_by_its_pid_file(process: Process) -> None:
    process.spawn(SLEEP, None, {})
    again = Process("server", process.pid_file, process.log)
    assert again.pid == process.pid
    assert again.pid is not None
    again.stop()
    assert process.pid is None
    assert not process.pid_file.exists()


def test_a_pid_that_belongs_to_another_process_is_not_ours(
    process: Process, tmp_path: Path
) -> None:
    other = Process("other", tmp_path / "other.pid", tmp_path / "other.log")
    other.spawn(SLEEP, None, {})
    try:
        pid, _ = other.pid_file.read_text().split()
        process.pid_file.write_text(f"{pid} another-boot/1\n")
        assert process.pid is None
        process.stop()
        process.kill()
        assert other.pid == int(pid)
    finally:
        other.kill()


@pytest.mark.parametrize("text", ["", "12", "not a pid file\n"])
def test_an_unreadable_pid_file_means_that_it_does_not_run(process: Process, text: str) -> None:
    process.pid_file.write_text(text)
    assert process.pid is None


def test_its_log_is_for_its_owner_alone(process: Process) -> None:
    process.spawn(SLEEP, None, {})
    assert process.log.stat().st_mode & 0o077 == 0


def test_one_that_dies_while_starting_is_told_with_its_log(process: Process) -> None:
    process.spawn(["sh", "-c", "echo no such disk; exit 3"], None, {"PATH": "/bin:/usr/bin"})
    with pytest.raises(StackError, match="no such disk"):
        process.wait(lambda: False, 20.0)


def test_one_that_is_never_ready_is_given_up(process: Process) -> None:
    process.spawn(SLEEP, None, {})
    process.wait(lambda: is_up(process), 20.0)
    with pytest.raises(StackError, match="not ready"):
        process.wait(lambda: False, 0.1)


def test_one_that_does_not_listen_is_ended_with_its_children(
    process: Process, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    process.spawn([*DEAF, str(child)], None, {"PATH": "/bin:/usr/bin"})
    process.wait(lambda: is_up(process), 20.0)
    process.stop(signal.SIGTERM, 0.2)
    assert process.pid is None
    assert not runs(int(child.read_text()))


def test_a_frozen_one_can_be_stopped(process: Process) -> None:
    process.spawn(SLEEP, None, {})
    process.wait(lambda: is_up(process), 20.0)
    process.signal_all(signal.SIGSTOP)
    process.stop()
    assert process.pid is None


# Its first thread ends at once (exit(2) ends one thread only); the other one goes on and listens.
HEADLESS = """
import ctypes, os, socket, sys, threading, time
def listen():
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
        print("up", flush=True)
        time.sleep(600)
threading.Thread(target=listen).start()
ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)
"""


def test_one_whose_first_thread_has_ended_still_runs(process: Process) -> None:
    port = free_port()
    process.spawn([sys.executable, "-c", HEADLESS, str(port)], None, {})
    process.wait(lambda: is_up(process), 20.0)
    pid = process.pid
    assert pid is not None
    until = time.monotonic() + 20.0
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not runs(pid), "its first thread shows as a zombie"
    assert process.pid == pid
    process.kill()
    assert not listening(port)
    assert process.pid is None
