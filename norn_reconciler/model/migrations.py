"""Migrations of an app's database: what its spec says of them, and how the last one ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from norn_reconciler.model.app import AppName

TIMEOUT = 900  # seconds, where the spec says nothing


@dataclass(frozen=True, slots=True)
class Migration:
    """As the spec has it. command: for a shell. revision: "" where none is named: then it is due by
    nobody's word but a person's. timeout: seconds."""

    command: str
    database: str
    revision: str = ""
    timeout: int = TIMEOUT


class MigrationState(StrEnum):
    """cut off: norn ended, or lost its lease, while the command ran. Nobody knows how far it
    came."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True)
class Migrated:
    """The last migration of an app. revision: which. done: the last revision that succeeded, None
    before the first. snapshot: the copy that was made before it, "" where it did not come so far.
    error: why it failed."""

    app: AppName
    revision: str
    state: MigrationState
    at: datetime
    done: str | None = None
    snapshot: str = ""
    error: str = ""


def due(migration: Migration, last: Migrated | None) -> bool:
    """Whether it is to be run without anybody's word: once a revision, however that ends."""
    if not migration.revision:
        return False
    return last is None or migration.revision not in (last.revision, last.done)


def remedied(app: AppName, last: Migrated) -> str:
    """Why it failed or was cut off, and what to do."""
    text = f"{last.error}; norn migrate {app} runs it again, nothing else does"
    back = f"norn restore {last.snapshot} puts the database back as it was before"
    return f"{text}; {back}" if last.snapshot else text
