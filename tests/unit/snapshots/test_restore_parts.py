"""What a restore goes by: what was chosen, what was agreed to, what things are called."""

from __future__ import annotations

from datetime import UTC, datetime

from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Seen
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.restore import agreed, beside
from norn_reconciler.snapshots.swap import Swapped, rows

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
LIVE = Seen("mail_db", "16400", "mail", 10, 0, True)
COPY = SnapshotRecord("n", AppName("mail"), "mail_db", "c", 1, "abc", "18.1", "18.1", NOW)


def test_a_choice_means_those_very_names() -> None:
    some = Choice(tables=("people", 'od d.Odd "name'), schemas=("s*",))
    assert some.options == [
        '--table="public"."people"',
        '--table="od d"."Odd ""name"',
        '--schema="s*"',
    ]
    assert some.has("public", "people")
    assert some.has("od d", 'Odd "name')
    assert some.has("s*", "whatever")
    assert not some.has("s1", "people")
    assert not some.whole
    assert Choice.of(some.as_json()) == some
    assert Choice.of({}) == Choice()
    assert Choice().whole


def test_what_is_agreed_to_is_that_copy_into_that_database() -> None:
    mail, all_of_it = AppName("mail"), Choice()
    digest = agreed(mail, LIVE, COPY, all_of_it)
    busier = Seen("mail_db", "16400", "mail", 99, 7, True)
    assert agreed(mail, busier, COPY, all_of_it) == digest
    another = Seen("mail_db", "16999", "mail", 10, 0, True)
    changed = SnapshotRecord("n", mail, "mail_db", "c", 1, "xyz", "18.1", "18.1", NOW)
    assert agreed(mail, another, COPY, all_of_it) != digest
    assert agreed(mail, LIVE, changed, all_of_it) != digest
    assert agreed(mail, LIVE, COPY, Choice(tables=("people",))) != digest


def test_what_is_made_beside_has_a_name_of_its_own_however_long() -> None:
    assert beside("mail_db", 7) == "mail_db.restore.7"
    long = beside("ü" * 31, 12345)
    assert len(long.encode()) <= 63
    assert long.endswith(".restore.12345")


def test_both_rows_say_what_is_what_and_adopted_stays_adopted() -> None:
    before = Held("database", "mail_db", HeldState.OWNED, Origin.ADOPTED, "1", {"x": "made"})
    done = Swapped(Seen("mail_db", "2", "mail", 0, 0, True), "aside", NOW)
    found = rows({before.key: before}, done)
    new, old = found["database", "mail_db"], found["database", "aside"]
    assert (new.server_id, new.state, new.settings) == ("2", HeldState.OWNED, {})
    assert (old.server_id, old.state) == ("1", HeldState.RETAINED)
    assert {new.origin, old.origin} == {Origin.ADOPTED}
    assert trash.since(old) == NOW
    assert old.settings[trash.FROM] == "mail_db"
