"""Users that are not norn's, and what of an app's keys their patterns reach. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from norn_reconciler.providers.kv.rules import COMMANDS, Rules, parse

_ADMIN = frozenset({"+@all", "allcommands", "+@admin", "+@dangerous", "+@slow", "+acl"})
_NOTHING = (("-@all",), ())


@dataclass(frozen=True, slots=True)
class Stranger:
    """One user that may log in. patterns: of its keys, selectors' included, without their `~`."""

    user: str
    patterns: tuple[str, ...]
    nopass: bool

    def claims(self, namespace: str) -> str | None:
        """The pattern by which it has keys of this namespace for its own. One that is about every
        key is an administrator's, and claims none."""
        return next(
            (p for p in self.patterns if p.strip("*?") and reaches(p, f"{namespace}:")), None
        )

    def opens(self, namespace: str) -> bool:
        """Whether anybody who knows its name may touch keys of this namespace."""
        return self.nopass and any(reaches(p, f"{namespace}:") for p in self.patterns)


@lru_cache(maxsize=4096)  # each round shows the same lines
def stranger(line: str) -> Stranger | None:
    """From a line of ACL LIST; None for a user that is off, or may do nothing."""
    rules = parse(line)
    if rules is None or not rules.enabled:
        return None
    if rules.commands in _NOTHING and not rules.selectors:
        return None
    return Stranger(rules.user, tuple(sorted(patterns_of(rules))), rules.nopass)


def patterns_of(rules: Rules) -> Iterator[str]:
    """Every key pattern of a user, as the server matches it."""
    words = [*rules.keys, *(word for s in rules.selectors for word in s.strip("()").split())]
    for word in words:
        _, tilde, pattern = word.partition("~")
        if word == "allkeys":
            yield "*"
        elif tilde and word[0] in "~%":
            yield pattern


def is_app(rules: Rules) -> bool:
    """Whether these are norn's rules for an app, on a server of whatever version."""
    words = set(rules.commands)
    return (
        words <= {*COMMANDS, "+info"}
        and len(words) > len(COMMANDS) // 2
        and all(key.startswith("~") and key.endswith(":*") for key in rules.keys)
    )


def is_admin(rules: Rules) -> bool:
    """Whether it may make and alter users, itself among them."""
    words = [*rules.commands, *(word for s in rules.selectors for word in s.strip("()").split())]
    may = False
    for word in words:
        if word in _ADMIN or word == "+acl|setuser":
            may = True
        elif word in {"-@all", "nocommands", "-@admin", "-@dangerous", "-acl", "-acl|setuser"}:
            may = False
    return may


def reaches(pattern: str, prefix: str) -> bool:
    """Whether the glob matches some key that begins with `prefix`."""
    head = _literal_head(pattern)
    if not (head.startswith(prefix) or prefix.startswith(head)):
        return False
    tokens = _tokens(pattern)
    places = _through_stars(tokens, {0})
    for char in prefix:
        ahead: set[int] = set()
        for place in places:
            if place == len(tokens):
                continue
            token = tokens[place]
            if token is None:
                ahead.add(place)
            elif token.takes(char):
                ahead.add(place + 1)
        places = _through_stars(tokens, ahead)
    return bool(places)


def _through_stars(tokens: list[_One | None], places: Iterable[int]) -> set[int]:
    """These places in the pattern, and those behind stars that match nothing."""
    found: set[int] = set()
    for place in places:
        found.add(place)
        while place < len(tokens) and tokens[place] is None:
            place += 1  # noqa: PLW2901
            found.add(place)
    return found


@lru_cache(maxsize=4096)
def _literal_head(pattern: str) -> str:
    special = [at for at, char in enumerate(pattern) if char in "*?[\\"]
    return pattern[: special[0]] if special else pattern


@dataclass(frozen=True, slots=True)
class _One:
    """One character: of these ranges, or of none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def takes(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) is not self.negated


def _tokens(pattern: str) -> list[_One | None]:
    """As valkey's stringmatchlen reads it. None is a star."""
    tokens: list[_One | None] = []
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "*":
            tokens.append(None)
        elif char == "?":
            tokens.append(_One((), negated=True))
        elif char == "[":
            token, at = _class(pattern, at)
            tokens.append(token)
        else:
            if char == "\\" and at < len(pattern):
                char, at = pattern[at], at + 1
            tokens.append(_One(((char, char),)))
    return tokens


def _class(pattern: str, at: int) -> tuple[_One, int]:
    """What stands behind a `[`, and where it ends. A backslash takes the next character as it is,
    but not as the end of a range; nor does a `]` there end the class."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while at < len(pattern) and pattern[at] != "]":
        left = len(pattern) - at
        if pattern[at] == "\\" and left > 1:
            at += 1
            ranges.append((pattern[at], pattern[at]))
        elif left > 2 and pattern[at + 1] == "-":
            low, high = sorted((pattern[at], pattern[at + 2]))
            ranges.append((low, high))
            at += 2
        else:
            ranges.append((pattern[at], pattern[at]))
        at += 1
    return _One(tuple(ranges), negated), at + 1
