"""`services.kv`: checks, claims, refused app names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from norn_reconciler.model.app import AppName, Claim, Section
from norn_reconciler.model.inventory import Held, HeldState
from norn_reconciler.providers.kv.section import KvSection, refused_app_name

MAIL = AppName("mail-agent")


def findings(raw: object) -> list[tuple[str, tuple[object, ...]]]:
    with pytest.raises(ValidationError) as caught:
        KvSection.model_validate(raw)
    return [(e["type"], e["loc"]) for e in caught.value.errors()]


def claims(namespace: str) -> frozenset[Claim]:
    return KvSection(namespace=namespace).claims(MAIL)


def test_a_good_one() -> None:
    section = KvSection.model_validate({"namespace": "mail-agent"})
    assert section.namespace == "mail-agent"
    assert isinstance(section, Section)
    assert KvSection.model_validate(section.model_dump(mode="json", exclude_defaults=True)) == (
        section
    )


@pytest.mark.parametrize("raw", [{}, {"namespace": None}, {"namespace": ""}])
def test_the_namespace_is_required(raw: object) -> None:
    assert findings(raw) == [("services.kv.namespace.required", ("namespace",))]


@pytest.mark.parametrize(
    "namespace",
    [
        "a*", "a?", "[a", "a]", "a\\", "a b", " a", "a ", "a\tb", "a\n", "\na", "a\0", "a\x1b",
        "a\x7f", "a\u00a0b", "a\u2028b", "a\u200bb", "a\ud800", 'a"', "a'",
    ],
)  # fmt: skip
def test_what_would_be_more_than_a_prefix_is_refused(namespace: str) -> None:
    assert findings({"namespace": namespace}) == [("services.kv.namespace.format", ("namespace",))]


def test_the_message_shows_what_is_wrong_and_no_control_character() -> None:
    with pytest.raises(ValidationError) as caught:
        KvSection.model_validate({"namespace": "a*b\x1b[31m"})
    message = caught.value.errors()[0]["msg"]
    assert "'*'" in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "namespace", ["a:b", "ns#1", "(x)", "mail.in", "größe", "{tag}", "-", "~a"]
)
def test_what_is_taken_literally_is_fine(namespace: str) -> None:
    assert KvSection(namespace=namespace).namespace == namespace


@pytest.mark.parametrize(
    "namespace", ["__keyevent@0__", "__keyspace@0__", "__keyspace@0__:x", "__redis__", "__"]
)
def test_the_servers_own_channels_are_no_namespace(namespace: str) -> None:
    """Below it the app might subscribe to what tells of every app's keys."""
    assert findings({"namespace": namespace}) == [
        ("services.kv.namespace.reserved", ("namespace",))
    ]
    assert not re.search(namespace_pattern(), namespace)


def test_one_underscore_is_nobodys() -> None:
    assert KvSection(namespace="_a").namespace == "_a"
    assert re.search(namespace_pattern(), "_a__")


def namespace_pattern() -> str:
    return str(KvSection.model_json_schema()["properties"]["namespace"]["pattern"])


def test_a_namespace_is_no_longer_than_a_key_bears() -> None:
    assert KvSection(namespace="a" * 200)
    assert findings({"namespace": "ä" * 101}) == [("services.kv.namespace.length", ("namespace",))]


@pytest.mark.parametrize("namespace", [1, 1.5, True, ["a"], {"a": "b"}])
def test_only_a_text_is_a_namespace(namespace: object) -> None:
    assert findings({"namespace": namespace}) == [("string_type", ("namespace",))]


def test_unknown_keys_are_errors() -> None:
    assert findings({"namespace": "a", "namspace": "b"}) == [("extra_forbidden", ("namspace",))]


def test_the_schema_asks_for_it() -> None:
    schema = KvSection.model_json_schema()
    assert schema["required"] == ["namespace"]
    assert "default" not in schema["properties"]["namespace"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("one", "two", "collide"),
    [
        ("a", "a", True),
        ("a", "a:b", True),
        ("a:b", "a", True),
        ("a", "ab", False),
        ("mail", "mail-agent", False),
        ("a:b", "a:c", False),
    ],
)
def test_which_namespaces_collide(one: str, two: str, collide: bool) -> None:
    (mine,), (other,) = claims(one), claims(two)
    assert mine.collides(other) is collide
    assert other.collides(mine) is collide


@pytest.mark.parametrize("state", HeldState)
def test_a_row_keeps_its_keys(state: HeldState) -> None:
    assert KvSection.held(MAIL, Held("namespace", "old", state)) == claims("old")
    assert KvSection.held(MAIL, Held("acl-user", "old", state)) == frozenset()


@pytest.mark.parametrize("app", ["default", "norn-admin", "", "a b", "a\0", "a\n"])
def test_refused_app_names(app: str) -> None:
    assert refused_app_name(app, frozenset({"norn-admin"}))


@given(st.from_regex(r"[a-z0-9][a-z0-9-]*", fullmatch=True))
def test_other_app_names_are_fine(app: str) -> None:
    refused = refused_app_name(app, frozenset({"norn-admin"}))
    assert (refused is None) == (app not in {"default", "norn-admin"})
