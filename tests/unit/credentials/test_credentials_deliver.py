"""Env files on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from norn_reconciler.credentials import deliver
from norn_reconciler.credentials.deliver import DeliveryError

VARIABLES = {"VALKEY_URL": "valkey://a:b@h:6379/0", "KV_NAMESPACE": "mail agent"}
TEXT = 'KV_NAMESPACE="mail agent"\nVALKEY_URL=valkey://a:b@h:6379/0\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "credentials"
    assert deliver.write(folder, "mail-agent", VARIABLES)
    assert [p.name for p in folder.iterdir()] == ["mail-agent.env"]
    assert (folder / "mail-agent.env").read_text() == TEXT
    assert (mode(folder), mode(folder / "mail-agent.env")) == (0o700, 0o600)


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    deliver.write(tmp_path, "a", VARIABLES)
    before = (tmp_path / "a.env").stat()
    assert not deliver.write(tmp_path, "a", dict(reversed(VARIABLES.items())))
    after = (tmp_path / "a.env").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_replaces_the_file(tmp_path: Path) -> None:
    deliver.write(tmp_path, "a", VARIABLES)
    reader = (tmp_path / "a.env").open()
    assert deliver.write(tmp_path, "a", {"X": "1"})
    assert (tmp_path / "a.env").read_text() == "X=1\n"
    assert reader.read() == TEXT  # who reads it sees the old one whole
    reader.close()


@pytest.mark.parametrize("wrong", [0o644, 0o666, 0o400])
def test_a_wrong_mode_is_mended(tmp_path: Path, wrong: int) -> None:
    deliver.write(tmp_path, "a", VARIABLES)
    (tmp_path / "a.env").chmod(wrong)
    tmp_path.chmod(0o755)
    assert deliver.write(tmp_path, "a", VARIABLES)
    assert (mode(tmp_path), mode(tmp_path / "a.env")) == (0o700, 0o600)


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        deliver.write(tmp_path / "new", "a", VARIABLES)
    finally:
        os.umask(before)
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "a.env")) == (0o700, 0o600)


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "c", tmp_path / "victim"
    folder.mkdir()
    # Even one whose content is already right, and whichever name is planted.
    victim.write_text(TEXT)
    victim.chmod(0o600)
    for planted in ("a.env", ".a.env.new"):
        (folder / planted).symlink_to(victim)
    assert deliver.write(folder, "a", VARIABLES)
    assert not (folder / "a.env").is_symlink()
    assert (folder / "a.env").read_text() == TEXT
    assert deliver.write(folder, "a", {"X": "1"})
    assert victim.read_text() == TEXT
    (folder / "b.env").symlink_to(victim)
    assert deliver.remove(folder, "b")
    assert victim.exists()


def test_a_second_name_of_the_file_is_cut_off(tmp_path: Path) -> None:
    deliver.write(tmp_path, "a", VARIABLES)
    os.link(tmp_path / "a.env", tmp_path / "elsewhere")
    assert deliver.write(tmp_path, "a", VARIABLES)
    assert (tmp_path / "a.env").stat().st_nlink == 1


def test_a_fifo_does_not_hang_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.env", 0o600)
    assert deliver.write(tmp_path, "a", VARIABLES)
    assert (tmp_path / "a.env").read_text() == TEXT


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.env.new").write_text("half")
    assert deliver.write(tmp_path, "a", VARIABLES)
    assert [p.name for p in tmp_path.iterdir()] == ["a.env"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver.write(tmp_path, "a", VARIABLES)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeliveryError, match="No space left"):
        deliver.write(tmp_path, "a", {"X": "1"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.env"]
    assert (tmp_path / "a.env").read_text() == TEXT


def test_the_file_reaches_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def rename(*args: object, **kwargs: object) -> None:
        calls.append("rename")
        real_rename(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    deliver.write(tmp_path, "a", VARIABLES)
    assert calls == ["file", "rename", "folder"]


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.env").mkdir()
    handles = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(DeliveryError):
        deliver.write(tmp_path, "a", VARIABLES)
    with pytest.raises(DeliveryError):
        deliver.remove(tmp_path, "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a.env"]
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    with pytest.raises(DeliveryError):
        deliver.write(tmp_path / "c", "a", VARIABLES)


def test_removing(tmp_path: Path) -> None:
    deliver.write(tmp_path, "a", VARIABLES)
    deliver.write(tmp_path, "b", VARIABLES)
    assert deliver.remove(tmp_path, "a")
    assert not deliver.remove(tmp_path, "a")
    assert [p.name for p in tmp_path.iterdir()] == ["b.env"]
    assert not deliver.remove(tmp_path / "none", "a")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "app", ["", "..", "../a", "a/b", "/etc/x", ".", "-a", "a\n", "a\0", "A", "a.b", "a b"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, app: str) -> None:
    folder = tmp_path / "c"
    with pytest.raises(DeliveryError):
        deliver.write(folder, app, VARIABLES)
    with pytest.raises(DeliveryError):
        deliver.remove(folder, app)
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_goes_with_the_file(tmp_path: Path) -> None:
    deliver.write(tmp_path, "mail", {"A": "secret"})
    (tmp_path / ".mail.env.new").write_text("A=secret\n")
    (tmp_path / ".mail2.env.new").write_text("A=another's\n")
    assert deliver.remove(tmp_path, "mail")
    assert [p.name for p in tmp_path.iterdir()] == [".mail2.env.new"]
    (tmp_path / ".mail.env.new").write_text("A=secret\n")
    assert not deliver.remove(tmp_path, "mail")
    assert [p.name for p in tmp_path.iterdir()] == [".mail2.env.new"]


def test_whether_a_file_says_just_that(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    assert not deliver.holds(folder, "mail", {"A": "1"})
    deliver.write(folder, "mail", {"A": "1"})
    assert deliver.holds(folder, "mail", {"A": "1"})
    assert not deliver.holds(folder, "mail", {"A": "2"})
    assert not deliver.holds(folder, "other", {"A": "1"})
