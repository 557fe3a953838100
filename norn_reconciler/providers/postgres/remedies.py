"""What to type where the admin lacks a right. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from norn_reconciler.providers.postgres.actions import PostgresAction, quoted
from norn_reconciler.providers.postgres.database_actions import (
    CreateDatabase,
    CreateExtension,
    HardenSchema,
)
from norn_reconciler.providers.postgres.reader_actions import (
    CreateGroup,
    DismissReader,
    OpenToReaders,
)
from norn_reconciler.providers.postgres.role_actions import (
    CreateRole,
    DropPower,
    RenameRole,
    RevokeMembership,
)
from norn_reconciler.providers.postgres.state import DATABASE


def remedy(
    action: PostgresAction, admin: str, version: int, plan: Iterable[PostgresAction] = ()
) -> str:
    """The statement for a superuser that lets norn go on, or that does the thing itself. plan: what
    else was to be done for the app; it tells which powers its role has."""
    match action:
        case CreateRole() | CreateGroup():
            what = f"ALTER ROLE {quoted(admin)} CREATEROLE"
        case CreateDatabase():
            what = f"ALTER ROLE {quoted(admin)} CREATEDB; {_join(action.owner, admin, version)}"
        case CreateExtension():
            name = quoted(action.extension)
            return (
                f"an extension that is not trusted, or not installed, takes a superuser, in "
                f"database {quoted(action.name)}: CREATE EXTENSION {name}"
            )
        case HardenSchema() | OpenToReaders():
            what = f"GRANT CONNECT ON DATABASE {quoted(action.name)} TO {quoted(action.owner)}"
        case RenameRole():
            what = take_over(action.was, admin, version)
        case RevokeMembership() | DismissReader() | DropPower():
            what = action.summary()
        case _ if action.kind == DATABASE:
            what = action.summary()
        case _:
            powers = (a.was for a in plan if isinstance(a, DropPower) and a.name == action.name)
            what = take_over(action.name, admin, version, powers)
    return f"as a superuser: {what}"


def take_over(role: str, admin: str, version: int, powers: Iterable[str] = ()) -> str:
    """What lets the admin alter a role that it did not make. powers: those that the role has."""
    only_superusers = {"SUPERUSER"} if version >= 160000 else {"SUPERUSER", "REPLICATION"}
    hurdles = [f"NO{power}" for power in powers if power in only_superusers]
    if not hurdles:
        return _join(role, admin, version)
    demote = f"ALTER ROLE {quoted(role)} {' '.join(hurdles)}"
    # Before 16, CREATEROLE rules every role that has none of these powers.
    return f"{demote}; {_join(role, admin, version)}" if version >= 160000 else demote


def _join(role: str, admin: str, version: int) -> str:
    """From 16 on, CREATEROLE rules only the roles that it made: others need ADMIN on them, and SET
    to make databases for them."""
    if version >= 160000:
        options = "WITH ADMIN TRUE, INHERIT TRUE, SET TRUE"
        return f"GRANT {quoted(role)} TO {quoted(admin)} {options}"
    return f"GRANT {quoted(role)} TO {quoted(admin)}; ALTER ROLE {quoted(admin)} CREATEROLE"
