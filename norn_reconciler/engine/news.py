"""What a look at the specs has to tell: the events of what it puts in force, holds, refuses and
moves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from norn_reconciler import logs
from norn_reconciler.engine.guard import Hold
from norn_reconciler.engine.roster import Accepted
from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Fleet
from norn_reconciler.model.moves import Move
from norn_reconciler.model.status import Event

MOST_REFUSED = 200  # findings that norn_db keeps; `norn validate` has them all


def of_hold(hold: Hold | None, word: str | None) -> list[Event]:
    """word: the hold's; None where nothing is new."""
    if word is None:
        return []
    if hold is None:
        return [Event(logs.REMOVAL_RELEASED, "info", None, "removals are no longer held")]
    fields = {"digest": hold.digest, "apps": list(hold.apps)[:50]}
    return [Event(logs.REMOVAL_HELD, "error", None, word, fields)]


def standing(fleet: Fleet, before: Sequence[str]) -> tuple[str, ...]:
    """What is wrong with files; of those that are being written, what was wrong before."""
    pending = [t for t in before if any(t.startswith(f"{file}:") for file in fleet.settling)]
    now = [r.text for r in fleet.refused[:MOST_REFUSED]]
    return tuple(sorted({*pending, *now}))


def of_refused(fleet: Fleet, told: Collection[str]) -> list[Event]:
    """Their log lines were written when the folder was looked at."""
    return [
        Event(logs.SPEC_REJECTED, "error", AppName(r.app) if r.app else None, r.text)
        for r in fleet.refused[:MOST_REFUSED]
        if r.text not in told
    ]


def of_moves(moves: Sequence[Move]) -> list[Event]:
    """Told of both: whoever asks after the one hears where it went."""
    events: list[Event] = []
    for old, new in sorted({(m.giver, m.taker) for m in moves if m.renamed}):
        what = ", ".join(" ".join(m.key) for m in moves if (m.giver, m.taker) == (old, new))
        text = f"{old} is {new} from now on, with {what}"
        for app in (new, old):
            events.append(Event(logs.APP_RENAMED, "info", app, text, {"from": old, "to": new}))
    for move in moves:
        if move.renamed:
            continue
        kind, name = move.key
        fields = {"kind": kind, "name": name, "from": move.giver, "to": move.taker}
        for app in (move.taker, move.giver):
            told = Event(logs.OBJECT_MOVED, "info", app, str(move), fields, move.service)
            events.append(told)
    return events


def of_roster(accepted: Accepted) -> list[Event]:
    events = [
        Event(
            logs.SPEC_ACCEPTED,
            "info",
            app,
            f"{accepted.entries[app].member.record.file}",
            {"generation": accepted.entries[app].record.generation},
        )
        for app in sorted(accepted.fresh)
        if any(row.app == app for row in accepted.rows)
    ]
    events += [
        Event(
            logs.REMOVAL_SCHEDULED,
            "warning",
            app,
            "no file asks for it any more: access is revoked after the grace; data stay unless its "
            f"deletionPolicy said otherwise (norn explain --remove {app})",
        )
        for app in sorted(accepted.leaving)
    ]
    return events
