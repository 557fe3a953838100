"""Files of `norn import`: new ones only, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from norn_reconciler.importing import Import, save
from norn_reconciler.model.errors import NornError, Unavailable
from norn_reconciler.spec.draft import Draft, text

MAIL = Draft("mail", {"kv": {"namespace": "mail"}})
ODD = Draft("../Odd", {"kv": {"namespace": "odd"}}).refuse("", "no such name")


def test_each_draft_that_may_stand_is_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "specs"
    mail, odd = save(Import((MAIL, ODD)), (MAIL, ODD), folder)
    assert mail.path == folder / "mail.yaml" and (odd.path, odd.why) == (None, "no such name")
    assert [p.name for p in folder.iterdir()] == ["mail.yaml"]
    assert (folder / "mail.yaml").read_text() == text(MAIL)


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_nothing_is_ever_replaced(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "mail.yaml"
    if kind == "file":
        there.write_text("mine")
    elif kind == "link":
        there.symlink_to(tmp_path / "nowhere")
    else:
        there.mkdir()
    (saved,) = save(Import((MAIL,)), (MAIL,), tmp_path)
    assert saved.path is None and "stays as it is" in saved.why
    assert [p.name for p in tmp_path.iterdir()] == ["mail.yaml"]
    assert kind != "file" or there.read_text() == "mine"


def test_without_an_answer_of_each_service_nothing_is_written(tmp_path: Path) -> None:
    found = Import((MAIL,), faults={"events": Unavailable("events", "away")})
    with pytest.raises(NornError, match="events did not answer"):
        list(save(found, (MAIL,), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NornError, match="file"):
        list(save(Import((MAIL,)), (MAIL,), tmp_path / "file"))


def test_a_name_that_is_not_there_is_an_error() -> None:
    assert Import((MAIL, ODD)).chosen(["mail", "mail"]) == (MAIL,)
    assert Import((MAIL, ODD)).chosen([]) == (MAIL, ODD)
    with pytest.raises(NornError, match="other"):
        Import((MAIL,)).chosen(["mail", "other"])
