from __future__ import annotations

from datetime import UTC, datetime

import pytest

from norn_reconciler.cli.history import since
from norn_reconciler.model.errors import NornError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("90m", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 2, 22, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
    ],
)
def test_how_long_ago_or_when(text: str, when: datetime) -> None:
    assert since(text, NOW) == when


@pytest.mark.parametrize("text", ["", "7", "7 days", "yesterday", "9" * 30 + "d", "999999w", "٣d"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NornError, match="no time is known as"):
        since(text, NOW)
