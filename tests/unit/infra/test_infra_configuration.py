"""norn.toml as `make infra` writes it, and compose's generated passwords."""

from __future__ import annotations

import hashlib
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra import configuration, containers


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "norn.toml"
    configuration.write(path, {"valkey_url": "valkey://a:b@127.0.0.1"})
    assert mode(path) == 0o600
    assert configuration.read(path) == {"valkey_url": "valkey://a:b@127.0.0.1"}
    assert path.read_text().startswith(configuration.HEADER)


def test_our_own_file_keeps_what_else_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "norn.toml"
    configuration.write(path, {"valkey_url": "old", "redpanda_brokers": "b"})
    path.write_text(path.read_text() + "grace_seconds = 20\n")
    configuration.write(path, {"valkey_url": "new"})
    assert configuration.read(path) == {
        "grace_seconds": 20,
        "redpanda_brokers": "b",
        "valkey_url": "new",
    }
    assert mode(path) == 0o600


def test_a_looser_mode_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "norn.toml"
    configuration.write(path, {"valkey_url": "old"})
    path.chmod(0o644)
    configuration.write(path, {"valkey_url": "new"})
    assert mode(path) == 0o600


def test_an_operators_file_is_never_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "norn.toml"
    mine = '# mine\nvalkey_url = "valkey://mine"\nredpanda_brokers = "b"\n'
    path.write_text(mine)
    path.chmod(0o640)

    configuration.write(path, {"valkey_url": "valkey://u:secret@h", "redpanda_brokers": "b"})

    assert path.read_text() == mine
    assert mode(path) == 0o640
    spare = tmp_path / ".norn" / "connections.toml"
    assert tomllib.loads(spare.read_text()) == {"valkey_url": "valkey://u:secret@h"}
    assert mode(spare) == 0o600
    said = capsys.readouterr().out
    assert "valkey_url" in said
    assert "redpanda_brokers" not in said
    assert "secret" not in said


def test_a_broken_file_of_theirs_is_named_and_left(tmp_path: Path) -> None:
    path = tmp_path / "norn.toml"
    path.write_text("valkey_url = \n")
    with pytest.raises(ValueError, match=r"norn\.toml"):
        configuration.write(path, {"valkey_url": "x"})
    assert path.read_text() == "valkey_url = \n"


@given(value=st.text())  # no surrogates: those are no text
@example("\x7f\U0001f511\r\n\\\"'")
def test_every_value_survives(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("toml") / "norn.toml"
    configuration.write(path, {"redpanda_password": value})
    assert configuration.read(path) == {"redpanda_password": value}


def test_compose_passwords_are_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / ".norn"
    first = containers.prepare(folder)
    text = (folder / containers.FILE).read_text()
    values = dict(line.split("=", 1) for line in text.splitlines())

    assert containers.prepare(folder) == first
    assert (folder / containers.FILE).read_text() == text
    assert mode(folder / containers.FILE) == 0o600
    digest = hashlib.sha256(values["VALKEY_PASSWORD"].encode()).hexdigest()
    assert values["VALKEY_PASSWORD_SHA256"] == digest
    assert len(values["REDPANDA_PASSWORD"]) >= 32
    assert ":" not in values["REDPANDA_PASSWORD"]  # it separates RP_BOOTSTRAP_USER's fields
    assert containers.prepare(tmp_path / "other")["redpanda_password"] != first["redpanda_password"]
