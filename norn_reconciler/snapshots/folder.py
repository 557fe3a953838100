"""The snapshots folder: a file is there whole, under its name, or not at all. Blocking: call it in
a thread, but for what only looks one name up."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from norn_reconciler.model.errors import NornError
from norn_reconciler.snapshots.names import parsed

PART = ".part"
_PIECE = 16 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written, under a name that no listing shows. descriptor: open for
    writing. It is locked for as long as anybody has it open, the client's process included."""

    path: Path
    descriptor: int

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def sync(self) -> None:
        """On the disk, whatever happens next."""
        os.fsync(self.descriptor)


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._turn = threading.Lock()  # a new file is locked before a sweep can see it

    def prepare(self) -> None:
        """Make it where it is missing. Raises NornError for one in which others may put a file in
        a file's place."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self.path.stat().st_mode
        except OSError as fault:
            raise NornError(f"the folder {self.path} can't be used: {fault.strerror}") from fault
        if mode & 0o022:
            raise NornError(
                f"others may write into {self.path} ({stat.filemode(mode)}): chmod 700 {self.path}"
            )

    def sweep(self) -> list[str]:
        """Take away what a process that is gone left half written. Returns the files' names."""
        with self._turn:
            return [path.name for path in sorted(self.path.glob(f".*{PART}")) if _swept(path)]

    @contextmanager
    def part(self, name: str) -> Iterator[Part]:
        """A new file to write to. It is gone at the end, unless it was kept."""
        path = self.path / f".{name}{PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self._turn:
            try:
                descriptor = os.open(path, flags, 0o600)
            except OSError as fault:
                raise NornError(f"{path} can't be written: {fault.strerror}") from fault
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield Part(path, descriptor)
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def keep(self, part: Part, name: str) -> None:
        """It gets its name: the moment from which on it counts. Raises NornError for one that is
        taken."""
        if self.size(name) is not None:
            raise NornError(f"{self.path / name} is there already")
        part.path.rename(self.path / name)
        self.sync()

    def sync(self) -> None:
        """The names in it are on the disk."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def file(self, name: str) -> Path:
        """Raises NornError for what is no snapshot's name."""
        if parsed(name) is None:
            raise NornError(
                f"{name} is no snapshot's name: <database>_<commit>_<YYYYMMDDTHHMMSS>.dump"
            )
        return self.path / name

    def size(self, name: str) -> int | None:
        """Bytes; None where the file is not there. Raises OSError where nobody can tell."""
        try:
            found = self.file(name).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def names(self) -> list[str]:
        """Every whole snapshot, recorded or not. Raises OSError where nobody can tell."""
        try:
            found = [entry.name for entry in os.scandir(self.path) if entry.is_file()]
        except FileNotFoundError:
            return []
        return sorted(name for name in found if parsed(name) is not None)

    def remove(self, name: str) -> None:
        self.file(name).unlink(missing_ok=True)


def _swept(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False  # somebody is writing it
    finally:
        os.close(descriptor)
    return True


async def digest(path: Path) -> str:
    """SHA-256, hex. Piece by piece: a thread can't be cancelled, and a file may take minutes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            await asyncio.to_thread(found.update, piece)
    return found.hexdigest()
