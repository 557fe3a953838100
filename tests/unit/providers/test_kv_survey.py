"""Which ACL users become which specs."""

from __future__ import annotations

import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held
from norn_reconciler.providers.kv.rules import app_rules, parse
from norn_reconciler.providers.kv.section import KvSection
from norn_reconciler.providers.kv.survey import judge

HASH = "#" + "ab" * 32


def one(rules: str, name: str = "mail") -> Found:
    user = parse(f"user {name} on {HASH} {rules}")
    assert user is not None
    (found,) = judge([user], {}, frozenset({"norn"}))
    assert found.user == name and HASH[1:] not in repr(found)
    return found


def test_one_prefix_is_the_namespace_and_norns_own_rules_need_no_word() -> None:
    found = one("resetchannels ~mail:* &mail:* -@all +get")
    assert (found.section, found.notes) == ({"namespace": "mail"}, ())


@pytest.mark.parametrize(
    ("rules", "section"),
    [
        ("~a:b:* -@all +get", {"namespace": "a:b"}),
        ("~mail:* ~mail:x:* -@all", {"namespace": "mail"}),
        ("~mail:* %R~mail:x:* -@all", {"namespace": "mail"}),
        ("&mail:* -@all +subscribe", {"namespace": "mail"}),
        ("~mail:* -@all +get +info", {"namespace": "mail", "info": True}),
        ("~mail:* +@all", {"namespace": "mail"}),
        ("~mail:* +info +@all", {"namespace": "mail"}),
        ("~mail:* +info -@all", {"namespace": "mail"}),
        ("~mail:* ~other:* -@all", {"namespace": "mail"}),
        (
            "~mail:* &mail:* &mail:jobs.* &__keyspace@0__:mail:x* -@all",
            {"namespace": "mail", "channels": ["__keyspace@0__:x*", "jobs.*"]},
        ),
        ("~* +@all", None),
        ("~mail* +@all", None),
        ("~x?:* +@all", None),
        ("~:* +@all", None),
        ("%R~x:* -@all", None),
        ("~x:* ~y:* -@all", None),
        ("-@all", None),
    ],
)
def test_sections(rules: str, section: dict[str, object] | None) -> None:
    found = one(rules)
    assert found.section == section
    if section is None:
        assert found.notes
    else:
        KvSection.model_validate(section)


def test_what_a_section_cannot_say_is_said() -> None:
    def notes(rules: str, name: str = "mail") -> str:
        return " | ".join(one(rules, name).notes)

    assert "~other:*" in notes("~mail:* ~other:* -@all")
    assert "2 prefixes (x, y)" in notes("~x:* ~y:* -@all")
    assert "&* (every channel): only mail:*" in notes("~mail:* &* -@all")
    assert "&__keyevent@0__:*" in notes("~mail:* &__keyevent@0__:* -@all")
    assert "&mail:__keyspace" in notes("~mail:* &mail:__keyspace* -@all")
    assert "~* (every key)" in notes("~* +@all") and "+@all" in notes("~mail:* +@all")
    assert "no key and no channel" in notes("-@all")


def test_a_user_without_a_password_is_told() -> None:
    for rules in ("user a on nopass ~a:* -@all", "user a off ~a:* -@all"):
        user = parse(rules)
        assert user is not None
        (found,) = judge([user], {}, frozenset())
        assert any("gives it norn's at once" in note for note in found.notes)
        assert any("switched off" in note for note in found.notes) is ("off" in rules)


def test_the_servers_user_and_norns_are_left_out() -> None:
    lines = ("user default on nopass ~* +@all", "user norn on ~* +@all", "user mine on ~mine:*")
    users = [rules for line in lines if (rules := parse(line)) is not None]
    rows = {AppName("mine"): {("acl-user", "mine"): Held("acl-user", "mine")}}
    assert judge(users, rows, frozenset({"norn"})) == []


def test_what_norn_would_set_comes_back_as_the_section_it_came_from() -> None:
    rules = app_rules("a", "ns", "ab" * 32, info=True, channels=("x*", "__keyspace@0__:*"))
    (found,) = judge([rules], {}, frozenset())
    section = KvSection.model_validate(found.section)
    assert (section.namespace, section.info) == ("ns", True)
    assert section.channels == ("__keyspace@0__:*", "x*")
