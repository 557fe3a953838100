"""Whose an object is, and the inventory rows that follow from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto

from norn_reconciler.model import trash
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import CreateExtension, HardenSchema
from norn_reconciler.providers.postgres.state import (
    BOOTSTRAP_OID,
    DATABASE,
    EXTENSION,
    GROUP,
    HARDENED,
    HARDENED_VALUE,
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
    name = wanted.desired.database
    return None if (DATABASE, name) in wanted.owned else wanted.desired.renamed_from


def left_behind(wanted: Wanted[Desired]) -> Iterator[Held]:
    """Rows of databases that the spec asks for neither by their name nor by a new one."""
    kept = {wanted.desired.database, rename_source(wanted)}
    return (row for row in held_databases(wanted.owned) if row.name not in kept)


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
    known = row is not None and row.server_id is not None
    if database is None and known:
        return Standing.MISSING
    if database is None:
        source = rename_source(wanted) or ""
        before = wanted.owned.get((DATABASE, source))
        lost = before is not None and before.server_id is not None
        return Standing.AWAITED if lost or source in observed.databases else Standing.ABSENT
    if row is not None and known:
        if row.server_id != str(database.oid):
            return Standing.REPLACED
        return Standing.MISSING if database.invalid else Standing.OURS
    if not its_own(wanted, observed, database):
        return Standing.FOREIGN
    if database.invalid:
        return Standing.LEFTOVER
    return Standing.FOREIGN if row is None else Standing.OURS


def wanted_back(wanted: Wanted[Desired], observed: Observed) -> Held | None:
    """The row of the database that is to have the name in the spec, where nothing else has it: the
    one that the spec says it was, or one that was called so before, in use or in the trash."""
    name = wanted.desired.database
    if name is None or (DATABASE, name) in wanted.owned:
        return None
    rows = [
        (rank, row.settings.get(trash.AT, ""), row.name)
        for row in held_databases(wanted.owned)
        if (rank := _rank(row, name, wanted.desired.renamed_from))
        and (there := located(wanted, observed, row)) is not None
        and (there.name == name or name not in observed.databases)
    ]
    return wanted.owned[DATABASE, max(rows)[2]] if rows else None


def located(wanted: Wanted[Desired], observed: Observed, row: Held) -> Database | None:
    """The database that a row is about, whatever it is called by now."""
    if row.server_id is not None:
        there = observed.by_oid(row.server_id)
    else:
        there = observed.databases.get(row.name)
        there = there if there is not None and its_own(wanted, observed, there) else None
    return None if there is None or there.invalid else there


def _rank(row: Held, name: str, source: str | None) -> int:
    """How well a row answers to `name`, 0 where it does not: what the spec says before what norn
    remembers, and data in use before those that were thrown away (the latest of them)."""
    thrown = row.settings.get(trash.FROM)
    if thrown is not None:
        return 2 if thrown == name else int(thrown == source)
    return 4 if row.name == source else 3 * (row.settings.get(trash.FORMER) == name)


def returned(wanted: Wanted[Desired], observed: Observed) -> Wanted[Desired]:
    """With its row under its own name, as it is once it is called so. What it was called before is
    kept: a spec that goes back to that name means these data, and what was put aside under it goes
    with them."""
    row = wanted_back(wanted, observed)
    if row is None:
        return wanted
    back = trash.returned(row)
    name, was = wanted.desired.database or "", back.name
    if was != name:
        back = replace(back, name=name, settings={**back.settings, trash.FORMER: was})
    others = (held for held in wanted.owned.values() if held.key != row.key)
    rows = {held.key: trash.renamed(held, was, name) for held in others}
    return replace(wanted, owned={**rows, back.key: back})


def remembered(wanted: Wanted[Desired]) -> frozenset[str]:
    """Readers that were let in, until they are seen to be out."""
    row = wanted.owned.get((GROUP, wanted.desired.group))
    keys = row.settings if row is not None else ()
    return frozenset(k.removeprefix(READER) for k in keys if k.startswith(READER))


def its_own(wanted: Wanted[Desired], observed: Observed, database: Database) -> bool:
    """Whether a database of no known OID is the app's, by its owner."""
    ours = role_standing(wanted, observed) is Standing.OURS
    return database.owner == wanted.desired.role and ours


def confirm(
    wanted: Wanted[Desired], observed: Observed, done: Sequence[PostgresAction]
) -> dict[tuple[str, str], Held]:
    """The rows as they should be now. See Provider.confirm."""
    row = wanted_back(wanted, observed)
    if row is not None and observed.databases.get(wanted.desired.database or "") is not None:
        wanted = returned(wanted, observed)
    rows: dict[tuple[str, str], Held] = {}
    inside = {action.name: _inside(action.name, done) for action in done}
    for key, row in wanted.owned.items():
        if row.kind == ROLE:
            seen = _role_row(wanted, observed, row)
        elif row.kind == GROUP:
            seen = _group_row(wanted, observed, row)
        else:
            seen = _database_row(wanted, observed, row, inside.get(row.name, {}))
        if seen is not None:
            rows[key] = seen
    return rows


def _access_gone(role: Role | None) -> bool:
    return role is None or not (role.login or role.sessions)


def _role_row(wanted: Wanted[Desired], observed: Observed, row: Held) -> Held | None:
    role, leaving = observed.role, wanted.desired.database is None
    if role is None:
        return None if leaving else row
    if role_standing(wanted, observed) is not Standing.OURS:
        return row
    state = row.state if leaving else HeldState.OWNED
    if leaving and _access_gone(role):
        state = HeldState.RETAINED
    elif leaving and row.state is HeldState.CLAIMED:
        state = HeldState.OWNED
    return replace(row, state=state, server_id=str(role.oid))


def _group_row(wanted: Wanted[Desired], observed: Observed, row: Held) -> Held | None:
    """Remembers who was let in for as long as he may still be inside: a spec that no longer names
    him says nothing of him, and somebody else whom nobody let in is another matter."""
    group, readers = observed.group, wanted.desired.readers
    if group is None:
        return row if readers else None
    if group_standing(wanted, observed) is not Standing.OURS:
        return row
    members = {member.member for member in group.members if member.other_is_app}
    inside = {r for d in observed.databases.values() for r, count in d.sessions.items() if count}
    before = remembered(wanted)
    known = (members & (before | set(readers))) | (inside & before)
    state = row.state if row.state is not HeldState.CLAIMED else HeldState.OWNED
    if readers:
        state = HeldState.OWNED
    elif not members and not known:
        state = HeldState.RETAINED
    settings = {READER + reader: "admitted" for reader in sorted(known)}
    return replace(row, state=state, server_id=str(group.oid), settings=settings)


def _database_row(
    wanted: Wanted[Desired], observed: Observed, row: Held, inside: Mapping[str, str]
) -> Held | None:
    database, name = observed.databases.get(row.name), wanted.desired.database
    gone = name is None and _access_gone(observed.role)
    if database is None:
        # The row outlives the database only where a person has to learn of the loss.
        elsewhere = observed.by_oid(row.server_id) is not None
        asked = row.name in (name, rename_source(wanted))
        return row if elsewhere or asked or (name is None and not gone) else None
    same = row.server_id == str(database.oid)
    claimed = row.server_id is None and database.owner == wanted.desired.role
    if not (same or claimed) or database.invalid:
        return row
    state = HeldState.OWNED if row.state is HeldState.CLAIMED else row.state
    if name == row.name:
        state = HeldState.OWNED
    elif gone or (name is not None and not database.allow_connections):
        state = HeldState.RETAINED
    settings = {**row.settings, **inside}
    return replace(row, state=state, server_id=str(database.oid), settings=settings)


def _inside(database: str, done: Sequence[PostgresAction]) -> Mapping[str, str]:
    """What was done inside a database, as its row remembers it: norn does not look there."""
    settings: dict[str, str] = {}
    for action in done:
        if isinstance(action, HardenSchema) and action.name == database:
            settings[HARDENED] = HARDENED_VALUE
        elif isinstance(action, CreateExtension) and action.name == database:
            settings[EXTENSION + action.extension] = "made"
    return settings


def adoptable(wanted: Wanted[Desired], observed: Observed) -> dict[tuple[str, str], Held]:
    """Rows for what the spec names, exists, and is not norn's."""
    name, role = wanted.desired.database, observed.role
    rows: dict[tuple[str, str], Held] = {}
    if name is None:
        return rows
    if role is not None and role.oid == BOOTSTRAP_OID:
        return rows  # nor its database: an app can't own it
    if role is not None and role_standing(wanted, observed) is Standing.FOREIGN:
        rows[ROLE, role.name] = _adopted(ROLE, role.name, role.oid)
    group = observed.group
    if (
        group is not None
        and _witnessed(wanted, group)  # of a norn whose records are lost
        and group_standing(wanted, observed) is Standing.FOREIGN
    ):
        rows[GROUP, group.name] = _adopted(GROUP, group.name, group.oid)
    database = observed.databases.get(name)
    if (
        database is not None
        and not database.invalid
        and database_standing(wanted, observed) in (Standing.FOREIGN, Standing.REPLACED)
    ):
        rows[DATABASE, name] = _adopted(DATABASE, name, database.oid)
    return rows


def recoverable(wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
    """See Provider.recoverable. The comment on the role is the witness: a role cannot set its own;
    a database has none but the role that owns it."""
    name, role = wanted.desired.database, observed.role
    rows: dict[tuple[str, str], Held] = {}
    if name is None or (role is not None and role.oid == BOOTSTRAP_OID):
        return rows
    group = observed.group
    if group is not None and (GROUP, group.name) not in wanted.owned and _witnessed(wanted, group):
        rows[GROUP, group.name] = _adopted(GROUP, group.name, group.oid)
    if role is None:
        return rows
    ours = role_standing(wanted, observed) is Standing.OURS
    if (ROLE, role.name) not in wanted.owned and (proven or _witnessed(wanted, role)):
        row, ours = _adopted(ROLE, role.name, role.oid), True
        rows[row.key] = replace(row, origin=Origin.MADE) if proven else row
    database = observed.databases.get(name)
    if (
        ours
        and database is not None
        and not database.invalid
        and database.owner == role.name
        and (DATABASE, name) not in wanted.owned
    ):
        rows[DATABASE, name] = _adopted(DATABASE, name, database.oid)
    return rows


def _witnessed(wanted: Wanted[Desired], role: Role) -> bool:
    """By its comment: no role can set its own."""
    return role.comment == role_comment(wanted.app)


def _adopted(kind: str, name: str, oid: int) -> Held:
    return Held(kind, name, HeldState.OWNED, Origin.ADOPTED, str(oid))
