"""In CI a skip that tests/skips.txt does not list fails the run; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = "no container engine answers here"


def run(folder: Path, reason: str, *, ci: bool) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(
        "import pytest\n\n"
        "def test_done():\n    assert True\n\n"
        f"@pytest.mark.skip(reason={reason!r})\ndef test_left_out():\n    assert True\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    environment["PYTHONPATH"] = str(ROOT)
    if ci:
        environment["CI"] = "true"
    return subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider",
            "-c", os.devnull, "--rootdir", str(folder), str(folder),
        ],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_unlisted_skip_fails_ci_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "somebody was in a hurry", ci=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "unlisted skip: " in done.stdout
    assert "somebody was in a hurry" in done.stdout


@pytest.mark.parametrize(
    ("reason", "ci"), [("somebody was in a hurry", False), (LISTED, True), (LISTED, False)]
)
def test_other_skips_pass(tmp_path: Path, reason: str, ci: bool) -> None:
    done = run(tmp_path, reason, ci=ci)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
