"""Snapshots as people see them: what norn_db says, and what the folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.dump import listed
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.names import SnapshotName, parsed

OK = "ok"
MISSING = "missing"  # recorded, and its file is not there
CHANGED = "changed"  # its file has another size or content than was recorded
UNRECORDED = "unrecorded"  # norn_db knows nothing of this file
UNKNOWN = "unknown"  # the folder can't be read from here


@dataclass(frozen=True, slots=True)
class Shown:
    """record: None where norn_db has none. size: the file's, None where it is not to be seen."""

    name: SnapshotName
    record: SnapshotRecord | None
    size: int | None
    state: str

    @property
    def made_at(self) -> datetime:
        return self.name.made_at


def shown(records: Iterable[SnapshotRecord], folder: Folder, *, strays: bool) -> Sequence[Shown]:
    """Newest first. strays: also the files that no record names."""
    known = {record.name: record for record in records}
    try:
        names = folder.names() if strays else []
    except OSError:
        names = []
    all_names = [name for text in {*known, *names} if (name := parsed(text)) is not None]
    found = [_one(name, known.get(str(name)), folder) for name in all_names]
    return sorted(found, key=lambda s: (s.made_at, str(s.name)), reverse=True)


def _one(name: SnapshotName, record: SnapshotRecord | None, folder: Folder) -> Shown:
    try:
        size = folder.size(str(name))
    except OSError:
        return Shown(name, record, None, UNKNOWN)
    if record is None:
        return Shown(name, record, size, UNRECORDED)
    state = MISSING if size is None else OK if size == record.size else CHANGED
    return Shown(name, record, size, state)


async def verify(found: Shown, folder: Folder) -> str:
    """Read the file whole. Returns what was seen; raises NornError when it is not what it was."""
    path = folder.file(str(found.name))
    if found.state in {MISSING, UNKNOWN}:
        raise NornError(f"{path} {'is not there' if found.state == MISSING else 'cannot be seen'}")
    try:
        seen = await digest(path)
    except OSError as fault:
        raise NornError(f"{path} can't be read: {fault.strerror}") from fault
    if found.record is not None and seen != found.record.sha256:
        raise NornError(f"{path} is not what it was: sha256 {seen}, recorded {found.record.sha256}")
    await listed(clients.newest(), path)
    if found.record is None:
        return f"{found.name} can be read; norn_db has no record to compare it with, sha256 {seen}"
    return f"{found.name} is what it was, sha256 {seen}"
