"""Whose claim stands when two apps ask for one name. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby, takewhile

from norn_reconciler.model.app import AppName, Claim

Claims = Mapping[AppName, frozenset[Claim]]


@dataclass(frozen=True, slots=True)
class Loss:
    """`claim` of some app is refused since it collides with `other` of `rival`. held: the rival has
    it in the inventory; else both merely ask, and both are refused."""

    claim: Claim
    rival: AppName
    other: Claim
    held: bool


def contest(wanted: Claims, held: Claims) -> Mapping[AppName, tuple[Loss, ...]]:
    """The claims of `wanted` that can't stand, by the app that asks. An app with none is not in it.

    Whoever holds a name keeps it; between two who only ask, both lose. A rule of pairs: the order
    of the apps changes nothing."""
    losses: dict[AppName, set[Loss]] = defaultdict(set)
    for one, two in _colliding(_entries(wanted, held)):
        for mine, theirs in ((one, two), (two, one)):
            loss = _judge(mine, theirs, held)
            if loss is not None:
                losses[mine.app].add(loss)
    return {app: tuple(sorted(found, key=_order)) for app, found in losses.items()}


@dataclass(frozen=True, slots=True)
class _Entry:
    app: AppName
    claim: Claim
    held: bool


def _entries(wanted: Claims, held: Claims) -> list[_Entry]:
    return [
        _Entry(app, claim, is_held)
        for claims, is_held in ((wanted, False), (held, True))
        for app, named in claims.items()
        for claim in named
    ]


def _colliding(entries: list[_Entry]) -> Iterator[tuple[_Entry, _Entry]]:
    """Pairs of different apps. Sorted by value, the names inside a prefix stand next to it."""
    entries = sorted(entries, key=lambda e: (e.claim.space, e.claim.value))
    keys = [(e.claim.space, e.claim.value) for e in entries]
    for _, run in groupby(range(len(entries)), key=keys.__getitem__):
        same = list(run)
        for at, one in enumerate(same):
            yield from _others(entries, one, same[at + 1 :])
    for at, entry in enumerate(entries):
        if entry.claim.prefix:
            space, value = keys[at]
            inside = partial(_within, keys, space, value)
            below = range(bisect_left(keys, (space, value + "\0")), len(keys))
            yield from _others(entries, at, takewhile(inside, below))


def _within(keys: list[tuple[str, str]], space: str, prefix: str, at: int) -> bool:
    return keys[at][0] == space and keys[at][1].startswith(prefix)


def _others(
    entries: list[_Entry], at: int, among: Iterable[int]
) -> Iterator[tuple[_Entry, _Entry]]:
    return ((entries[at], entries[i]) for i in among if entries[i].app != entries[at].app)


def _judge(mine: _Entry, theirs: _Entry, held: Claims) -> Loss | None:
    """What `mine` loses to `theirs`: nothing if it is no wish, or a wish for what the app holds."""
    if _backed(mine, held):
        return None
    return Loss(mine.claim, theirs.app, theirs.claim, _backed(theirs, held))


def _backed(entry: _Entry, held: Claims) -> bool:
    return any(_covers(h, entry.claim) for h in held.get(entry.app, ()))


def _covers(holding: Claim, claim: Claim) -> bool:
    if holding.space != claim.space or (claim.prefix and not holding.prefix):
        return False
    return holding.value == claim.value or (
        holding.prefix and claim.value.startswith(holding.value)
    )


def _order(loss: Loss) -> tuple[str, str, str, bool]:
    return (loss.claim.space, loss.claim.value, loss.rival, not loss.held)
