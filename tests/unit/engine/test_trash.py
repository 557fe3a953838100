"""Names of databases in the trash."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model import trash
from norn_reconciler.model.inventory import Held

AT = datetime(2026, 1, 31, 10, 0, tzinfo=timezone(timedelta(hours=2)))


def test_the_name_tells_when_in_utc_and_the_row_what_it_was() -> None:
    assert trash.named("mail_db", AT) == "mail_db.trash.20260131T080000"
    row = Held("database", "x", settings=trash.settings("mail_db", AT))
    assert trash.since(row) == AT
    assert row.settings[trash.FROM] == "mail_db"
    assert trash.since(Held("database", "x")) is None


@given(st.text(min_size=1).filter(lambda t: t.isprintable()))
def test_no_name_is_longer_than_the_server_takes(name: str) -> None:
    made = trash.named(name, AT)
    assert len(made.encode()) <= 63
    assert made.endswith(".trash.20260131T080000")
