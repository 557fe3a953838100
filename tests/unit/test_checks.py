"""What `norn doctor` says of the modes of files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from norn_reconciler import checks
from norn_reconciler.settings import Settings


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything there is, as it should be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "ENV_FILE", tmp_path / "etc" / "norn.env")
    for folder, mode in (("etc", 0o755), ("specs", 0o755), ("state", 0o711), ("state/stack", 0o700),
                         ("state/credentials", 0o700), ("snapshots", 0o700)):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder).chmod(mode)
    for name in (
        "norn.toml",
        "etc/norn.env",
        "state/connections.toml",
        "state/stack/stack.json",
        "state/credentials/mail.env",
        "snapshots/mail.dump",
    ):
        (tmp_path / name).touch(0o600)
    return tmp_path


def found(folder: Path) -> list[tuple[str, str, str]]:
    health = checks.files(Settings(specs_dir=folder / "specs", state_dir=folder / "state"))
    return [(f.severity, f.reason, f.remedy.replace(f"{folder}/", "")) for f in health.findings]


def test_modes_as_norn_makes_them_are_well(kept: Path) -> None:
    assert found(kept) == []


@pytest.mark.parametrize(
    "name",
    ["norn.toml", "etc/norn.env", "state/connections.toml", "state/stack/stack.json",
     "state/credentials/mail.env", "snapshots/mail.dump"],
)  # fmt: skip
def test_a_file_that_others_can_read(kept: Path, name: str) -> None:
    (kept / name).chmod(0o640)
    assert found(kept) == [("blocking", "WorldReadable", f"chmod 600 {name}")]


@pytest.mark.parametrize(
    ("name", "mode", "severity", "right"),
    [
        ("state", 0o755, "warning", 711),
        ("state", 0o731, "blocking", 711),
        ("state/credentials", 0o711, "warning", 700),
        ("state/credentials", 0o777, "blocking", 700),
    ],
)
def test_a_folder_that_others_have_a_part_in(
    kept: Path, name: str, mode: int, severity: str, right: int
) -> None:
    (kept / name).chmod(mode)
    assert found(kept) == [(severity, "FolderOpen", f"chmod {right} {name}")]


def test_what_is_not_there_is_no_finding(kept: Path) -> None:
    (kept / "etc" / "norn.env").unlink()
    (kept / "state" / "stack" / "stack.json").unlink()
    assert found(kept) == []


def test_commands_that_no_user_is_named_for(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for settings, reasons in (
        (Settings(migrations=False), []),
        (Settings(migrations=True), ["CommandsUser"]),
        (Settings(migrations=True, commands_user="of-nobody"), ["CommandsUser"]),
        (Settings(migrations=True, commands_user="nobody"), []),
    ):
        assert [f.reason for f in checks.files(settings).findings] == reasons
