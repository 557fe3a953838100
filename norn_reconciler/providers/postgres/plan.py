"""What has to be done for one app on PostgreSQL: (wanted, observed) → actions, problems. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from norn_reconciler.model.plan import Plan, Problem, Wanted
from norn_reconciler.providers.postgres import problems, sharing
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import (
    AllowConnections,
    CreateDatabase,
    CreateExtension,
    DropInvalidDatabase,
    GrantOwner,
    HardenSchema,
    LiftDatabaseLimit,
    ResetSetting,
    RetainDatabase,
    RevokeRight,
    SealDatabase,
    SetOwner,
    UnmarkTemplate,
)
from norn_reconciler.providers.postgres.naming import in_place, left_behind
from norn_reconciler.providers.postgres.ownership import (
    Standing,
    database_standing,
    its_own,
    remembered,
    role_standing,
)
from norn_reconciler.providers.postgres.role_actions import (
    CommentRole,
    CreateRole,
    DisableLogin,
    DropPower,
    EndSessions,
    JoinRole,
    RevokeMembership,
    SetAttribute,
    SetPassword,
    SetRoleSetting,
)
from norn_reconciler.providers.postgres.state import (
    DATABASE,
    EXTENSION,
    HARDENED,
    OWNER_RIGHTS,
    PUBLIC,
    ROLE,
    TEMP_FILE_LIMIT,
    UNLIMITED,
    Database,
    Desired,
    Observed,
    Role,
    role_comment,
)


def plan(wanted: Wanted[Desired], observed: Observed) -> Plan[PostgresAction]:
    """Actions ordered by phase. Objects that are not norn's are reported and never acted upon."""
    renames, wanted, observed = in_place(wanted, observed)
    name = wanted.desired.database
    if name is None:
        actions, found = _removal(wanted, observed)
        actions = [*renames, *actions]
    else:
        actions, found = _provision(wanted, observed, name)
        actions = [*renames, *actions]
        found = [*problems.out_of_reach(actions, observed), *found]
    ordered = sorted(actions, key=lambda action: action.phase)  # stable: the order within a phase
    return Plan(tuple(ordered), tuple(found))


def _removal(
    wanted: Wanted[Desired], observed: Observed
) -> tuple[list[PostgresAction], list[Problem]]:
    """Access goes, data stays, and what is retained stays shut to others."""
    actions: list[PostgresAction] = []
    role = observed.role if role_standing(wanted, observed) is Standing.OURS else None
    if role is not None:
        if role.login:
            actions.append(DisableLogin(*_role(role)))
        if role.login or role.sessions:
            actions.append(EndSessions(*_role(role), role.name))
        actions += _shut_out_members(role)
    actions += sharing.shut_out(wanted, observed)
    for database in _retained(wanted, observed):
        actions += _shut_out(database, wanted.desired)
    if actions and role is not None and not role.usable:
        actions.append(_join(role, observed))
    return actions, []


def _provision(
    wanted: Wanted[Desired], observed: Observed, name: str
) -> tuple[list[PostgresAction], list[Problem]]:
    role, database = observed.role, observed.databases.get(name)
    role_is, database_is = role_standing(wanted, observed), database_standing(wanted, observed)
    found = problems.of(wanted, observed, role_is, database_is)
    actions: list[PostgresAction] = []
    if role_is is Standing.FOREIGN:
        return actions, found
    if role is not None:
        actions += _mend_role(wanted, observed, role)
    elif database_is in (Standing.ABSENT, Standing.OURS):
        # With its data gone, this may be the wrong server altogether: make nothing on it.
        actions += _create_role(wanted, observed)
    if role is not None or actions:
        actions += _database(wanted, database, database_is, name)
        if database_is in (Standing.ABSENT, Standing.LEFTOVER):
            actions += sharing.let_in(wanted, observed, name, None)
        elif database_is is Standing.OURS:
            actions += sharing.let_in(wanted, observed, name, database)
        actions += sharing.shut_out(wanted, observed)
        actions += _retain(wanted, observed)
    return actions, found


def _role(role: Role) -> tuple[str, str]:
    return (ROLE, role.name)


def _join(role: Role, observed: Observed) -> JoinRole:
    return JoinRole(*_role(role), observed.server.admin, observed.server.version)


def _create_role(wanted: Wanted[Desired], observed: Observed) -> Iterator[PostgresAction]:
    desired, server = wanted.desired, observed.server
    key = (ROLE, desired.role)
    yield CreateRole(*key, desired.connections, desired.credential, role_comment(wanted.app))
    if desired.temp_file_limit is not None and server.limits_temp_files:
        yield SetRoleSetting(*key, TEMP_FILE_LIMIT, desired.temp_file_limit)


def _mend_role(wanted: Wanted[Desired], observed: Observed, role: Role) -> Iterator[PostgresAction]:
    desired, server, key = wanted.desired, observed.server, _role(role)
    yield from _shut_out_members(role)
    for power in role.powers:
        yield DropPower(*key, f"NO{power}", power)
    if not role.inherit:
        yield SetAttribute(*key, "INHERIT", "NOINHERIT")
    if not role.login:
        yield SetAttribute(*key, "LOGIN", "NOLOGIN")
    if role.expires is not None:
        yield SetAttribute(*key, "VALID UNTIL 'infinity'", f"VALID UNTIL '{role.expires}'")
    if role.connection_limit != desired.connections:
        yield SetAttribute(
            *key,
            f"CONNECTION LIMIT {desired.connections}",
            f"CONNECTION LIMIT {role.connection_limit}",
        )
    if wanted.keeps_password(key):
        pass
    elif wanted.applied != desired.credential.mark:
        yield SetPassword(*key, desired.credential, "not recorded as set")
    elif role.password is False:
        yield SetPassword(*key, desired.credential, "another password")
    if not role.usable:
        yield _join(role, observed)
    limit = role.settings.get(TEMP_FILE_LIMIT)
    if (
        desired.temp_file_limit is not None
        and server.limits_temp_files
        and limit != desired.temp_file_limit
    ):
        yield SetRoleSetting(*key, TEMP_FILE_LIMIT, desired.temp_file_limit, limit)
    if role.comment != role_comment(wanted.app):
        yield CommentRole(*key, role_comment(wanted.app), role.comment)


def _shut_out_members(role: Role) -> Iterator[PostgresAction]:
    for member in sorted(role.members):
        if member.other_is_app:
            yield RevokeMembership(*_role(role), member.member, member.grantor)
    yield from sharing.leave(role)


def _database(
    wanted: Wanted[Desired], database: Database | None, standing: Standing, name: str
) -> Iterator[PostgresAction]:
    desired = wanted.desired
    key = (DATABASE, name)
    settings: Mapping[str, str] = {}
    if standing in (Standing.ABSENT, Standing.LEFTOVER):
        if database is not None:
            yield DropInvalidDatabase(*key, database.oid)
        yield CreateDatabase(*key, desired.role)
        yield SealDatabase(*key)
    elif standing is Standing.OURS and database is not None:
        yield from _mend_database(database, desired)
        row = wanted.owned.get(key)
        settings = row.settings if row is not None else {}
    else:
        return
    if not wanted.keeps_password((ROLE, desired.role)):  # else nobody can log in to do it
        yield from _inside(desired, key, settings)


def _inside(
    desired: Desired, key: tuple[str, str], settings: Mapping[str, str]
) -> Iterator[PostgresAction]:
    """What norn has not done in this database yet. It never looks whether it is still so: the
    database is its owner's."""
    if HARDENED not in settings:
        yield HardenSchema(*key, desired.role, desired.credential)
    for extension in desired.extensions:
        if EXTENSION + extension not in settings:
            yield CreateExtension(*key, desired.role, desired.credential, extension)


def _mend_database(database: Database, desired: Desired) -> Iterator[PostgresAction]:
    key, owner = (DATABASE, database.name), desired.role
    if database.owner != owner:
        yield SetOwner(*key, owner, database.owner)
    yield from _shut_out(database, desired)
    if database.is_template:
        yield UnmarkTemplate(*key)
    for setting, value in sorted(database.settings.items()):
        yield ResetSetting(*key, setting, value)
    if database.connection_limit != UNLIMITED:
        yield LiftDatabaseLimit(*key, database.connection_limit)
    # The old owner's rights pass to the new one with the ownership.
    for privilege in OWNER_RIGHTS:
        if privilege not in database.owner_rights:
            yield GrantOwner(*key, owner, privilege)
    if not database.allow_connections:
        yield AllowConnections(*key)


def _shut_out(database: Database, desired: Desired) -> Iterator[PostgresAction]:
    """PUBLIC and other norn apps have no right on an app's database, whoever granted it. The group
    of its readers has CONNECT: without members that lets nobody in."""
    owner = desired.role
    handed_on: set[tuple[str, str]] = set()  # all that one role handed on goes in one statement
    for grant in sorted(database.grants):
        if grant.grantee == desired.group and grant.privilege == "CONNECT":
            continue
        if grant.grantee == PUBLIC or (grant.ours and grant.grantee != owner):
            via = grant.grantor if grant.grantor != database.owner else None
            if via is not None:
                if (via, grant.privilege) in handed_on:
                    continue
                handed_on.add((via, grant.privilege))
            yield RevokeRight(DATABASE, database.name, owner, grant.grantee, grant.privilege, via)


def _retained(wanted: Wanted[Desired], observed: Observed) -> Iterator[Database]:
    """Databases that norn owns a row of, that are still the same ones, and not asked for now."""
    for held in left_behind(wanted):
        database = observed.databases.get(held.name)
        if database is None:
            continue
        if held.server_id is None and not its_own(wanted, observed, database):
            continue
        if held.server_id in (None, str(database.oid)) and not database.invalid:
            yield database


def _retain(wanted: Wanted[Desired], observed: Observed) -> Iterator[PostgresAction]:
    role = wanted.desired.role
    for database in _retained(wanted, observed):
        key = (DATABASE, database.name)
        if database.allow_connections:
            yield RetainDatabase(*key)
        if database.allow_connections or database.sessions.get(role):
            yield EndSessions(*key, role, database.name)
        for reader in sorted({*wanted.desired.readers, *remembered(wanted)}):
            if database.sessions.get(reader):
                yield EndSessions(*key, reader, database.name)
        yield from _shut_out(database, wanted.desired)
