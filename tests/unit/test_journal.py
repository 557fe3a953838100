"""Lines that go to journald carry their priority, and no others do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from norn_reconciler import journal, logs
from tests import catalogue

TALK = """
import logging, sys
from norn_reconciler import logs
logs.configure(sys.argv[1])
log = logs.get()
log.info(logs.STORE_RECOVERED)
log.warning(logs.STORE_LOST, error="two\\nlines")
log.error(logs.LEASE_LOST, error="…")
try:
    1 / 0
except ZeroDivisionError:
    log.exception(logs.LANE_FAULTED)
logging.getLogger("driver").warning("two\\nlines")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("driver").exception("fell over")
logging.getLogger("driver").error("with nothing to show", exc_info=True)
"""

LEVELS = ["info", "warning", "error", "error", "warning", "error", "error"]  # of what it says


def said(tmp_path: Path, log_format: str, *, connected: bool) -> list[str]:
    """A process's standard error, which systemd says is, or is not, the journal's stream."""
    path = tmp_path / "stream"
    with path.open("wb") as out:
        found = os.fstat(out.fileno())
        stream = f"{found.st_dev}:{found.st_ino if connected else found.st_ino + 1}"
        subprocess.run(
            [sys.executable, "-c", TALK, log_format],
            stderr=out,
            env={**os.environ, "JOURNAL_STREAM": stream},
            check=True,
        )
    return path.read_text().splitlines()


def test_each_line_begins_with_its_priority_and_is_json_after_it(tmp_path: Path) -> None:
    lines = said(tmp_path, "json", connected=True)
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<3>", "<4>", "<3>", "<3>"]
    told = [json.loads(line[3:]) for line in lines]
    assert [line["level"] for line in told] == LEVELS
    assert told[1]["error"] == "two\nlines"
    assert "ZeroDivisionError" in told[3]["exception"]


def test_elsewhere_lines_are_as_ever(tmp_path: Path) -> None:
    lines = said(tmp_path, "json", connected=False)
    assert [json.loads(line)["level"] for line in lines] == LEVELS


def test_what_a_driver_says_is_an_event_like_any(tmp_path: Path) -> None:
    *_, warned, failed, bare = map(json.loads, said(tmp_path, "json", connected=False))
    assert not catalogue.faults([warned, failed, bare])
    assert (warned["event"], warned["driver"]) == (logs.DRIVER_WARNED, "driver")
    assert warned["message"] == "two lines" and "exception" not in warned
    assert "ZeroDivisionError" in failed["exception"] and "exception" not in bare


def test_each_line_of_a_traceback_is_an_error(tmp_path: Path) -> None:
    lines = said(tmp_path, "console", connected=True)
    first, last = (number for number, line in enumerate(lines) if "ZeroDivisionError" in line)
    assert 3 < first < last
    for each in (first, last):
        assert "File" in lines[each - 1]
        assert all(line.startswith("<3>") for line in lines[each - 2 : each + 1])


@pytest.mark.parametrize("stream", [object(), None])
def test_what_is_no_file_is_not_the_journal(stream: object) -> None:
    assert not journal.leads_there(stream, {"JOURNAL_STREAM": "1:1"})
