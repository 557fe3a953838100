"""Which migrations the daemon asks for by itself."""

from __future__ import annotations

from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.timetable import runnable
from norn_reconciler.model.app import AppName
from norn_reconciler.model.migrations import due
from norn_reconciler.model.records import Operation

KIND = "migrate"
Due = tuple[AppName, str]  # an app, and the revision that its spec names


def due_now(book: Mirror) -> set[Due]:
    """Of apps that are Ready as their files say, and that a person has neither paused nor put back
    to an earlier version. Pure."""
    found = set()
    for app, entry in book.entries.items():
        migration = entry.member.migration
        if migration is None or not due(migration, book.migrated.get(app)):
            continue
        held_back = entry.leaving or entry.member.pinned or app in book.busy
        if not held_back and runnable(entry):
            found.add((app, migration.revision))
    return found


def operation(app: AppName) -> Operation:
    return Operation(0, KIND, app, requested_by="norn")
