"""The master key's file: 32 random bytes as base64url, readable by its owner alone."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import final

from norn_reconciler.model.errors import NornError

SIZE = 32  # bytes
_ENCODED = 44  # characters, one `=` of padding among them
_FINGERPRINT_LABEL = b"norn-reconciler master key fingerprint v1"
_LARGEST = 4096  # bytes looked at: a key is not searched for in something else


class KeyFileError(NornError):
    """The key file is missing, readable by others, or holds no key."""


@final
class MasterKey:
    """Shows as its fingerprint everywhere but in `reveal()`."""

    __slots__ = ("_secret", "fingerprint")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SIZE:
            raise ValueError(f"a master key has {SIZE} bytes")
        self._secret = secret
        # Twelve hex characters of a keyed hash under a label of its own: it tells keys apart and
        # says nothing about this one, nor about what is derived from it.
        self.fingerprint = hmac.digest(secret, _FINGERPRINT_LABEL, "sha256").hex()[:12]

    def reveal(self) -> bytes:
        """The key itself, for derivation only."""
        return self._secret

    def __repr__(self) -> str:
        return f"MasterKey({self.fingerprint})"

    def __reduce__(self) -> str:
        raise TypeError("a MasterKey is not to be serialised")


def load(path: Path) -> MasterKey:
    """Read the key at `path`.

    The file must be a regular one of this user or root that nobody else may read; root:root 0440 is
    let through, since that is what a file from systemd's LoadCredential= looks like. Raises
    KeyFileError, which says what to do.
    """
    try:
        # Not blocking: a FIFO would hang the start.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise KeyFileError(f"the master key {path} can't be read: {fault.strerror}") from fault
    try:
        _refuse_unsafe(path, os.fstat(handle))
        content = os.read(handle, _LARGEST)
    finally:
        os.close(handle)
    return MasterKey(_decode(path, content))


def create(path: Path) -> MasterKey:
    """Make a new key at `path`, which must not exist; missing folders are made for the owner alone.

    The file appears whole or not at all, and is on disk when this returns. Raises KeyFileError.
    """
    key = MasterKey(secrets.token_bytes(SIZE))
    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(base64.urlsafe_b64encode(key.reveal()) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(half, path, follow_symlinks=False)  # refuses to replace what is there
        finally:
            half.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError as fault:
        raise KeyFileError(f"{path} exists already; it is never replaced") from fault
    except OSError as fault:
        raise KeyFileError(f"the master key {path} can't be made: {fault.strerror}") from fault
    return key


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"the master key {path} is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(f"the master key {path} belongs to another user: chown it")
    handed_out = status.st_uid == 0 and status.st_gid == 0 and mode == 0o440
    if mode & 0o077 and not handed_out:
        raise KeyFileError(
            f"the master key {path} has mode {mode:04o}, others may use it: chmod 600 {path}"
        )


def _decode(path: Path, content: bytes) -> bytes:
    text = content.strip()
    try:
        if len(text) not in (_ENCODED, _ENCODED - 1):
            raise binascii.Error
        # Strict: by itself the decoder would pass over whatever is no base64url.
        secret = base64.b64decode(text.ljust(_ENCODED, b"="), altchars=b"-_", validate=True)
        if len(secret) != SIZE or base64.urlsafe_b64encode(secret)[: len(text)] != text:
            raise binascii.Error
    except (binascii.Error, ValueError):
        raise KeyFileError(
            f"{path} holds no master key: {SIZE} random bytes as base64url are expected; "
            "bring the right file back"
        ) from None  # the chained error could show what was read
    return secret


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
