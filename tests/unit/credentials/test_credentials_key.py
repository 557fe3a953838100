"""The master key's file."""

from __future__ import annotations

import base64
import os
import pickle
import stat
from pathlib import Path

import pytest

from norn_reconciler.credentials import key as master_key
from norn_reconciler.credentials.key import KeyFileError, MasterKey

KNOWN = bytes(range(32))
KNOWN_TEXT = base64.urlsafe_b64encode(KNOWN)


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_what_is_created_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state" / "master.key"
    made = master_key.create(path)
    assert master_key.load(path).reveal() == made.reveal()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        master_key.create(tmp_path / "k")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_two_keys_differ(tmp_path: Path) -> None:
    one, two = master_key.create(tmp_path / "1"), master_key.create(tmp_path / "2")
    assert one.reveal() != two.reveal()
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize("there", ["file", "link", "dangling"])
def test_nothing_is_replaced(tmp_path: Path, there: str) -> None:
    path = tmp_path / "master.key"
    target = tmp_path / "target"
    if there == "file":
        put(path, b"precious")
    else:
        if there == "link":
            put(target, b"precious")
        path.symlink_to(target)
    with pytest.raises(KeyFileError, match="exists already"):
        master_key.create(path)
    assert there == "dangling" or path.read_bytes() == b"precious"
    assert not (there == "dangling" and target.exists())
    assert len(list(tmp_path.iterdir())) == (2 if there == "link" else 1)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_key_from_elsewhere_is_read(tmp_path: Path, end: bytes) -> None:
    path = put(tmp_path / "k", KNOWN_TEXT + end)
    assert master_key.load(path).reveal() == KNOWN
    path = put(tmp_path / "unpadded", KNOWN_TEXT.rstrip(b"=") + end)
    assert master_key.load(path).reveal() == KNOWN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        KNOWN,
        KNOWN_TEXT[:-3],
        KNOWN_TEXT + KNOWN_TEXT,
        base64.urlsafe_b64encode(KNOWN[:31]),
        base64.urlsafe_b64encode(KNOWN + b"x"),
        b"!" + KNOWN_TEXT[1:],
        KNOWN_TEXT[:20] + b"\n" + KNOWN_TEXT[20:],
        b"x" * 10_000,
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "k", content)
    with pytest.raises(KeyFileError) as caught:
        master_key.load(path)
    assert "no master key" in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(content) < 10 or content[:10].decode("latin1") not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o777])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "k", KNOWN_TEXT, mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}.*chmod 600"):
        master_key.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert master_key.load(put(tmp_path / "k", KNOWN_TEXT, mode)).reveal() == KNOWN


def looks(monkeypatch: pytest.MonkeyPatch, *, mode: int, uid: int, gid: int) -> None:
    """Let every opened file seem to be of that owner: giving a file away takes root."""
    real = os.fstat

    def fstat(handle: int) -> os.stat_result:
        status = list(real(handle))
        status[0] = stat.S_IFREG | mode
        status[4:6] = [uid, gid]
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", fstat)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "fine"),
    [
        (0o440, 0, 0, True),  # systemd, to a service with a user of its own (by an ACL)
        (0o400, 0, 0, True),  # systemd, to a service of root
        (0o440, 0, 12345, False),
        (0o640, 0, 0, False),
        (0o444, 0, 0, False),
        (0o600, 12345, 12345, False),
        (0o440, 12345, 0, False),
    ],
)
def test_whose_key_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, uid: int, gid: int, fine: bool
) -> None:
    path = put(tmp_path / "k", KNOWN_TEXT)
    looks(monkeypatch, mode=mode, uid=uid, gid=gid)
    if fine:
        assert master_key.load(path).reveal() == KNOWN
    else:
        with pytest.raises(KeyFileError, match=r"chmod 600|another user"):
            master_key.load(path)


def test_a_fifo_a_folder_and_nothing_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(KeyFileError, match="not a regular file"):
            master_key.load(path)
    with pytest.raises(KeyFileError, match="No such file"):
        master_key.load(tmp_path / "none")


def test_a_key_shows_as_its_fingerprint() -> None:
    key = MasterKey(KNOWN)
    # HMAC-SHA256 of the label under the key, first 6 bytes, computed by openssl.
    assert key.fingerprint == "2458fbf9ca43"
    assert f"{key} {key!r}" == f"MasterKey({key.fingerprint}) MasterKey({key.fingerprint})"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(ValueError, match="32"):
        MasterKey(b"short")
