"""Reads one file without trusting it: never blocks on a FIFO, never takes more than 1 MiB."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file, links followed. Times in nanoseconds.

    inode, device and ctime tell a file from one that was moved into its place with size and mtime
    preserved (rsync, cp -p).
    """

    size: int
    mtime_ns: int
    inode: int
    device: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev, status.st_ctime_ns
        )


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes. digest: SHA-256 hex of them."""

    stamp: Stamp
    raw: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file is not read. check: id of the finding. stamp: None when not even stat worked."""

    stamp: Stamp | None
    check: str
    message: str


def read(path: Path) -> Content | Refused | None:
    """The file's bytes, why they can't be had, or None when there is no such file.

    Links are followed: configuration tools swap them. A link to nothing is refused, not absent.
    Content whose stamp moved while it was read comes back with the later stamp.
    """
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            return Refused(None, "spec.file.unreadable", "a link to a file that is not there")
        return None
    except OSError as error:
        return _unreadable(path, error)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _kind(status.st_mode)
            return Refused(Stamp.of(status), "spec.file.type", f"{kind}, not a regular file")
        raw = _read_up_to(descriptor, MAX_BYTES + 1)
        stamp = Stamp.of(os.fstat(descriptor))
    except OSError as error:
        return _unreadable(path, error)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_BYTES:
        return Refused(stamp, "spec.file.size", "larger than 1 MiB: no spec is")
    return Content(stamp, raw, hashlib.sha256(raw).hexdigest())


def _read_up_to(descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while left > 0 and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _unreadable(path: Path, error: OSError) -> Refused:
    stamp: Stamp | None
    try:
        status = path.stat()
        stamp = Stamp.of(status)
    except OSError:
        stamp = None
    else:
        if not stat.S_ISREG(status.st_mode):  # a socket can't even be opened
            return Refused(stamp, "spec.file.type", f"{_kind(status.st_mode)}, not a regular file")
    reason = error.strerror or type(error).__name__
    return Refused(stamp, "spec.file.unreadable", f"cannot be read: {reason}")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
