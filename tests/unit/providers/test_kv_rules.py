"""ACL rules: what norn sets, what the server shows, and how they differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.providers.kv.rules import (
    COMMANDS,
    NAMED_COMMANDS,
    Rules,
    app_rules,
    differences,
    modifiers,
    parse,
    widened,
)

SHA = "a" * 64
OTHER = "b" * 64
WANTED = app_rules("a", "ns", SHA)
CMDS = " ".join(COMMANDS)
LINE = f"user a on #{SHA} ~ns:* resetchannels &ns:* {CMDS}"  # as Valkey 9.1.2 shows it


def found(line: str) -> Rules:
    rules = parse(line)
    assert rules is not None
    return rules


def aspects(rules: Rules) -> list[str]:
    return [d.aspect for d in differences(WANTED, rules)]


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE.replace(" on #", " on sanitize-payload #"),  # 9.0 and older
        LINE.replace("~ns:*", "%RW~ns:*"),
        LINE.replace("~ns:*", "%WR~ns:*"),
        LINE.replace("&ns:*", "&ns:* alldbs"),
        LINE.replace("resetchannels ", ""),
        LINE.replace(" -@all", "  -@all"),
    ],
)
def test_other_ways_to_say_the_same(line: str) -> None:
    assert found(line) == WANTED
    assert differences(WANTED, found(line)) == ()
    assert not widened(WANTED, found(line))


@pytest.mark.parametrize(
    ("line", "aspect", "wider"),
    [
        (LINE.replace(" on ", " off "), "state", False),
        (LINE.replace(f"#{SHA}", "nopass"), "passwords", True),
        (LINE.replace(f"#{SHA}", f"#{SHA} #{OTHER}"), "passwords", True),
        (LINE.replace(f"#{SHA}", f"#{OTHER}"), "passwords", True),
        (LINE.replace(f"#{SHA} ", ""), "passwords", False),
        (LINE.replace("~ns:*", "~ns:* ~other:*"), "keys", True),
        (LINE.replace("~ns:*", "~ns:* %R~other:*"), "keys", True),
        (LINE.replace("~ns:*", "~*"), "keys", True),
        (LINE.replace("~ns:*", "allkeys"), "keys", True),
        (LINE.replace("~ns:*", "~ns*"), "keys", True),
        (LINE.replace("~ns:* ", ""), "keys", False),
        (LINE.replace("resetchannels &ns:*", "&*"), "channels", True),
        (LINE.replace("resetchannels &ns:*", "allchannels"), "channels", True),
        (LINE.replace("&ns:*", "&ns:* &other"), "channels", True),
        (LINE.replace(" &ns:*", ""), "channels", False),
        (LINE.replace(CMDS, "+@all"), "commands", True),
        (LINE.replace(CMDS, "allcommands"), "commands", True),
        (LINE.replace(CMDS, "-@all"), "commands", False),
        (f"{LINE} +config|get", "commands", True),
        (f"{LINE} -get", "commands", False),
        (LINE.replace(" -pubsub", ""), "commands", True),
        (LINE.replace(" +get", " ").replace(" +del", ""), "commands", True),
        (f"{LINE} (%R~other:* resetchannels -@all +get)", "selectors", True),
        (f"{LINE} (~* resetchannels +@all) (~x -@all)", "selectors", True),
        (LINE.replace("&ns:*", "&ns:* db=3"), "databases", False),
        (LINE.replace("&ns:*", "&ns:* resetdbs"), "databases", False),
    ],
)
def test_every_difference_is_seen_once_and_widening_told_apart(
    line: str, aspect: str, wider: bool
) -> None:
    assert aspects(found(line)) == [aspect]
    assert widened(WANTED, found(line)) is wider
    assert found(line).fingerprint != WANTED.fingerprint


def test_a_hand_reverted_edit_still_differs() -> None:
    # The server moves what was edited by hand to the end.
    line = LINE.replace(" +del ", " ") + " +del"
    (difference,) = differences(WANTED, found(line))
    assert difference.found == "+del at the end"


def test_words_nobody_knows_yet_break_nothing() -> None:
    rules = found(LINE.replace("&ns:*", "&ns:* quota=5 shiny").replace(" on ", " on glossy "))
    assert rules.flags == {"quota=5", "shiny", "glossy"}
    assert replace(rules, flags=frozenset()) == WANTED


def test_no_difference_shows_a_password() -> None:
    for line in (LINE.replace(SHA, OTHER), LINE.replace(f"#{SHA}", f"#{SHA} #{OTHER}")):
        shown = repr(differences(WANTED, found(line)))
        assert SHA not in shown
        assert OTHER not in shown


@pytest.mark.parametrize("line", ["", "user", "user ", "group a on", "users a on"])
def test_what_is_no_line_is_none(line: str) -> None:
    assert parse(line) is None


def test_selectors_do_not_lend_their_words_to_the_user() -> None:
    rules = found(f"user a on #{SHA} ~ns:* resetchannels -@all (~* &* nopass +@all) (%R~x) +get")
    assert rules.keys == {"~ns:*"}
    assert rules.channels == frozenset()
    assert not rules.nopass
    assert rules.commands == ("-@all", "+get")
    assert rules.selectors == ("(~* &* nopass +@all)", "(%R~x)")


def test_the_command_begins_with_reset_and_holds_no_clear_text() -> None:
    words = modifiers(WANTED)
    assert words[:8] == (
        "reset", "on", f"#{SHA}", "resetkeys", "~ns:*", "resetchannels", "&ns:*", "-@all",
    )  # fmt: skip
    assert words[7:] == COMMANDS


@pytest.mark.parametrize(
    "command",
    [
        "pfmerge", "georadius", "georadiusbymember", "scan", "randomkey", "dbsize", "keys",
        "client|tracking", "pubsub", "function", "script|flush", "migrate", "restore", "config",
        "debug", "monitor", "flushall", "flushdb", "swapdb", "move", "acl|setuser", "pfdebug",
    ],
)  # fmt: skip
def test_what_must_never_be_granted(command: str) -> None:
    assert f"+{command}" not in COMMANDS
    assert "+@all" not in COMMANDS
    assert COMMANDS[0] == "-@all"


def test_commands_that_a_server_lacks_are_left_out() -> None:
    rules = app_rules("a", "ns", SHA, frozenset({"eval", "georadius"}))
    assert set(COMMANDS) - set(rules.commands) == {"+eval", "-georadius"}
    assert {"eval", "georadius", "client|no-touch"} <= set(NAMED_COMMANDS)
    assert not any("@" in name for name in NAMED_COMMANDS)


WORD = st.sampled_from(
    ["on", "off", "nopass", "~ns:*", "~*", "%R~x", "&ns:*", "&*", "+get", "-get", "+@all", "(~x",
     "+get)", "(", ")", "db=1", "resetdbs", "allkeys", "new-flag", f"#{SHA}", f"#{OTHER}", "", "%",
     "~", "&", "#", "+"]
)  # fmt: skip


@given(st.lists(WORD, max_size=12))
def test_no_line_breaks_the_parser_and_equal_means_equal(words: list[str]) -> None:
    rules = found("user a " + " ".join(words))
    same = not differences(WANTED, rules)
    assert same == (replace(rules, flags=frozenset()) == WANTED)
    assert not (same and widened(WANTED, rules))


@given(st.lists(WORD, max_size=8), st.lists(WORD, max_size=8))
def test_fingerprints_tell_rules_apart(one: list[str], two: list[str]) -> None:
    a, b = found("user a " + " ".join(one)), found("user a " + " ".join(two))
    assert (a.fingerprint == b.fingerprint) == (a == b)


@pytest.mark.parametrize("user", ["-1", "+get", "-@all", "~x", "&x", "(x"])
def test_a_user_whose_name_looks_like_a_rule_is_read_as_it_is(user: str) -> None:
    wanted = app_rules(user, "ns", SHA)
    line = f"user {user} on #{SHA} ~ns:* resetchannels &ns:* {' '.join(wanted.commands)}"
    assert parse(line) == wanted
