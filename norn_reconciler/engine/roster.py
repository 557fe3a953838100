"""What is wanted right now, in memory: each app's effective spec, its generation, and from when on
removals may run. Moves only after norn_db has taken the same change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from norn_reconciler.engine.guard import Hold
from norn_reconciler.engine.status import READY, REMOVED
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.fleet import Fleet, Folder, Member
from norn_reconciler.model.records import AppRecord, AppState

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Entry:
    """One app in force.

    app: what the lanes converge to (no sections once it is to be removed). removals_from: monotonic
    seconds; NEVER while a hold stands. leaving: no file asks for it. held: no file asks for it, and
    its removal waits for a person: the guard's word.
    """

    app: App
    record: AppRecord
    member: Member
    removals_from: float
    leaving: bool = False
    held: str = ""

    @property
    def provisioned(self) -> bool:
        return not self.member.core


def same_wish(one: Entry, other: Entry) -> bool:
    """Whether the same is wanted of the app: its record may have been written meanwhile."""
    return (
        one.app == other.app
        and one.leaving == other.leaving
        and one.removals_from == other.removals_from
        and one.record.generation == other.record.generation
        and one.record.paused == other.record.paused
    )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The difference a fleet makes: rows to write first, then `entries` to put in force."""

    entries: Mapping[AppName, Entry]
    rows: tuple[AppRecord, ...]
    dirty: frozenset[AppName]
    fresh: frozenset[AppName]
    leaving: frozenset[AppName]


def accept(
    before: Mapping[AppName, Entry],
    records: Mapping[AppName, AppRecord],
    fleet: Fleet,
    hold: Hold | None,
    now: float,
    grace: float,
) -> Accepted:
    """The roster after `fleet`. Pure. now, grace: seconds.

    A generation moves with the canonical spec. A removal waits `grace` from the moment its cause
    was first seen. While a hold stands nothing is removed: what was on its way out stays as it is,
    half removed or not, and what vanished since goes on as it was."""
    entries: dict[AppName, Entry] = {}
    rows: list[AppRecord] = []
    fresh: set[AppName] = set()
    retold: set[AppName] = set()  # the same is wanted, and there is something else to say of it
    formers = {m.taker: records.get(m.giver) for m in fleet.moves if m.renamed}
    for name, member in fleet.members.items():
        known, former = records.get(name), formers.get(name)
        entry, row = _present(before.get(name), known, member, now + grace, former)
        if hold is not None:
            entry = replace(entry, removals_from=NEVER)
        elif entry.removals_from == NEVER:
            entry = replace(entry, removals_from=now + grace)
        entries[name] = entry
        if row is not None:
            rows.append(row)
        old = before.get(name)
        # What others let it read is no part of its own spec, and moves no generation.
        if old is None or row is not None or old.leaving or old.app != entry.app:
            fresh.add(name)
        elif old.held or old.member.rejected != member.rejected:
            retold.add(name)
    leaving: set[AppName] = set()
    for name, member in fleet.vanished.items():
        old = before.get(name)
        record = old.record if old else records[name]
        was_leaving = old.leaving if old else _said_to_leave(record)
        if hold is not None:
            app = App(name, {}) if was_leaving else member.app
            entries[name] = Entry(
                app, record, member, NEVER, leaving=was_leaving, held=hold.message
            )
            if old is None or old.held != hold.message:
                retold.add(name)
            continue
        since = old.removals_from if old and old.leaving else now + grace
        if since == NEVER:
            since = now + grace
        entries[name] = Entry(App(name, {}), record, member, since, leaving=True)
        if not was_leaving:
            leaving.add(name)
        elif old is None or old.held:
            retold.add(name)
    moving = {app for move in fleet.moves for app in (move.giver, move.taker)}
    dirty = fresh | leaving | retold | moving | _released(before, entries)
    return Accepted(entries, tuple(rows), frozenset(dirty), frozenset(fresh), frozenset(leaving))


def _present(
    old: Entry | None,
    record: AppRecord | None,
    member: Member,
    removals_from: float,
    former: AppRecord | None,
) -> tuple[Entry, AppRecord | None]:
    """former: of what it was called before, if it is renamed now. Whoever paused that meant what it
    has."""
    known = old.record if old else record
    if known is None:
        paused = former is not None and former.paused
        new = AppRecord(member.app.name, member.record, generation=1, paused=paused)
        return Entry(member.app, new, member, removals_from), new
    if known.spec.canonical != member.record.canonical:
        new = replace(
            known,
            spec=member.record,
            generation=known.generation + 1,
            state=AppState.ACTIVE,
            removal_confirmed=None,
            pinned=None,
        )
        return Entry(member.app, new, member, removals_from), new
    since = old.removals_from if old and not old.leaving else removals_from
    back = known.state is not AppState.ACTIVE or known.removal_confirmed is not None
    if back or known.spec != member.record:
        new = replace(known, spec=member.record, state=AppState.ACTIVE, removal_confirmed=None)
        return Entry(member.app, new, member, since), new
    return Entry(member.app, known, member, since), None


def _said_to_leave(record: AppRecord) -> bool:
    """Whether an earlier process had begun to remove it."""
    ready = record.conditions.get(READY)
    return ready is not None and ready.reason == REMOVED


def _released(before: Mapping[AppName, Entry], after: Mapping[AppName, Entry]) -> set[AppName]:
    """Apps whose removals were held and now have a date."""
    return {
        name
        for name, entry in after.items()
        if name in before and before[name].removals_from == NEVER != entry.removals_from
    }


def retained(records: Mapping[AppName, AppRecord]) -> Iterable[AppName]:
    """Apps that norn knows only by what they left behind."""
    return (name for name, r in records.items() if r.state is AppState.REMOVED)


def confirmed(records: Mapping[AppName, AppRecord]) -> Mapping[AppName, Folder]:
    """App → the folder as it was when a person confirmed its removal."""
    said = {name: r.removal_confirmed for name, r in records.items()}
    return {name: Folder(folder) for name, folder in said.items() if folder is not None}
