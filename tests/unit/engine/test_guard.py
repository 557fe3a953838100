"""How many apps may vanish at once: the settings' defaults, to the app."""

from __future__ import annotations

import pytest

from norn_reconciler.engine.guard import RECENT, Gated, Limits, Removals, gate
from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Folder
from norn_reconciler.model.plan import Plan
from norn_reconciler.providers.events.acl import AclRule
from norn_reconciler.providers.events.actions import GrantAcl, RevokeAcl, TakeOverAcl
from norn_reconciler.settings import Settings


def defaults() -> Limits:
    settings = Settings.model_fields
    return Limits(settings["removal_max_apps"].default, settings["removal_max_percent"].default)


def names(count: int) -> list[AppName]:
    return [AppName(f"a{number:03}") for number in range(count)]


@pytest.mark.parametrize(
    ("gone", "of", "held"),
    [
        (3, 4, False),  # no more than 3
        (3, 3, False),
        (4, 20, False),  # no more than 20 %
        (4, 19, True),  # more than both
        (4, 4, True),
        (60, 300, False),
        (61, 300, True),
    ],
)
def test_more_than_three_and_more_than_a_fifth_are_held(gone: int, of: int, held: bool) -> None:
    hold = Removals(defaults(), {}, 0.0).judge(names(gone), {}, of, Folder.OK, 0.0)
    assert (hold is not None) is held
    if hold is not None:
        assert hold.apps == tuple(names(gone)) and hold.digest in hold.words


@pytest.mark.parametrize("folder", [f for f in Folder if f is not Folder.OK])
def test_a_single_app_is_held_where_the_folder_tells_nothing(folder: Folder) -> None:
    assert Removals(defaults(), {}, 0.0).judge(names(1), {}, 100, folder, 0.0) is not None


def test_steps_count_together_until_they_are_old() -> None:
    soon, late = Removals(defaults(), {}, 0.0), Removals(defaults(), {}, 0.0)
    *three, fourth = names(4)
    for removals in (soon, late):
        assert removals.judge(three, {}, 10, Folder.OK, 0.0) is None
    # By then the three are gone, and one more vanishes.
    assert soon.judge([fourth], {}, 7, Folder.OK, RECENT - 1) is not None
    assert late.judge([fourth], {}, 7, Folder.OK, RECENT + 1) is None


RULE = AclRule("User:a", "TOPIC", "t", "LITERAL", "*", "ALLOW", ("READ",))


def test_what_waits_for_another_app_waits_whatever_the_date() -> None:
    grant, take, revoke = (kind("acl", "t", RULE) for kind in (GrantAcl, TakeOverAcl, RevokeAcl))
    plan = Plan((revoke, grant, take))
    assert gate(plan, True) == Gated(Plan((revoke, grant)), 0, ("t",))
    assert gate(plan, False) == Gated(Plan((grant,)), 1, ("t",))
    assert gate(Plan((grant,)), False) == Gated(Plan((grant,)))
