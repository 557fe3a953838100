"""Whose keys another user's patterns reach."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.providers.kv.rules import app_rules, parse
from norn_reconciler.providers.kv.strangers import is_admin, is_app, reaches, stranger


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [
        ("shop:*", True), ("shop:cart", True), ("shop:", True), ("*", True), ("s*", True),
        ("sh?p:*", True), ("[a-z]hop:*", True), ("[^a]hop:*", True), ("*:x", True),
        ("*cart", True), ("\\shop:*", True), ("shop*", True), ("shop:[ab]c", True),
        ("shop", False), ("shopping:*", False), ("shop-eu:*", False), ("[^s]hop:*", False),
        ("[a-r]hop:*", False), ("shop.*", False), ("bank:*", False), ("sh", False), ("", False),
        ("shop?x", True), ("sho?x", False), ("sh[\\]o]p:*", True), ("sh[\\]x]op:*", False),
        ("[\\a-z]hop:*", False), ("[\\s-z]hop:*", True), ("[a-]s]hop:*", True),
        ("[]s]hop:*", False), ("[^]hop:*", True), ("shop[^", True), ("sh[n-\\]]p:*", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, reached: bool) -> None:
    assert reaches(pattern, "shop:") is reached


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=3), st.text("ab", max_size=4))
def test_a_pattern_that_matches_a_key_of_the_prefix_reaches_it(
    pattern: str, prefix: str, rest: str
) -> None:
    if fnmatchcase(prefix + rest, pattern):
        assert reaches(pattern, prefix)


@given(st.text("ab*?", max_size=5), st.text("ab", max_size=3))
def test_a_pattern_that_reaches_matches_some_key(pattern: str, prefix: str) -> None:
    if reaches(pattern, prefix):
        # One of the keys that the pattern itself spells, its stars cut short at any length.
        tails = {pattern[at:].replace("*", "").replace("?", "a") for at in range(len(pattern) + 1)}
        assert any(fnmatchcase(prefix + tail, pattern) for tail in tails)


def test_who_claims_and_who_does_not() -> None:
    def claims(line: str) -> str | None:
        found = stranger(f"user other {line}")
        return found.claims("shop") if found else None

    assert claims("on #abc ~shop:* resetchannels -@all +get") == "shop:*"
    assert claims("on #abc %R~shop:* resetchannels -@all +get") == "shop:*"
    assert claims("on #abc resetchannels -@all (~shop:* resetchannels -@all +get)") == "shop:*"
    assert claims("on #abc ~* resetchannels +@all") is None, "an administrator claims nothing"
    assert claims("on #abc ~** resetchannels +@all") is None
    assert claims("off #abc ~shop:* resetchannels +@all") is None, "it cannot log in"
    assert claims("on #abc ~shop:* resetchannels -@all") is None, "it may do nothing"
    assert claims("on #abc ~bank:* resetchannels +@all") is None


def test_who_opens_a_namespace() -> None:
    def opens(line: str) -> bool:
        found = stranger(f"user other {line}")
        return found is not None and found.opens("shop")

    assert opens("on nopass ~* resetchannels -@all +get")
    assert opens("on nopass ~sh* resetchannels -@all +get")
    assert not opens("on #abc ~* resetchannels +@all"), "it has a password"
    assert not opens("off nopass ~* resetchannels +@all")
    assert not opens("on nopass ~* resetchannels -@all")
    assert not opens("on nopass ~bank:* resetchannels +@all")


@pytest.mark.parametrize(
    ("commands", "admin"),
    [
        ("+@all", True), ("-@all +@admin", True), ("-@all +acl", True),
        ("-@all +acl|setuser", True), ("-@all +get", False), ("-@all +acl|whoami", False),
        ("+@all -@admin -@dangerous", False), ("+@all -@admin +acl", True),
    ],
)  # fmt: skip
def test_who_may_alter_users(commands: str, admin: bool) -> None:
    rules = parse(f"user other on #abc ~* resetchannels {commands}")
    assert rules is not None
    assert is_admin(rules) is admin


def test_an_app_is_known_by_its_rules() -> None:
    ours = app_rules("shop", "shop", "0" * 64, info=True)
    assert is_app(ours)
    assert is_app(app_rules("shop", "shop", "0" * 64, frozenset({"memory|usage", "copy"})))
    assert not is_app(replace(ours, commands=(*ours.commands, "+keys")))
    assert not is_app(replace(ours, keys=frozenset({"~*"})))
    assert not is_app(replace(ours, commands=("-@all", "+@string")))
