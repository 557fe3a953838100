from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.spec import duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5m", 30),
        ("+2s", 2),
        ("1000ms", 1),
    ],
)
def test_go_forms(text: str, seconds: int) -> None:
    assert duration.parse(text) == seconds * SECOND


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "m", "-5m", "0s", "1d", "5m\n", "٣m", "9" * 18 + "h", "0.1ns", "..s"]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer|long"):
        duration.parse(text)


@given(st.integers(1, 2**63 - 1))
def test_one_spelling(nanoseconds: int) -> None:
    assert duration.parse(duration.text(nanoseconds)) == nanoseconds


def test_equal_durations_are_spelled_the_same() -> None:
    assert duration.text(duration.parse("300s")) == duration.text(duration.parse("5m0s")) == "5m"
