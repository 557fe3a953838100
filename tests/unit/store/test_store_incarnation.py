import subprocess
import sys

import pytest

from norn_reconciler.store import incarnation


def test_this_process_is_not_gone():
    assert incarnation.current()
    assert not incarnation.is_gone(incarnation.current())


def test_a_process_is_gone_once_it_has_ended():
    code = (
        "from norn_reconciler.store import incarnation;"
        "print(incarnation.current(), flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        name = child.stdout.readline().strip()
        assert not incarnation.is_gone(name)
    finally:
        child.communicate("\n")
    assert incarnation.is_gone(name)


def test_a_pid_that_is_another_process_now_is_gone():
    boot, namespace, pid, started = incarnation.current().split()
    assert incarnation.is_gone(f"{boot} {namespace} {pid} {int(started) - 1}")


@pytest.mark.parametrize("position", [0, 1])
def test_of_another_boot_or_namespace_nothing_is_known(position):
    words = incarnation.current().split()
    words[position] = "0"
    words[2] = "4194304"  # above the largest PID
    assert not incarnation.is_gone(" ".join(words))


@pytest.mark.parametrize("unknown", [None, "", "nonsense"])
def test_an_unknown_holder_is_not_gone(unknown):
    assert not incarnation.is_gone(unknown)
