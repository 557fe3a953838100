"""Which snapshots go. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """keep: how many good ones of a database; 1 or more. days: how old one may become. own: those
    of some databases, in place of `keep`."""

    keep: int
    days: float
    own: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot as retention sees it. good: its file is there, and whole as far as is known."""

    name: str
    database: str
    made_at: datetime
    good: bool


def expired(found: Iterable[Kept], limits: Limits, now: datetime) -> frozenset[str]:
    """The names of those that are too many or too old. The last good one of a database always
    stays, and where none is good all do: then the folder is more likely away than empty. One that
    is not good takes no good one's place."""
    gone: set[str] = set()
    for database, snapshots in _by_database(found).items():
        keep = limits.own.get(database, limits.keep)
        if not any(s.good for s in snapshots):
            continue
        newer = 0  # good ones
        for snapshot in snapshots:
            last_good = snapshot.good and newer == 0
            old = now - snapshot.made_at > timedelta(days=limits.days)
            if not last_good and (old or newer >= keep):
                gone.add(snapshot.name)
            newer += snapshot.good
    return frozenset(gone)


def last_good(found: Iterable[Kept]) -> dict[str, Kept]:
    """By database."""
    return {
        database: good[0]
        for database, snapshots in _by_database(found).items()
        if (good := [s for s in snapshots if s.good])
    }


def _by_database(found: Iterable[Kept]) -> dict[str, list[Kept]]:
    """Newest first."""
    by: dict[str, list[Kept]] = defaultdict(list)
    for snapshot in found:
        by[snapshot.database].append(snapshot)
    for snapshots in by.values():
        snapshots.sort(key=lambda s: (s.made_at, s.name), reverse=True)
    return by
