"""Joining what the services hold, and saying what adopting it would do."""

from __future__ import annotations

from norn_reconciler.engine.survey import adopting, holdings, joined
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held
from tests.unit.engine.fakes import Box, Boxes, Secrets

MAIL = AppName("mail")


def test_users_of_one_name_are_one_app() -> None:
    found = {
        "kv": [Found("mail", {"namespace": "mail"}, ("a",)), Found("norn", {"x": 1})],
        "events": [Found("mail", None, ("b",)), Found("other", {"topics": []}), Found("", None)],
    }
    mail, other = joined(found, {"norn"})
    assert (mail.name, other.name) == ("mail", "other")
    assert mail.sections == {"kv": {"namespace": "mail"}}
    assert mail.notes == {"kv": ("a",), "events": ("b",)}


async def test_each_service_is_asked_once_and_told_what_norn_has_there() -> None:
    boxes, other = Boxes(server={"mail": "whole", "x": "whole"}), Boxes(key="crate")
    other.down = Unavailable("crate", "away")
    rows = {("box", "mail"): Held("box", "mail")}
    held = await holdings({"box": boxes, "crate": other}, {("box", MAIL): rows}, frozenset())
    assert [app.name for app in held.apps] == ["x"]
    assert held.faults == {"crate": other.down}


async def test_objects_that_lead_to_nobody_keep_their_words() -> None:
    class Loose(Boxes):
        async def survey(self, held):
            return [Found("", notes=("a box without a lid",)), Found("x", {"names": ["x"]})]

    held = await holdings({"box": Loose()}, {}, frozenset())
    assert held.loose == (("box", "a box without a lid"),) and len(held.apps) == 1


async def test_what_adopting_would_do_is_the_adoptions_own_plan() -> None:
    boxes = Boxes(server={"old": "bent"})
    apps = [App(MAIL, {"box": Box(("old", "new"))})]
    lines = await adopting(apps, {"box": boxes}, Secrets())
    assert lines == {MAIL: {"box": ("adopt box old", "MAKE new", "REPAIR old")}}
    assert boxes.writes == []


async def test_a_service_that_went_away_says_so() -> None:
    boxes = Boxes(down=Unavailable("box", "away", remedy="start it"))
    lines = await adopting([App(MAIL, {"box": Box(("old",))})], {"box": boxes}, Secrets())
    assert lines == {MAIL: {"box": ("cannot be told: away (start it)",)}}
