"""Specs that norn writes: they pass its own checks, and nothing that a server holds breaks out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.settings import Settings
from norn_reconciler.spec.draft import MODELINE, Draft, text
from norn_reconciler.spec.load import load
from norn_reconciler.spec.read import Content, Stamp
from norn_reconciler.spec.trial import check
from norn_reconciler.specs_folder import rules_of

RULES = rules_of(Settings())
EVIL = [
    "a\nrole: webserver",
    "a\r\nb",
    "x # y",
    "- a: {b: [c",
    "'\"",
    "\x1b[31mred\x1b[0m",
    "\x9b2J",
    "\u202egnp.exe",
    "a\u2028b\u2029c\x85d",
    "%TAG ! x",
    "---",
    "...",
    "&a *a !!python/object:os.system",
    "yes",
    "null",
    "1e3",
    "0x1f",
    "{{ x }}",
    "# yaml-language-server: $schema=evil",
    "\ud800",
    "",
    " ",
    "\ufeff",
    "é😀",
]  # fmt: skip


def draft(app: str = "mail", **sections: dict[str, object]) -> Draft:
    return Draft(app, sections, dict.fromkeys(sections, ("a note",)))


def only(*drafts: Draft, **holders: frozenset[Claim]) -> list[Draft]:
    held = {AppName(name): claims for name, claims in holders.items()}
    return list(check(drafts, RULES, held).drafts)


def loaded(spec: str):
    content = Content(Stamp(0, 0, 0, 0, 0), spec.encode(), "")
    return load(content, "x.yaml", RULES)


def test_a_whole_spec_is_a_file_that_norn_takes() -> None:
    topic = {"name": "mail.in", "partitions": 3, "config": {"retention.ms": "1000"}}
    whole = draft(
        postgres={"database": "mail_db", "connections": 7},
        kv={"namespace": "mail", "channels": ["a.*"]},
        events={"topics": [topic]},
    )
    (found,) = only(whole)
    assert found.usable and found.refused == {}
    spec = text(found)
    assert spec.splitlines()[0] == MODELINE and "  # a note\n  kv:\n" in spec
    assert "norn adopt mail" in spec
    document = loaded(spec).document
    assert document is not None and loaded(spec).findings == ()
    assert document.app.name == "mail" and set(document.app.sections) == {
        "postgres",
        "kv",
        "events",
    }


def test_a_section_that_the_checks_refuse_becomes_a_comment_with_the_reason() -> None:
    (found,) = only(draft(postgres={"database": "my db"}, kv={"namespace": "mail"}))
    assert found.usable and set(found.refused) == {"postgres"}
    spec = text(found)
    assert "  # postgres can't be imported as it is: a database name has letters" in spec
    assert "  #   database: my db\n" in spec
    document = loaded(spec).document
    assert document is not None and set(document.app.sections) == {"kv"}


@pytest.mark.parametrize("name", ["Old", "a_b", "-x", "x" * 201, "a b", "ä", ""])
def test_a_name_that_no_app_can_have_is_a_comment_as_a_whole(name: str) -> None:
    (found,) = only(draft(name, kv={"namespace": "old"}))
    assert not found.usable
    assert "an app's name has small letters" in found.refused[""][0]
    spec = text(found)
    assert all(line.startswith("#") for line in spec.splitlines())
    assert "namespace: old" in spec and "- kv: a note" in spec


def test_a_reserved_name_is_refused_in_the_services_words() -> None:
    (found,) = only(draft("public", postgres={"database": "x"}, kv={"namespace": "public"}))
    assert found.usable and "needs for itself" in found.refused["postgres"][0]
    (found,) = only(draft("public", postgres={"database": "x"}))
    assert not found.usable


def test_two_drafts_that_ask_for_one_name_both_lose_that_section() -> None:
    one, two = only(
        draft("a", kv={"namespace": "shared"}, postgres={"database": "a_db"}),
        draft("b", kv={"namespace": "shared:x"}),
    )
    assert one.usable and set(one.refused) == {"kv"} and "app b" in one.refused["kv"][0]
    assert not two.usable and "app a" in two.refused["kv"][0]


def test_what_an_app_of_the_fleet_has_is_its() -> None:
    held = frozenset({Claim("postgres.database", "mail_db")})
    (found,) = only(draft(postgres={"database": "mail_db"}), other=held)
    assert not found.usable and "belongs to app other" in found.refused["postgres"][0]


def test_a_draft_without_any_section_says_so() -> None:
    (found,) = only(Draft("mail", {}, {"postgres": ("it owns no database",)}))
    assert not found.usable and "nothing of it that a spec could say" in found.refused[""][0]
    assert "- postgres: it owns no database" in text(found)


def test_readers_are_known_to_the_apps_that_come_with_it() -> None:
    checked = check(
        [
            draft("a", events={"topics": [{"name": "t", "readers": ["b"]}]}),
            draft("b", events={"topics": []}),
        ],
        RULES,
        {},
    )
    assert checked.apps[AppName("b")].readable == {"events": frozenset({"t"})}


def _safe(spec: str) -> None:
    assert all(char == "\n" or char.isprintable() for char in spec)


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_hostile_breaks_out(evil: str) -> None:
    words = {"kv": (evil, f"x{evil}"), "other": (evil,)}
    sections = {"kv": {"namespace": "mail"}, "postgres": {"database": evil}}
    (bad,) = only(Draft("mail", sections, words, changes={"kv": (evil,)}))
    spec = text(bad)
    _safe(spec)
    document = loaded(spec).document
    assert document is not None and document.spec.role == "worker"
    assert set(document.app.sections) <= {"kv", "postgres"} and "kv" in document.app.sections
    (named,) = only(Draft(evil, {"kv": {"namespace": evil}}, words))
    if named.app not in ("yes", "null", "1e3", "0x1f"):
        assert not named.usable
        _safe(text(named))
        assert all(line.startswith("#") for line in text(named).splitlines())


@given(st.text(max_size=40))
def test_values_come_back_as_they_were(value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    spec = text(Draft("mail", {"kv": {"namespace": value, "list": [value, {"k": value}]}}))
    _safe(spec)
    data = YAML(typ="safe", pure=True).load(spec)
    assert data["services"] == {"kv": {"namespace": value, "list": [value, {"k": value}]}}
    assert data["role"] == "worker"
