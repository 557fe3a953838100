"""Waiting times double up to a bound, and half of each is left to chance."""

from __future__ import annotations

from norn_reconciler.engine.backoff import CAP, FIRST, Backoff, delay


def test_the_longest_waits_double_up_to_the_cap() -> None:
    waits = [delay(attempt, 1.0) for attempt in range(12)]
    assert waits[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert waits == sorted(waits) and waits[-1] == CAP
    assert delay(100_000, 1.0) == CAP


def test_chance_takes_at_most_half_of_it() -> None:
    for attempt in range(12):
        longest = delay(attempt, 1.0)
        assert delay(attempt, 0.0) == longest / 2
        assert delay(attempt, 0.5) == longest * 0.75


def test_each_key_counts_by_itself_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.failed("app") for _ in range(3)] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert backoff.failed("other") == FIRST
    assert backoff.failing("app") and backoff.succeeded("app")
    assert not backoff.failing("app") and not backoff.succeeded("app")
    assert backoff.failed("app") == FIRST
