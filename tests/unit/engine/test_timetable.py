from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler import schedules
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.roster import Entry
from norn_reconciler.engine.timetable import copies_due, moved
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.records import AppRecord, SpecRecord
from norn_reconciler.model.snapshots import Habit
from tests.unit.engine.fakes import MemoryStore, Secrets

A, B, C = AppName("a"), AppName("b"), AppName("c")
NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
HOURLY = "0 * * * *"
NEXT = datetime(2026, 1, 31, 13, tzinfo=UTC)
UNREAD = "every noon"

TEXTS = st.sampled_from(["@hourly", "*/5 * * * *", "15 3 * * *", "0 0 29 2 *", UNREAD])
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
ROWS = st.lists(
    st.builds(CronState, st.sampled_from([A, B, C]), TEXTS, st.booleans(), st.none() | MOMENTS),
    unique_by=lambda row: row.app,
)
WANTED = st.dictionaries(st.sampled_from([A, B]), TEXTS)


def known(wanted: Mapping[AppName, str], *, leaving: bool = False, core: bool = False) -> Mirror:
    """Apps a and b, of which some have a schedule."""
    book = Mirror(MemoryStore(), Secrets(), frozenset())
    for app in (A, B):
        spec = SpecRecord(f"{app}.yaml", "", 0, 0, "{}")
        record = book.records[app] = AppRecord(app, spec, 1)
        member = Member(App(app, {}), spec, core=core, schedule=wanted.get(app, ""))
        book.entries[app] = Entry(member.app, record, member, 0.0, leaving=leaving)
    return book


def test_a_new_app_gets_its_row() -> None:
    found = moved(known({A: HOURLY}), [], NOW)
    assert (found.crons, found.uncron) == ([CronState(A, HOURLY, False, NEXT)], [])


def test_a_run_that_is_due_stays_due_until_somebody_has_done_it() -> None:
    row = CronState(A, HOURLY, False, NOW - timedelta(days=9))
    assert not moved(known({A: HOURLY}), [row], NOW)
    assert moved(known({A: HOURLY}), [replace(row, next_run_at=None)], NOW).crons == [
        CronState(A, HOURLY, False, NEXT)
    ]


def test_a_new_schedule_counts_at_once_and_a_pause_stays() -> None:
    row = CronState(A, "0 0 1 1 *", True, NOW + timedelta(days=300))
    assert moved(known({A: HOURLY}), [row], NOW).crons == [CronState(A, HOURLY, True, NEXT)]


def test_what_norn_can_not_read_is_left_to_whoever_can() -> None:
    row = CronState(A, UNREAD, False, NOW + timedelta(hours=1))
    assert not moved(known({A: UNREAD}), [row], NOW)
    assert moved(known({A: UNREAD}), [], NOW).crons == [CronState(A, UNREAD)]


def test_rows_go_with_the_role_and_those_of_others_stay() -> None:
    rows = [CronState(app, HOURLY, False, NEXT) for app in (A, B, C)]
    assert moved(known({A: HOURLY}), rows, NOW).uncron == [B]
    assert moved(known({A: HOURLY, B: HOURLY}, leaving=True), rows, NOW).uncron == [A, B]
    assert moved(known({A: HOURLY, B: HOURLY}, core=True), rows, NOW).uncron == [A, B]


@given(WANTED, ROWS, MOMENTS)
def test_written_once_nothing_is_left_to_write(
    wanted: dict[AppName, str], rows: list[CronState], now: datetime
) -> None:
    found = moved(known(wanted), rows, now)
    before = {row.app: row for row in rows}
    after = {app: row for app, row in before.items() if app not in found.uncron}
    after |= {row.app: row for row in found.crons}
    assert not moved(known(wanted), list(after.values()), now)
    assert after.keys() - {C} == wanted.keys()
    assert after.get(C) == before.get(C)
    for app, schedule in wanted.items():
        row, was = after[app], before.get(app, CronState(app, ""))
        assert (row.schedule, row.paused) == (schedule, was.paused)
        if was.schedule == schedule and was.next_run_at is not None:
            assert row.next_run_at == was.next_run_at
        elif schedule != UNREAD:
            assert row.next_run_at == schedules.parse(schedule).after(now)


@dataclass(frozen=True)
class Kept:
    """A section whose data are copied by the clock."""

    schedule: str

    def habit(self) -> Habit | None:
        return Habit(self.schedule)


def copied(schedule: str = HOURLY) -> Mirror:
    book = known({})
    entry = book.entries[A]
    app = App(A, {"box": Kept(schedule)})  # type: ignore[dict-item]
    book.entries[A] = replace(entry, app=app)
    return book


def test_a_copy_has_a_row_of_its_own_beside_that_of_the_command() -> None:
    row = CronState(AppName("a:snapshot"), HOURLY, False, NEXT)
    assert moved(copied(), [], NOW).crons == [row]
    assert not moved(copied(), [row], NOW)
    assert moved(known({}), [row], NOW).uncron == ["a:snapshot"]


@pytest.mark.parametrize(
    ("row", "paused", "due"),
    [
        (CronState(AppName("a:snapshot"), HOURLY, False, NOW), False, True),
        (CronState(AppName("a:snapshot"), HOURLY, False, NOW - timedelta(days=9)), False, True),
        (CronState(AppName("a:snapshot"), HOURLY, True, NOW), False, False),
        (CronState(AppName("a:snapshot"), HOURLY, False, NOW), True, False),
        (CronState(AppName("a:snapshot"), HOURLY, False, NEXT), False, False),
        (CronState(AppName("b:snapshot"), HOURLY, False, NOW), False, False),
        (CronState(AppName("nobody:snapshot"), HOURLY, False, NOW), False, False),
        (CronState(A, HOURLY, False, NOW), False, False),
    ],
)
def test_what_is_copied_now_is_next_copied_after_now(
    row: CronState, paused: bool, due: bool
) -> None:
    book = copied()
    entry = book.entries[A]
    book.entries[A] = replace(entry, record=replace(entry.record, paused=paused))
    wanted = [(A, replace(row, next_run_at=NEXT))] if due else []
    assert copies_due(book, [row], NOW) == wanted
