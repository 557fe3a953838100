from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from norn_reconciler.spec.rules import CHECKS
from norn_reconciler.spec.tree import Place, TreeError, parse


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: yes", {"a": "yes"}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: 12:30:00", {"a": "12:30:00"}),
        ("a: 0x10", {"a": 16}),
        ("a: 010", {"a": 10}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: .inf", {"a": ".inf"}),
        ("a: ~", {"a": None}),
        ("a: '80'", {"a": "80"}),
        ("80: x", {"80": "x"}),
        ("{a: [1, {b: 2}]}", {"a": [1, {"b": 2}]}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 1}\nd: {<<: *x, c: 2}", {"a": {"b": 1, "c": 1}, "d": {"c": 2, "b": 1}}),
    ],
)
def test_plain_data(text: str, data: object) -> None:
    assert parse(text).data == data


@pytest.mark.parametrize(
    ("text", "check", "line", "column"),
    [
        ("a: 1\n  b: 2", "spec.yaml.syntax", 2, 4),
        ("a: [1", "spec.yaml.syntax", 1, 6),
        ("a: \x07", "spec.yaml.character", 1, 4),
        ('a: "\\0"', "spec.yaml.character", 1, 4),
        ('a: "\\ud800"', "spec.yaml.character", 1, 4),
        ("a: 1\n---\nb: 2", "spec.yaml.documents", 2, 1),
        ("%YAML 1.1\n---\na: 1", "spec.yaml.version", 2, 1),
        ("a: !!python/object:os.system x", "spec.yaml.tag", 1, 4),
        ("a: !!str 1", "spec.yaml.tag", 1, 4),
        ("a: *b", "spec.yaml.alias", 1, 4),
        ("a: &a [*a]", "spec.yaml.alias", 1, 8),
        ("a: &x 1\nb: [" + "*x," * 60 + "]", "spec.yaml.alias", 2, 155),
        ("[" * 100_000, "spec.yaml.depth", 1, 25),
        ("- a\n" * 200_000, "spec.yaml.size", 20_000, 3),
        ("? [a]\n: b", "spec.yaml.key", 1, 3),
        ("<<: 1", "spec.yaml.key", 1, 1),
    ],
)
def test_refused_at_a_place(text: str, check: str, line: int, column: int) -> None:
    with pytest.raises(TreeError) as caught:
        parse(text)
    assert (caught.value.check, caught.value.place) == (check, Place(line, column))


def test_alias_bomb_is_given_up_by_what_it_expands_to() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 7)}]" for i in range(1, 8)]
    with pytest.raises(TreeError) as caught:
        parse("\n".join(lines))
    assert caught.value.check == "spec.yaml.size"


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 40)]
    with pytest.raises(TreeError) as caught:
        parse("\n".join(lines))
    assert caught.value.check == "spec.yaml.depth"


def test_duplicates_are_all_found() -> None:
    assert parse("a: 1\nb: {c: 1, c: 2}\na: 2").duplicates == (("b", "c"), ("a",))


def test_places() -> None:
    found = parse("a:\n  b:\n    - c: 1\n      d: 2\n    -  e\n")
    assert found.place(("a", "b")) == Place(2, 3)
    assert found.place(("a", "b", 0, "d")) == Place(4, 7)
    assert found.place(("a", "b", 1)) == Place(5, 8)
    assert found.place(("a", "b", 0, "missing", 3)) == Place(3, 7)
    assert found.place(("nowhere",)) == Place(1, 1)


YAMLISH = st.text(
    alphabet=st.one_of(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,?\\~<=\n \t0x1.e_"), st.characters()),
    max_size=200,
)


@settings(max_examples=400, deadline=None)
@given(YAMLISH)
@example("%YAML 1.99999\n---\n")
@example("%TAG ! !\n---\n!a b")
@example("? ? ? :")
@example('"\\U0011ffff"')
@example('"\\xzz"')
@example("a: |9999\n b")
@example("&a : *a")
@example("\ufeffa: 1")
@example("!<> a")
def test_any_text_is_a_tree_or_a_tree_error(text: str) -> None:
    try:
        found = parse(text)
    except TreeError as error:
        assert error.check in CHECKS_OF_TEXT
        assert error.place.line >= 1
        assert error.place.column >= 1
    else:
        assert all(place.line >= 1 for place in found.places.values())


CHECKS_OF_TEXT = {check for check in CHECKS if check.startswith("spec.yaml.")}
