"""Which migrations are due, what is said of one that is pending, and what a command is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from norn_reconciler.engine.status import MIGRATION, asides
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.migrations import Migrated, Migration, MigrationState, due
from norn_reconciler.model.records import SpecRecord
from norn_reconciler.spec import plain
from norn_reconciler.spec.document import Spec

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A = AppName("a")
DONE, FAILED, RUNNING, CUT_OFF = (
    MigrationState.DONE, MigrationState.FAILED, MigrationState.RUNNING, MigrationState.CUT_OFF
)  # fmt: skip


def last(revision: str, state: MigrationState, done: str | None = None) -> Migrated:
    done = revision if state is DONE else done
    return Migrated(A, revision, state, NOW, done, "c.dump", "" if state is DONE else "why")


@pytest.mark.parametrize(
    ("revision", "before", "is_due", "off", "on"),
    [
        ("", None, False, "NotRun", "NotRun"),
        ("", last("", DONE), False, None, None),
        ("", last("by hand", DONE), False, None, None),
        ("", last("", FAILED), False, "Failed", "Failed"),
        ("2", None, True, "NotRun", "Due"),
        ("2", last("1", DONE), True, "NotRun", "Due"),
        ("2", last("1", FAILED), True, "NotRun", "Due"),
        ("2", last("2", RUNNING, "1"), False, "Running", "Running"),
        ("2", last("2", FAILED, "1"), False, "Failed", "Failed"),
        ("2", last("2", CUT_OFF, "1"), False, "CutOff", "CutOff"),
        ("2", last("2", DONE), False, None, None),
        ("2", last("by hand", FAILED, "2"), False, "Failed", "Failed"),
    ],
)
def test_once_a_revision(
    revision: str, before: Migrated | None, is_due: bool, off: str | None, on: str | None
) -> None:
    migration = Migration("make", "d", revision)
    assert due(migration, before) is is_due
    member = Member(App(A, {}), SpecRecord("a.yaml", "", 0, 0, "{}"), migration=migration)
    for allowed, reason in ((False, off), (True, on)):
        found = asides(member, NOW, before, allowed=allowed)[MIGRATION]
        assert (found.reason if found else None) == reason
        if found and reason in {"Failed", "CutOff"}:
            assert "why; norn migrate a runs it again" in found.message
            assert "norn restore c.dump" in found.message


def test_the_values_of_env_come_from_the_file_while_it_says_what_is_in_force(
    tmp_path: Path,
) -> None:
    text = "app: a\nenv: {A: 010, B: 'x y', C: null}\n"
    (tmp_path / "a.yaml").write_text(text)
    spec = Spec.model_validate({"app": "a", "env": {"A": "010", "B": "x y", "C": None}})
    assert plain.env(tmp_path, "a.yaml", spec.canonical()) == {"A": "010", "B": "x y", "C": ""}
    assert plain.env(tmp_path, "gone.yaml", Spec(app="a").canonical()) == {}
    for other in (text.replace("x y", "z"), "app: [", ""):
        (tmp_path / "a.yaml").write_text(other)
        with pytest.raises(NornError, match=r"a\.yaml says something else"):
            plain.env(tmp_path, "a.yaml", spec.canonical())
