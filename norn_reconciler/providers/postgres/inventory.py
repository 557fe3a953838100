"""The rows that follow from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import CreateExtension, HardenSchema
from norn_reconciler.providers.postgres.naming import recorded
from norn_reconciler.providers.postgres.ownership import (
    Standing,
    database_standing,
    group_standing,
    remembered,
    rename_source,
    role_standing,
)
from norn_reconciler.providers.postgres.state import (
    BOOTSTRAP_OID,
    DATABASE,
    EXTENSION,
    GROUP,
    HARDENED,
    HARDENED_VALUE,
    READER,
    ROLE,
    Desired,
    Observed,
    Role,
    role_comment,
)


def confirm(
    wanted: Wanted[Desired], observed: Observed, done: Sequence[PostgresAction]
) -> dict[tuple[str, str], Held]:
    """The rows as they should be now. See Provider.confirm."""
    wanted = recorded(wanted, observed)
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
    if row.name != wanted.desired.role:
        return row if ROLE in observed.former else None
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
    if row.name != wanted.desired.group:
        return row if GROUP in observed.former else None
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
        awaited = database_standing(wanted, observed) is Standing.AWAITED
        asked = row.name in (name, rename_source(wanted) if awaited else name)
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
        if ROLE in observed.former:
            return rows  # what is inside is owned by that one, which is to have the name
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
