"""Data on their way out: what they are called, and what their inventory rows say of it. Rows are
HeldState.RETAINED, as all that no spec asks for, and go when their grace is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from norn_reconciler.model.app import App, Deletion
from norn_reconciler.model.inventory import Held, HeldState, Owned

AT = "trash.at"  # keys in Held.settings: since when, as ISO 8601 in UTC
FROM = "trash.from"  # what it was called before
COPY = "trash.copy"  # and the snapshot that was made of it since nobody can change it any more
BESIDE = "restore.beside"  # what a restore made beside that database: nobody's data, and no loss
FORMER = "renamed.from"  # what one in use was called before: its spec may mean it by that
POLICY = "trash.policy"  # what its spec had said of its end when it was shut; else it stays
CONDITION = "TornDown"  # its type: what becomes of an app's data, and what stands in the way
IN_TRASH = "InTrash"  # its reason while something is
_KEYS = frozenset({AT, FROM, COPY, POLICY})
_MOST = 63  # bytes of a name, as PostgreSQL has it


def named(name: str, at: datetime) -> str:
    """`mail_db.trash.20260131T080000`: when it was thrown away, in UTC. A long name is cut."""
    suffix = f".trash.{at.astimezone(UTC):%Y%m%dT%H%M%S}"
    kept = name.encode()[: _MOST - len(suffix)].decode(errors="ignore")
    return kept + suffix


def since(held: Held) -> datetime | None:
    """When it was thrown away; None when it was not."""
    said = held.settings.get(AT)
    return datetime.fromisoformat(said) if said else None


def told(held: Iterable[Owned]) -> str:
    """What is in the trash, for people; "" where nothing is."""
    thrown = [
        f"{row.kind} {row.name}, thrown away {at:%Y-%m-%d %H:%M:%SZ}"
        for owned in held
        for row in owned.values()
        if (at := since(row)) is not None
    ]
    return f"in the trash: {'; '.join(sorted(thrown))}" if thrown else ""


def returned(held: Held) -> Held:
    """The row of one that is wanted again, under the name that it had."""
    name = held.settings.get(FROM, held.name)
    return _plain(replace(held, name=name))


def asked(app: App, service: str, held: Held, owned: Owned) -> bool:
    """Whether the app's spec asks for it: by its name, by the one that the spec says it had, or by
    one that it had, which it gets back unless another has that by now, and stays. owned: the app's
    rows there."""
    section = app.sections.get(service)
    if section is None:
        return False
    names = section.held(app.name, held)
    for before in (returned(held), replace(held, name=held.settings.get(FORMER, held.name))):
        if before.key not in owned:
            names |= section.held(app.name, before)
    return not names.isdisjoint(section.claims(app.name) | section.formerly(app.name))


def renamed(held: Held, was: str, name: str) -> Held:
    """The row of one that was put aside under `was`, which is called `name` by now."""
    if held.settings.get(FROM) != was:
        return held
    return replace(held, settings={**held.settings, FROM: name})


def successor(held: Held, id: str) -> Held:
    """The row of what takes the place of `held`: by its names, and nothing was done to it yet."""
    settings = {FORMER: held.settings[FORMER]} if FORMER in held.settings else {}
    return Held(held.kind, held.name, HeldState.OWNED, held.origin, id, settings)


def _plain(held: Held) -> Held:
    kept = {key: value for key, value in held.settings.items() if key not in _KEYS}
    return held if kept == held.settings else replace(held, settings=kept)


def going(owned: Owned) -> bool:
    """Whether some of these are on their way out."""
    return any(held.settings.keys() & {AT, POLICY} for held in owned.values())


def policy(held: Held) -> Deletion:
    return Deletion(held.settings.get(POLICY, Deletion.RETAIN))


def noted(before: Owned, after: Owned, word: Deletion) -> Owned:
    """`after`, where each row that is retained from now on keeps `word`, which held until now: what
    is said later is said of other objects. What is wanted again has nothing of the kind."""
    return {key: _noted(before.get(key), held, word) for key, held in after.items()}


def _noted(before: Held | None, held: Held, word: Deletion) -> Held:
    if held.state is not HeldState.RETAINED:
        return _plain(held)
    if (before is not None and before.state is HeldState.RETAINED) or word is Deletion.RETAIN:
        return held
    return replace(held, settings={**held.settings, POLICY: word.value})


def settings(name: str, at: datetime) -> dict[str, str]:
    """What the row of a database that was called `name` says from then on."""
    return {AT: at.astimezone(UTC).isoformat(timespec="seconds"), FROM: name}
