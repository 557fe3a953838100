"""What snapshots are called, which go, and which client makes them. No I/O but for a folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.errors import NornError
from norn_reconciler.snapshots.clients import Client, chosen
from norn_reconciler.snapshots.folder import Folder
from norn_reconciler.snapshots.names import SnapshotName, named, parsed
from norn_reconciler.snapshots.retention import Kept, Limits, expired, last_good
from norn_reconciler.snapshots.work import size_words

NOW = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC)

databases = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", fullmatch=True)
commits = st.from_regex(r"[0-9a-f]{4,40}", fullmatch=True)
times = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(
    lambda at: at.replace(tzinfo=UTC, microsecond=0)
)


@given(databases, commits, times)
def test_a_name_is_read_back_as_it_was_written(database: str, commit: str, at: datetime) -> None:
    assert parsed(str(named(database, commit, at))) == SnapshotName(database, commit, at)


def test_names_are_read_from_the_right() -> None:
    found = parsed("a_b_c_db_1f0c2ab_20260131T080000.dump")
    assert found == SnapshotName("a_b_c_db", "1f0c2ab", NOW)
    text = "a_1f0c2ab_20260131T080000_1f0c2ab_20260131T080000.dump"
    assert parsed(text) == SnapshotName("a_1f0c2ab_20260131T080000", "1f0c2ab", NOW)
    east = NOW.astimezone().replace(microsecond=7)
    assert str(named("db", "1f0c", east)) == "db_1f0c_20260131T080000.dump"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db.dump",
        "db_1f0c2ab_20260131T080000",
        "db_1f0c2ab_20260131T080000.dump.part",
        ".db_1f0c2ab_20260131T080000.dump.part",
        ".db_1f0c2ab_20260131T080000.dump",
        "../db_1f0c2ab_20260131T080000.dump",
        "/db_1f0c2ab_20260131T080000.dump",
        "db_1f0c2ab_20261331T080000.dump",
        "db_1f0c2ab_20260131T080000.dump\n",
        "-db_1f0c2ab_20260131T080000.dump",
        "_1f0c2ab_20260131T080000.dump",
    ],
)
def test_what_is_no_snapshots_name(text: str) -> None:
    assert parsed(text) is None


@st.composite
def kept(draw: st.DrawFn) -> list[Kept]:
    number = draw(st.integers(0, 12))
    return [
        Kept(
            f"n{index}",
            draw(st.sampled_from("ab")),
            NOW - timedelta(hours=draw(st.integers(0, 24 * 60))),
            draw(st.booleans()),
        )
        for index in range(number)
    ]


limits = st.builds(
    Limits,
    st.integers(1, 5),
    st.integers(1, 40).map(float),
    st.dictionaries(st.sampled_from("ab"), st.integers(1, 5)),
)


@given(kept(), limits)
def test_the_last_good_one_of_each_database_stays(found: list[Kept], limit: Limits) -> None:
    gone = expired(found, limit, NOW)
    assert not gone & {k.name for k in last_good(found).values()}
    for database in "ab":
        own = [k for k in found if k.database == database]
        if not any(k.good for k in own):
            assert not gone & {k.name for k in own}, "nothing good is left to fall back to"


@given(kept(), limits, st.randoms())
def test_what_goes_depends_on_no_order_and_nothing_goes_in_a_second_run(
    found: list[Kept], limit: Limits, random: object
) -> None:
    gone = expired(found, limit, NOW)
    mixed = list(found)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert expired(mixed, limit, NOW) == gone
    assert not expired([k for k in found if k.name not in gone], limit, NOW)


@given(kept(), limits)
def test_what_stays_is_within_both_limits(found: list[Kept], limit: Limits) -> None:
    gone, last = expired(found, limit, NOW), last_good(found)
    for database in last:
        stay = [k for k in found if k.database == database and k.name not in gone]
        assert sum(k.good for k in stay) <= limit.own.get(database, limit.keep)
        for one in stay:
            assert one == last[database] or NOW - one.made_at <= timedelta(days=limit.days)
    # And nothing goes without a reason.
    for one in found:
        newer = [
            k
            for k in found
            if k.good
            and k.database == one.database
            and (k.made_at, k.name) > (one.made_at, one.name)
        ]
        if one.name in gone:
            assert len(newer) >= limit.own.get(
                one.database, limit.keep
            ) or NOW - one.made_at > timedelta(days=limit.days)


@given(kept(), limits)
def test_one_database_is_not_judged_by_another(found: list[Kept], limit: Limits) -> None:
    alone = {d: expired([k for k in found if k.database == d], limit, NOW) for d in "ab"}
    assert expired(found, limit, NOW) == alone["a"] | alone["b"]


def client(major: int, minor: int = 0) -> Client:
    return Client((major, minor), Path(f"/pg/{major}.{minor}"))


def test_the_client_is_the_servers_own_or_the_next_newer_one() -> None:
    there = [client(18, 4), client(15, 2), client(15, 9), client(16)]
    assert chosen(there, 15) == client(15, 9)
    assert chosen(there, 16) == client(16)
    assert chosen(there, 17) == client(18, 4)
    with pytest.raises(NornError, match=r"postgresql-client-19.*apt\.postgresql\.org"):
        chosen(there, 19)
    with pytest.raises(NornError, match="none is installed"):
        chosen([], 15)


def test_sizes_are_said_as_people_do() -> None:
    assert [size_words(n) for n in (0, 999, 12_300, 4_000_000, 5_600_000_000, 7 * 10**12)] == [
        "0 bytes", "999 bytes", "12.3 kB", "4.0 MB", "5.6 GB", "7.0 TB",
    ]  # fmt: skip


NAME = "db_1f0c2ab_20260131T080000.dump"


def test_a_part_is_shown_by_no_listing_and_gone_unless_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "snapshots")
    folder.prepare()
    with folder.part(NAME) as part:
        os.write(part.descriptor, b"half")
        assert folder.names() == []
        assert part.path.stat().st_mode & 0o777 == 0o600
        assert folder.sweep() == [], "somebody is writing it"
    assert list(folder.path.iterdir()) == []
    with folder.part(NAME) as part:
        os.write(part.descriptor, b"whole")
        part.sync()
        folder.keep(part, NAME)
    assert folder.names() == [NAME]
    assert folder.size(NAME) == 5
    with folder.part(NAME) as part, pytest.raises(NornError, match="there already"):
        folder.keep(part, NAME)
    assert folder.file(NAME).read_bytes() == b"whole"


def test_what_a_process_left_that_is_gone_is_swept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    tmp_path.chmod(0o700)
    (tmp_path / f".{NAME}.part").write_text("half")
    (tmp_path / NAME).write_text("whole")
    (tmp_path / "notes.txt").write_text("somebody else's")
    assert folder.sweep() == [f".{NAME}.part"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [NAME, "notes.txt"]


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(NornError, match="chmod 700"):
        Folder(tmp_path / "open").prepare()
    (tmp_path / "file").write_text("")
    with pytest.raises(NornError, match="can't be used"):
        Folder(tmp_path / "file").prepare()
