"""Whose an object is, and the inventory rows that follow from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from norn_reconciler.model.inventory import Held, Owned
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.state import (
    DATABASE,
    GROUP,
    READER,
    ROLE,
    Database,
    Desired,
    Observed,
    Role,
    role_comment,
)


class Standing(Enum):
    """ABSENT: not there, and norn never had it. OURS: there, and norn's to act upon. FOREIGN:
    there, and somebody else's. LEFTOVER: what an interrupted DROP left of it. MISSING: norn had it,
    and it is gone with its data. REPLACED: norn had it, and another stands in its place. AWAITED:
    not there, and its data are to come with the name that it had, which can't be."""

    ABSENT = auto()
    OURS = auto()
    FOREIGN = auto()
    LEFTOVER = auto()
    MISSING = auto()
    REPLACED = auto()
    AWAITED = auto()


def held_databases(owned: Owned) -> Iterator[Held]:
    return (owned[key] for key in sorted(owned) if key[0] == DATABASE)


def rename_source(wanted: Wanted[Desired]) -> str | None:
    """What the database that the spec names is still to be renamed from; None where it has its
    name, so that nothing is looked for under the other: it may be anybody's by now."""
    return None if known(wanted) else wanted.desired.renamed_from


def known(wanted: Wanted[Desired]) -> bool:
    """Whether the app was seen to have the database that its spec names."""
    row = wanted.owned.get((DATABASE, wanted.desired.database or ""))
    return row is not None and row.server_id is not None


def role_standing(wanted: Wanted[Desired], observed: Observed) -> Standing:
    """A role holds no data, so one that vanished is simply absent.

    Of a claim only the comment tells that norn made the role: it is set in the same transaction.
    """
    return _standing_of(observed.role, ROLE, wanted)


def group_standing(wanted: Wanted[Desired], observed: Observed) -> Standing:
    """By the same rule."""
    return _standing_of(observed.group, GROUP, wanted)


def _standing_of(role: Role | None, kind: str, wanted: Wanted[Desired]) -> Standing:
    if role is None:
        return Standing.ABSENT
    row = wanted.owned.get((kind, role.name))
    if row is None:
        return Standing.FOREIGN
    if row.server_id == str(role.oid) or role.comment == role_comment(wanted.app):
        return Standing.OURS
    return Standing.FOREIGN


def database_standing(wanted: Wanted[Desired], observed: Observed) -> Standing:
    """Of the database that the spec names. Decided by the recorded OID, else by the owner."""
    name = wanted.desired.database or ""
    row, database = wanted.owned.get((DATABASE, name)), observed.databases.get(name)
    if database is None and known(wanted):
        return Standing.MISSING
    source = rename_source(wanted) or ""
    before = wanted.owned.get((DATABASE, source))
    owed = before is not None and before.server_id is not None
    if database is None:
        return Standing.AWAITED if owed or source in observed.databases else Standing.ABSENT
    if row is not None and known(wanted):
        if row.server_id != str(database.oid):
            return Standing.REPLACED
        return Standing.MISSING if database.invalid else Standing.OURS
    if not its_own(wanted, observed, database):
        return Standing.FOREIGN
    if database.invalid:
        return Standing.AWAITED if owed else Standing.LEFTOVER
    return Standing.FOREIGN if row is None else Standing.OURS


def remembered(wanted: Wanted[Desired]) -> frozenset[str]:
    """Readers that were let in, until they are seen to be out."""
    row = wanted.owned.get((GROUP, wanted.desired.group))
    keys = row.settings if row is not None else ()
    return frozenset(k.removeprefix(READER) for k in keys if k.startswith(READER))


def its_own(wanted: Wanted[Desired], observed: Observed, database: Database) -> bool:
    """Whether a database of no known OID is the app's, by its owner."""
    ours = role_standing(wanted, observed) is Standing.OURS
    return database.owner == wanted.desired.role and ours
