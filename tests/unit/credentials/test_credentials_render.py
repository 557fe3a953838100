"""The text of an env file, against a parser that follows systemd's own, and the mask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.credentials.deliver import DeliveryError, mask, render
from norn_reconciler.model.secret import Secret

NEWLINE, WHITESPACE, ESCAPABLE = "\n\r", " \t\n\r", '"\\`$'


def parse_like_systemd(text: str) -> dict[str, str]:  # noqa: PLR0912, PLR0915
    """The states of parse_env_file_internal in systemd's src/basic/env-file.c (v255)."""
    found: dict[str, str] = {}
    state, key, value = "pre_key", "", ""
    key_space = value_space = -1
    for c in [*text, "\n"]:
        if state == "pre_key":
            if c in "#;":
                state = "comment"
            elif c not in WHITESPACE:
                state, key, key_space = "key", c, -1
        elif state == "key":
            if c in NEWLINE:
                state = "pre_key"
            elif c == "=":
                state, value, value_space = "pre_value", "", -1
            else:
                key_space = (
                    -1 if c not in WHITESPACE else (len(key) if key_space < 0 else key_space)
                )
                key += c
        elif state == "pre_value":
            if c in NEWLINE:
                found[key[:key_space] if key_space >= 0 else key] = value
                state = "pre_key"
            elif c == "'":
                state = "single"
            elif c == '"':
                state = "double"
            elif c == "\\":
                state = "value_escape"
            elif c not in WHITESPACE:
                state = "value"
                value += c
        elif state == "value":
            if c in NEWLINE:
                found[key[:key_space] if key_space >= 0 else key] = (
                    value[:value_space] if value_space >= 0 else value
                )
                state = "pre_key"
            elif c == "\\":
                state, value_space = "value_escape", -1
            else:
                value_space = (
                    -1 if c not in WHITESPACE else (len(value) if value_space < 0 else value_space)
                )
                value += c
        elif state == "value_escape":
            state = "value"
            if c not in NEWLINE:
                value += c
        elif state == "single":
            if c == "'":
                state = "pre_value"
            else:
                value += c
        elif state == "double":
            if c == '"':
                state = "pre_value"
            elif c == "\\":
                state = "double_escape"
            else:
                value += c
        elif state == "double_escape":
            state = "double"
            if c in ESCAPABLE:
                value += c
            elif c != "\n":
                value += "\\" + c
        elif state == "comment" and c in NEWLINE:
            state = "pre_key"
    assert state in {"pre_key", "comment"}, "the text ends within a value"
    return found


PRINTABLE = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc")),
        st.sampled_from("\"'\\`$#; ~=!&*\t%"),
    )
)
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(NAME, PRINTABLE))
def test_any_printable_value_comes_back_from_systemds_parser(variables: dict[str, str]) -> None:
    text = render(variables)
    assert parse_like_systemd(text) == variables
    assert text.count("\n") == len(variables)


def test_lines_are_sorted_and_plain_where_that_is_enough() -> None:
    url = "postgres://a:b-_9@h:5432/d?sslmode=disable"
    assert render({"Z": url, "A": "x,y.z", "E": ""}) == f"A=x,y.z\nE=\nZ={url}\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("a b", 'A="a b"\n'),
        ('say "$x" `y` \\', 'A="say \\"\\$x\\" \\`y\\` \\\\"\n'),
        ("~root", 'A="~root"\n'),
        ("/a:~root", 'A="/a:~root"\n'),
        ("it's", 'A="it\'s"\n'),
        ("#no comment", 'A="#no comment"\n'),
    ],
)
def test_quoting(value: str, line: str) -> None:
    assert render({"A": value}) == line


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\x1b", "\x7f", "\ud800"])
def test_what_no_env_file_carries_is_refused_by_name(bad: str) -> None:
    with pytest.raises(DeliveryError, match="TOKEN") as caught:
        render({"TOKEN": f"hush{bad}"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "A\n", "A B", "Ä"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DeliveryError):
        render({name: "x"})


def test_the_mask_hides_every_way_a_secret_stands_there() -> None:
    variables = {
        "VALKEY_URL": "valkey://app:hush-1@h:6379/0",
        "KAFKA_SASL_PASSWORD": "hush-2",
        "CUSTOM": "token hush-3, and hush-33 again",
        "KAFKA_SASL_USERNAME": "app",
        "KV_NAMESPACE": "app",
        "PLAIN_URL": "https://h/x@y:z@w",
    }
    shown = mask(variables, [Secret("hush-3"), Secret("hush-33"), Secret("")])
    assert shown == {
        "VALKEY_URL": "valkey://app:***@h:6379/0",
        "KAFKA_SASL_PASSWORD": "***",
        "CUSTOM": "token ***, and *** again",
        "KAFKA_SASL_USERNAME": "app",
        "KV_NAMESPACE": "app",
        "PLAIN_URL": "https://h/x@y:z@w",
    }
