"""What a snapshot's file is called: `<database>_<commit>_<YYYYMMDDTHHMMSS>.dump`, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

SUFFIX = ".dump"
_TIME = "%Y%m%dT%H%M%S"
# From the right: a database's name may hold underscores, what follows it may not.
_NAME = re.compile(
    r"(?P<database>[A-Za-z0-9_][A-Za-z0-9_-]*)_(?P<commit>[0-9A-Za-z]+)_(?P<at>[0-9]{8}T[0-9]{6})"
    + re.escape(SUFFIX)
)


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """made_at: UTC, whole seconds."""

    database: str
    commit: str
    made_at: datetime

    def __str__(self) -> str:
        return f"{self.database}_{self.commit}_{self.made_at:{_TIME}}{SUFFIX}"


def named(database: str, commit: str, now: datetime) -> SnapshotName:
    return SnapshotName(database, commit, now.astimezone(UTC).replace(microsecond=0))


def parsed(text: str) -> SnapshotName | None:
    """None for whatever is no snapshot's name: a path least of all."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    try:
        made_at = datetime.strptime(found["at"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return SnapshotName(found["database"], found["commit"], made_at)
