"""What a traceback in the log shows, and what it must not."""

from __future__ import annotations

import subprocess
import sys

import pytest

TALK = """
import sys
from norn_reconciler import logs
from norn_reconciler.model.errors import NornError
logs.configure(sys.argv[1])

def driver():
    # Put together here, since a traceback shows the source.
    raise ValueError("ALTER ROLE a PASSWORD '" + "hun" + "ter2'")

def edge():
    try:
        driver()
    except ValueError as fault:
        raise NornError("norn_db does not answer") from fault

def inner():
    raise ExceptionGroup("hun" + "ter2", [KeyError("hun" + "ter2")])

for work in (driver, edge, inner):
    try:
        work()
    except Exception:
        logs.get().exception(logs.LANE_FAULTED)
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_says_where_and_only_norns_own_errors_say_what(log_format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TALK, log_format], capture_output=True, text=True, check=True
    )
    told = done.stderr
    assert "hunter2" not in told
    for shown in ("in driver", "in edge", "in inner", "ValueError", "ExceptionGroup", "KeyError"):
        assert shown in told
    assert "NornError: norn_db does not answer" in told
