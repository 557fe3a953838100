"""Objects that pass from one app to another: the row goes at once, and tells whose it was for as
long as that one can use it still. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Owned

GIVER = "moved.from"  # key in Held.settings
_Inventory = Mapping[tuple[str, AppName], Owned]  # (service, app) → its rows


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """An object of `service` passes from one app to another: the one's file no longer asks for it,
    the other's does. renamed: both are the same app, by another name."""

    service: str
    key: ObjectKey
    giver: AppName
    taker: AppName
    renamed: bool = False

    def __str__(self) -> str:
        return f"{' '.join(self.key)} passes from {self.giver} to {self.taker}"


def giver(held: Held) -> AppName | None:
    """Whose it was, and may be to use still; None where it has always been its app's."""
    said = held.settings.get(GIVER)
    return AppName(said) if said is not None else None


def configured(held: Held) -> Mapping[str, str]:
    """Its settings, without what is only a note."""
    return {key: value for key, value in held.settings.items() if key != GIVER}


def carried_out(
    moves: Iterable[Move], inventory: _Inventory
) -> tuple[dict[tuple[str, AppName], Owned], list[Move]]:
    """The rows of all concerned as they are then, and the moves that count: what its giver does not
    have any more, or has shut for others, does not move."""
    rows: dict[tuple[str, AppName], Owned] = {}
    done: list[Move] = []
    for move in moves:
        of, to = (move.service, move.giver), (move.service, move.taker)
        theirs, its = rows.get(of, inventory.get(of, {})), rows.get(to, inventory.get(to, {}))
        held = theirs.get(move.key)
        if held is None or (held.state is HeldState.RETAINED and not move.renamed):
            continue
        rows[of] = {key: row for key, row in theirs.items() if key != move.key}
        if not move.renamed:
            held = replace(held, settings={**held.settings, GIVER: move.giver})
        rows[to] = {**its, move.key: held}
        done.append(move)
    return rows, done
