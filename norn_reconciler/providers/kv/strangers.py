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
            if tokens[place] is None:
                ahead.add(place)
            elif _takes(tokens[place] or "", char):
                ahead.add(place + 1)
        places = _through_stars(tokens, ahead)
    return bool(places)


def _through_stars(tokens: list[str | None], places: Iterable[int]) -> set[int]:
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


def _tokens(pattern: str) -> list[str | None]:
    """Of valkey's stringmatchlen: None for a star, `?`, `[…]`, `\\x`, or the character itself."""
    tokens: list[str | None] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        end = at + 1
        if char == "\\" and end < len(pattern):
            end += 1
        elif char == "[":
            close = pattern.find("]", at + 1)
            end = len(pattern) if close < 0 else close + 1
        tokens.append(None if char == "*" else pattern[at:end])
        at = end
    return tokens


def _takes(token: str, char: str) -> bool:
    if token == "?":
        return True
    if token.startswith("\\"):
        return token[1:] == char or token == char
    if not token.startswith("["):
        return token == char
    inside = token[1:].removesuffix("]")
    negated = inside.startswith("^")
    return _in_class(inside[1:] if negated else inside, char) is not negated


def _in_class(inside: str, char: str) -> bool:
    at = 0
    while at < len(inside):
        if at + 2 < len(inside) and inside[at + 1] == "-":
            low, high = sorted((inside[at], inside[at + 2]))
            if low <= char <= high:
                return True
            at += 3
            continue
        if inside[at] == char and inside[at] != "\\":
            return True
        at += 1
    return False
