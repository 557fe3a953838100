"""Settings that cannot be read: told by name and place, never by their text; and no core."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from infra.ports import free_port
from tests.acceptance.warm_norn import Warm

SECRET = "TOPSECRETPW"


def norn(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    nowhere = f"postgresql://norn@127.0.0.1:{free_port()}/norn_db"
    return Warm(folder, {}, nowhere).ended(*words, **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'valkey_url = "valkey://x:{SECRET}@h:1\n', "norn.toml: no TOML, line 1, column "),
        (f"{SECRET} = {SECRET}\n", "norn.toml: no TOML, line 1, column "),
        (f'a = "{SECRET}', "norn.toml: no TOML"),
        (f"redpanda_password = ['{SECRET}']\n", "redpanda_password: "),
        (f"resync_seconds = '{SECRET}'\n", "resync_seconds: "),
    ],
)
def test_a_settings_file_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "norn.toml").write_text(text)
    done = norn(tmp_path, "status")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_settings_file_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "norn.toml").write_bytes(b"valkey_url = '\xff'")
    done = norn(tmp_path, "status")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDPANDA_BROKERS", f"h:9092,a:b:c@{SECRET}"),
        ("REDPANDA_BROKERS", f"{SECRET}@h:9092"),
        ("REDPANDA_BROKERS", f"h:{SECRET}"),
        ("REDPANDA_BROKERS", f"[::1]{SECRET}"),
        ("POSTGRES_URL", f"postgresql://x:{SECRET}@[::1:5432/p"),
        ("POSTGRES_URL", f"postgresql://x:{SECRET}@h:99999999/p?foo=bar"),
        ("POSTGRES_URL", f"mysql://x:{SECRET}@h/p"),
        ("VALKEY_URL", f"valkey://x:{SECRET}@[::1:6379"),
        ("VALKEY_URL", f"valkey://x:{SECRET}@h:port"),
        ("DATABASE_URL", f"postgresql://x:{SECRET}@h:port/p"),
        ("DATABASE_URL", f"postgresql://x:{SECRET}@[::1/p"),
    ],
)
def test_a_connection_that_cannot_be_read(tmp_path: Path, name: str, value: str) -> None:
    done = norn(tmp_path, "doctor", **{f"NORN_{name}": value, "NORN_REQUEST_TIMEOUT_SECONDS": "1"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_daemon_leaves_no_core() -> None:
    script = (
        "import resource; from norn_reconciler import daemon; daemon.leave_no_core();"
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]

    def some() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    done = subprocess.run(
        [sys.executable, "-c", script], preexec_fn=some, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(0, 0)"


def test_nor_does_the_unit() -> None:
    unit = Path(__file__).parents[2] / "systemd" / "norn-reconciler.service"
    assert "LimitCORE=0" in unit.read_text().splitlines()
