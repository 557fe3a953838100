"""The rows of cron_states as they should be now: one for each app with role cron, and one, called
`<app>:snapshot`, for each whose database is copied by the clock. Nothing is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from norn_reconciler import schedules
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.roster import Entry
from norn_reconciler.engine.status import READY, TRUE
from norn_reconciler.model.app import AppName
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.records import Changes
from norn_reconciler.model.snapshots import habit_of

COPIES = ":snapshot"  # after an app's name: no name holds a colon


def moved(book: Mirror, rows: Sequence[CronState], now: datetime) -> Changes:
    """What is to be written, so that each app with role cron has its row. Pure.

    next_run_at is set where nobody has, and anew for another schedule. One that has passed is a run
    that whoever runs them still has to do; they set the next. A row of an app that norn doesn't
    know is somebody else's, and so is `paused`."""
    wanted: dict[str, str] = {}
    for app, entry in book.entries.items():
        if entry.provisioned and not entry.leaving:
            if entry.member.schedule:
                wanted[app] = entry.member.schedule
            if (habit := habit_of(entry.app)) is not None:
                wanted[app + COPIES] = habit.schedule
    found = {row.app: row for row in rows}
    states = []
    for name, schedule in sorted(wanted.items()):
        app = AppName(name)
        row = found.get(app, CronState(app, ""))
        if row.schedule != schedule:
            row = replace(row, schedule=schedule, next_run_at=None)
        if row.next_run_at is None:
            row = replace(row, next_run_at=_next(schedule, now))
        if row != found.get(app):
            states.append(row)
    gone = [row for row in sorted(found) if _whose(row) in book.records and row not in wanted]
    return Changes(crons=states, uncron=gone)


def copies_due(
    book: Mirror, rows: Sequence[CronState], now: datetime
) -> Sequence[tuple[AppName, CronState]]:
    """Apps whose database is to be copied now, each with its row as it is once that is asked for.
    Pure. A time that passed while nobody was there is one copy, not many; one of an app that is
    paused waits for it."""
    found = []
    for row in rows:
        app, entry = _whose(row.app), book.entries.get(_whose(row.app))
        if row.app == app or row.paused or row.next_run_at is None or row.next_run_at > now:
            continue
        if entry is None or entry.leaving or entry.record.paused or habit_of(entry.app) is None:
            continue
        found.append((app, replace(row, next_run_at=_next(row.schedule, now))))
    return found


def runs_due(
    book: Mirror, rows: Sequence[CronState], now: datetime
) -> Sequence[tuple[AppName, CronState]]:
    """Likewise, apps with role cron whose command is to be run now: those that are Ready. Pure."""
    found = []
    for row in rows:
        entry = book.entries.get(row.app)
        if row.paused or row.next_run_at is None or row.next_run_at > now or entry is None:
            continue
        if entry.member.job is not None and not entry.leaving and runnable(entry):
            found.append((row.app, replace(row, next_run_at=_next(row.schedule, now))))
    return found


def runnable(entry: Entry) -> bool:
    """Whether it is as its spec says, and no person keeps it from going on. Pure."""
    record = entry.record
    ready = record.conditions.get(READY)
    current = record.observed_generation == record.generation and not record.paused
    return current and ready is not None and ready.status == TRUE


def _whose(row: str) -> AppName:
    return AppName(row.removesuffix(COPIES))


def _next(schedule: str, now: datetime) -> datetime | None:
    try:
        return schedules.parse(schedule).after(now)
    except ValueError:
        return None
