"""Whose an object is, and the inventory rows that follow from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto

from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import CreateExtension, HardenSchema
from norn_reconciler.providers.postgres.state import (
    BOOTSTRAP_OID,
    DATABASE,
    EXTENSION,
    HARDENED,
    HARDENED_VALUE,
    ROLE,
    Desired,
    Observed,
    Role,
    role_comment,
)


class Standing(Enum):
    """ABSENT: not there, and norn never had it. OURS: there, and norn's to act upon. FOREIGN:
    there, and somebody else's. LEFTOVER: what an interrupted DROP left of it. MISSING: norn had it,
    and it is gone with its data. REPLACED: norn had it, and another stands in its place."""

    ABSENT = auto()
    OURS = auto()
    FOREIGN = auto()
    LEFTOVER = auto()
    MISSING = auto()
    REPLACED = auto()


def held_databases(owned: Owned) -> Iterator[Held]:
    return (owned[key] for key in sorted(owned) if key[0] == DATABASE)


def role_standing(wanted: Wanted[Desired], observed: Observed) -> Standing:
    """A role holds no data, so one that vanished is simply absent.

    Of a claim only the comment tells that norn made the role: it is set in the same transaction.
    """
    role = observed.role
    if role is None:
        return Standing.ABSENT
    row = wanted.owned.get((ROLE, role.name))
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
    if database is None:
        return Standing.MISSING if known else Standing.ABSENT
    if row is not None and known:
        if row.server_id != str(database.oid):
            return Standing.REPLACED
        return Standing.MISSING if database.invalid else Standing.OURS
    its_own = database.owner == wanted.desired.role and (
        role_standing(wanted, observed) is Standing.OURS
    )
    if not its_own:
        return Standing.FOREIGN
    if database.invalid:
        return Standing.LEFTOVER
    return Standing.FOREIGN if row is None else Standing.OURS


def confirm(
    wanted: Wanted[Desired], observed: Observed, done: Sequence[PostgresAction]
) -> dict[tuple[str, str], Held]:
    """The rows as they should be now. See Provider.confirm."""
    rows: dict[tuple[str, str], Held] = {}
    inside = {action.name: _inside(action.name, done) for action in done}
    for key, row in wanted.owned.items():
        seen = (
            _role_row(wanted, observed, row)
            if row.kind == ROLE
            else (_database_row(wanted, observed, row, inside.get(row.name, {})))
        )
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


def _database_row(
    wanted: Wanted[Desired], observed: Observed, row: Held, inside: Mapping[str, str]
) -> Held | None:
    database, name = observed.databases.get(row.name), wanted.desired.database
    gone = name is None and _access_gone(observed.role)
    if database is None:
        # The row outlives the database only where a person has to learn of the loss.
        elsewhere = observed.by_oid(row.server_id) is not None
        return row if elsewhere or name == row.name or (name is None and not gone) else None
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
    database = observed.databases.get(name)
    if (
        database is not None
        and not database.invalid
        and database_standing(wanted, observed) in (Standing.FOREIGN, Standing.REPLACED)
    ):
        rows[DATABASE, name] = _adopted(DATABASE, name, database.oid)
    return rows


def _adopted(kind: str, name: str, oid: int) -> Held:
    return Held(kind, name, HeldState.OWNED, Origin.ADOPTED, str(oid))
