"""Where a setting comes from: the environment first, then norn.toml, then the default."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from norn_reconciler.settings import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("NORN_INSTANCE", "NORN_LEASE_SECONDS", "NORN_VALKEY_URL", "NORN_SPECS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (Settings().lease_seconds, Settings().instance) == (15.0, None)
    (folder / "norn.toml").write_text('lease_seconds = 20\ninstance = "file"\n')
    assert (Settings().lease_seconds, Settings().instance) == (20.0, "file")
    monkeypatch.setenv("NORN_LEASE_SECONDS", "30.5")
    assert (Settings().lease_seconds, Settings().instance) == (30.5, "file")
    assert Settings(lease_seconds=4).lease_seconds == 4.0


def test_an_empty_variable_is_none_and_names_may_be_of_any_case(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "norn.toml").write_text('instance = "file"\n')
    monkeypatch.setenv("NORN_INSTANCE", "")
    assert Settings().instance == "file"
    monkeypatch.setenv("norn_instance", "small")
    assert Settings().instance == "small"


def test_texts_become_what_the_field_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORN_VALKEY_CONFIG_REWRITE", "true")
    monkeypatch.setenv("NORN_REMOVAL_MAX_APPS", "7")
    monkeypatch.setenv("NORN_SPECS_DIR", "/elsewhere")
    monkeypatch.setenv("NORN_VALKEY_URL", "valkey://norn:hush@host")
    read = Settings()
    assert (read.valkey_config_rewrite, read.removal_max_apps) == (True, 7)
    assert read.specs_dir == Path("/elsewhere")
    assert read.valkey_url is not None
    assert "hush" not in repr(read)


@pytest.mark.parametrize(
    ("variable", "text", "field"),
    [("NORN_LEASE_SECONDS", "soon", "lease_seconds"), ("NORN_SCAN_SECONDS", "0", "scan_seconds")],
)
def test_a_bad_value_names_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValidationError) as fault:
        Settings()
    assert [e["loc"] for e in fault.value.errors()] == [(field,)]


def test_an_unknown_key_of_the_file_is_refused_an_unknown_variable_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORN_SOMETHING_ELSE", "1")  # other Norn tools have variables, too
    Settings()
    (folder / "norn.toml").write_text("lease_second = 20\n")
    with pytest.raises(ValidationError, match="lease_second"):
        Settings()


def test_settings_do_not_move() -> None:
    with pytest.raises(ValidationError):
        Settings().instance = "other"  # type: ignore[misc]
