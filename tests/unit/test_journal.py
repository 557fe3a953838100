"""Lines that go to journald carry their priority, and no others do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from norn_reconciler import journal

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
"""


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
    *lines, first, second = said(tmp_path, "json", connected=True)
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<3>"]
    levels = [json.loads(line[3:])["level"] for line in lines]
    assert levels == ["info", "warning", "error", "error"]
    assert json.loads(lines[1][3:])["error"] == "two\nlines"
    assert "ZeroDivisionError" in json.loads(lines[3][3:])["exception"]
    assert (first, second) == ("<4>driver: two", "<4>lines")


def test_elsewhere_lines_are_as_ever(tmp_path: Path) -> None:
    *lines, first, second = said(tmp_path, "json", connected=False)
    assert [json.loads(line)["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert (first, second) == ("driver: two", "lines")


def test_each_line_of_a_traceback_is_an_error(tmp_path: Path) -> None:
    *lines, _, _ = said(tmp_path, "console", connected=True)
    (last,) = (number for number, line in enumerate(lines) if "ZeroDivisionError" in line)
    assert last > 4
    assert all(line.startswith("<3>") for line in lines[last - 3 : last + 1])


@pytest.mark.parametrize("stream", [object(), None])
def test_what_is_no_file_is_not_the_journal(stream: object) -> None:
    assert not journal.leads_there(stream, {"JOURNAL_STREAM": "1:1"})
