"""The rows of cron_states as they should be now. Nothing is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from norn_reconciler import schedules
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.records import Changes


def moved(book: Mirror, rows: Sequence[CronState], now: datetime) -> Changes:
    """What is to be written, so that each app with role cron has its row. Pure.

    next_run_at is set where nobody has, and anew for another schedule. One that has passed is a run
    that whoever runs them still has to do; they set the next. A row of an app that norn doesn't
    know is somebody else's, and so is `paused`."""
    wanted = {
        app: entry.member.schedule
        for app, entry in book.entries.items()
        if entry.member.schedule and entry.provisioned and not entry.leaving
    }
    found = {row.app: row for row in rows}
    states = []
    for app, schedule in sorted(wanted.items()):
        row = found.get(app, CronState(app, ""))
        if row.schedule != schedule:
            row = replace(row, schedule=schedule, next_run_at=None)
        if row.next_run_at is None:
            row = replace(row, next_run_at=_next(schedule, now))
        if row != found.get(app):
            states.append(row)
    gone = [app for app in sorted(found) if app in book.records and app not in wanted]
    return Changes(crons=states, uncron=gone)


def _next(schedule: str, now: datetime) -> datetime | None:
    try:
        return schedules.parse(schedule).after(now)
    except ValueError:
        return None
