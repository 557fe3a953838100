"""What passes from one app to another by what the files say: an app by a new name, and single
objects that one file lets go and one other asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from norn_reconciler.model.app import AppName, Section
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.moves import Move
from norn_reconciler.model.moves import giver as former
from norn_reconciler.spec.claims import Claims
from norn_reconciler.spec.shares import Inventory


@dataclass(frozen=True, slots=True)
class Passed:
    """held: who holds which names once all of it has passed. moves: ordered. renamed: without those
    apps that have objects of their own, and would get others to them."""

    held: Claims
    moves: tuple[Move, ...]
    renamed: Mapping[AppName, AppName]


def passed(
    wanted: Claims,
    renamed: Mapping[AppName, AppName],
    holders: Claims,
    inventory: Inventory,
    sections: Mapping[str, type[Section]],
) -> Passed:
    """wanted: by each app whose file can be used. renamed: what an app was called → its name now,
    where no file is about the former any more."""
    held, followed = dict(holders), dict(renamed)
    moves = list(_whole(renamed, inventory, sections))
    for move in moves:
        if has(move.taker, inventory, sections):
            followed.pop(move.giver, None)
    moves = [move for move in moves if move.giver in followed]
    for old, new in sorted(followed.items()):
        # Also of what stays behind, until it is gone: nobody else is let near.
        held[new] = held.get(new, frozenset()) | held.pop(old, frozenset())
    for (service, giver), owned in sorted(inventory.items()):
        section = sections.get(service)
        if section is None or giver not in wanted:
            continue
        for move in _single(service, giver, inventory, section, wanted, held):
            claims = section.held(giver, owned[move.key])
            held[giver] = held.get(giver, frozenset()) - claims
            held[move.taker] = held.get(move.taker, frozenset()) | claims
            moves.append(move)
    return Passed(held, tuple(sorted(moves)), followed)


def has(app: AppName, inventory: Inventory, sections: Mapping[str, type[Section]]) -> bool:
    """Whether there is anything of an app that goes along with its name."""
    return any(
        name == app and service in sections and sections[service].passes(row, True)
        for (service, name), owned in inventory.items()
        for row in owned.values()
    )


def _whole(
    renamed: Mapping[AppName, AppName],
    inventory: Inventory,
    sections: Mapping[str, type[Section]],
) -> Iterator[Move]:
    for (service, old), owned in inventory.items():
        section, new = sections.get(service), renamed.get(old)
        if section is None or new is None:
            continue
        for row in owned.values():
            if section.passes(row, True):
                yield Move(service, row.key, old, new, renamed=True)


def _single(
    service: str,
    giver: AppName,
    inventory: Inventory,
    section: type[Section],
    wanted: Claims,
    held: Claims,
) -> Iterator[Move]:
    """What the one file has let go, what is not shut yet, and what one other asks for."""
    for row in inventory[service, giver].values():
        if row.state is HeldState.RETAINED or not section.passes(row, False):
            continue
        claims = section.held(giver, row)
        if not claims.isdisjoint(wanted[giver]):
            continue
        kept = (wanted[giver] | held.get(giver, frozenset())) - claims
        if any(one.collides(other) for one in claims for other in kept):
            continue  # what it keeps would reach it still
        takers = [app for app, asks in wanted.items() if claims <= asks]
        # Whoever had it before may be to use it still: a third one would not wait for that.
        if len(takers) == 1 and former(row) in (None, takers[0]):
            yield Move(service, row.key, giver, takers[0])
