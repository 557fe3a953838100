"""What the answers to an app's attempts mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from norn_reconciler.model.outcome import NEIGHBOUR_OPEN, NO_RIGHTS, SERVER_OPEN
from norn_reconciler.providers.events.diagnose import acls_shown
from norn_reconciler.providers.events.prove import Ground, Tried

GROUND = Ground("mail", ("in",), "mail.norn-proof", "web.in", "web", sees_rights=True)
BOTH = frozenset({"READ", "WRITE", "DESCRIBE"})
SHUT = Tried(
    codes={"in": 0, "mail.norn-proof": 3, "web.in": 29},
    rights={"in": BOTH},
    groups={"mail": 0, "web": 30},
    acls=31,
)


def test_a_broker_that_refuses_what_it_should() -> None:
    assert SHUT.fault(GROUND) == ("", "")
    # Not the group's coordinator, or an older broker that does not say what is allowed.
    assert replace(SHUT, groups={"mail": 16, "web": 30}).fault(GROUND) == ("", "")
    assert replace(SHUT, rights={"in": None}).fault(GROUND) == ("", "")


@pytest.mark.parametrize("code", [0, 54])
def test_who_may_list_acls_may_do_anything(code: int) -> None:
    kind, reason = replace(SHUT, acls=code).fault(GROUND)
    assert kind == SERVER_OPEN
    assert "allow.everyone.if.no.acl.found" in reason


@pytest.mark.parametrize(
    ("changed", "kind", "named"),
    [
        ({"codes": {**SHUT.codes, "web.in": 3}}, NEIGHBOUR_OPEN, "web.in"),
        ({"codes": {**SHUT.codes, "web.in": 0}}, NEIGHBOUR_OPEN, "web.in"),
        ({"groups": {"mail": 0, "web": 0}}, NEIGHBOUR_OPEN, "group web"),
        ({"groups": {"mail": 0, "web": 16}}, NEIGHBOUR_OPEN, "group web"),
        ({"groups": {"mail": 30, "web": 30}}, NO_RIGHTS, "group mail"),
        ({"codes": {**SHUT.codes, "in": 29}}, NO_RIGHTS, "topic in"),
        ({"codes": {**SHUT.codes, "mail.norn-proof": 29}}, NO_RIGHTS, "mail.norn-proof"),
        ({"rights": {"in": frozenset({"READ", "DESCRIBE"})}}, NO_RIGHTS, "not WRITE"),
    ],
)
def test_each_gap_is_found(changed: Mapping[str, object], kind: str, named: str) -> None:
    found, reason = replace(SHUT, **changed).fault(GROUND)  # type: ignore[arg-type]
    assert found == kind
    assert named in reason


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"acls": -1}, "ACLs: Kafka error -1"),
        ({"codes": {**SHUT.codes, "web.in": 7}}, "topic web.in: Kafka error 7"),
        ({"codes": {"in": 0, "mail.norn-proof": 3}}, "topic web.in: no answer"),
        ({"codes": {**SHUT.codes, "in": 72}}, "topic in: Kafka error 72"),
        ({"groups": {"mail": 0, "web": 35}}, "group web: Kafka error 35"),
        ({"groups": {"mail": 999, "web": 30}}, "group mail: Kafka error 999"),
    ],
)
def test_an_answer_that_says_neither_is_told_with_its_code(
    changed: Mapping[str, object], named: str
) -> None:
    found = replace(SHUT, **changed)  # type: ignore[arg-type]
    assert found.fault(GROUND) == ("", "")
    assert named in found.riddle(GROUND)
    assert SHUT.riddle(GROUND) == ""


def test_an_open_door_is_told_whatever_else_cannot_be() -> None:
    found = replace(SHUT, acls=-1, groups={"mail": 0, "web": 0})
    assert found.fault(GROUND)[0] == NEIGHBOUR_OPEN


@pytest.mark.parametrize(
    ("code", "reasons"),
    [(31, []), (0, ["AuthorisationOff"]), (54, ["AuthorisationOff"]), (-1, ["NotChecked"])],
)
def test_what_the_doctor_makes_of_it(code: int, reasons: list[str]) -> None:
    found = acls_shown(code)
    assert [p.reason for p in found] == reasons
    assert all(str(code) in p.message for p in found if p.reason == "NotChecked")
