from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler import schedules

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        numbers.map(str),
        st.lists(numbers, min_size=1, max_size=3).map(lambda ns: ",".join(map(str, ns))),
        st.tuples(numbers, numbers).map(lambda ab: f"{min(ab)}-{max(ab)}"),
        st.integers(1, high).map(lambda n: f"*/{n}"),
    )


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)).map(
    " ".join
)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("15 3 * * *", datetime(2026, 2, 1, 3, 15, tzinfo=UTC)),
        ("  0   12 * * *", datetime(2026, 2, 1, 12, tzinfo=UTC)),
        ("*/10 * * * *", datetime(2026, 1, 31, 12, 10, tzinfo=UTC)),
        ("0 0 * * mon", datetime(2026, 2, 2, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("@hourly", datetime(2026, 1, 31, 13, tzinfo=UTC)),
        ("@Daily", datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_due(text: str, due: datetime) -> None:
    assert schedules.parse(text).after(NOON) == due


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 fields instead of 5"),
        ("0 * * *", "4 fields"),
        ("0 0 0 * * *", "6 fields"),
        ("60 * * * *", "the minute can't be read"),
        ("0 25 * * *", "the hour"),
        ("0 0 30 2 *", "the day-of-month"),
        ("0 0 * jann *", "the month"),
        ("*/0 * * * *", "the minute"),
        ("0 0 L/2, * *", "the day-of-month"),
        ("@reboot", "not one of @annually, @daily"),
        ("1," * 100 + "1 * * * *", "longer than 200"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedules.parse(text)


@given(st.text(alphabet="0123456789*/,-#LWl@² \nMON", max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        schedules.parse(text).after(NOON)
    except ValueError as fault:
        assert str(fault)


@given(EXPRESSIONS, MOMENTS, st.integers(1, 10_000))
def test_the_next_time_is_later_and_none_lies_between(
    text: str, moment: datetime, seconds: int
) -> None:
    schedule = schedules.parse(text)
    due = schedule.after(moment)
    assert due > moment
    assert (due.second, due.microsecond, due.utcoffset()) == (0, 0, timedelta(0))
    earlier = max(moment, due - timedelta(seconds=seconds))
    assert schedule.after(earlier) == due


@given(EXPRESSIONS, MOMENTS, st.integers(-12, 12))
def test_it_is_the_same_moment_wherever_it_is_asked(text: str, moment: datetime, hour: int) -> None:
    schedule = schedules.parse(text)
    there = moment.astimezone(timezone(timedelta(hours=hour)))
    assert schedule.after(there) == schedule.after(moment)
