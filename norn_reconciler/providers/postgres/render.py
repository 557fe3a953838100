"""Actions as SQL, with the driver's own quoting. Nothing is sent from here."""

from __future__ import annotations

from functools import singledispatch

from psycopg.sql import SQL, Composed, Identifier, Literal

from norn_reconciler.model.app import AppName
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import (
    AllowConnections,
    CreateDatabase,
    GrantOwner,
    LiftDatabaseLimit,
    ResetSetting,
    RetainDatabase,
    RevokeRight,
    SealDatabase,
    SetOwner,
    UnmarkTemplate,
)
from norn_reconciler.providers.postgres.reader_actions import (
    AdmitReader,
    CreateGroup,
    DismissReader,
    LetGroupConnect,
)
from norn_reconciler.providers.postgres.role_actions import (
    CommentRole,
    CreateRole,
    DisableLogin,
    EndSessions,
    JoinRole,
    RenameRole,
    RevokeMembership,
    SetAttribute,
    SetPassword,
    SetRoleSetting,
)
from norn_reconciler.providers.postgres.state import (
    OWNER_RIGHTS,
    PUBLIC,
    UNLIMITED,
    role_comment,
)

_WAIT_MS = 2000  # for each ended session to be gone


@singledispatch
def statements(action: PostgresAction, version: int, verifier: str) -> list[Composed]:
    """What `action` is on a server of that version, all of it fit for one transaction. verifier:
    the SCRAM verifier of its password, "" for actions without one."""
    raise TypeError(f"{type(action).__name__} is not done by statements of a transaction")


def create_database(action: CreateDatabase) -> Composed:
    """CREATE DATABASE runs alone, outside of any transaction. template0: template1 may be in use,
    and refuses after an OS upgrade changed a collation."""
    return SQL(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'"
        " STRATEGY wal_log ALLOW_CONNECTIONS false"
    ).format(Identifier(action.name), Identifier(action.owner))


def drop_database(name: str) -> Composed:
    return SQL("DROP DATABASE IF EXISTS {}").format(Identifier(name))


@statements.register
def _(action: CreateRole, version: int, verifier: str) -> list[Composed]:
    role = Identifier(action.name)
    made = SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}").format(
        role, Literal(action.connections), Literal(verifier)
    )
    witness = SQL("COMMENT ON ROLE {} IS {}").format(role, Literal(action.comment))
    if version >= 160000:  # createrole_self_grant did it
        return [made, witness]
    return [made, witness, SQL("GRANT {} TO CURRENT_USER").format(role)]


@statements.register
def _(action: CreateGroup, version: int, verifier: str) -> list[Composed]:
    role = Identifier(action.name)
    return [
        SQL("CREATE ROLE {} NOLOGIN").format(role),
        SQL("COMMENT ON ROLE {} IS {}").format(role, Literal(action.comment)),
    ]


@statements.register
def _(action: AdmitReader, version: int, verifier: str) -> list[Composed]:
    """Only while its role bears the witness: it may just have been refused to be made, and must
    not be somebody else's."""
    group, reader = Identifier(action.name), Identifier(action.reader)
    if version >= 160000:
        options = SQL(" WITH ADMIN FALSE, INHERIT TRUE, SET FALSE")
        grant = SQL("GRANT {} TO {}{}").format(group, reader, options)
    else:
        grant = SQL("GRANT {0} TO {1}; REVOKE ADMIN OPTION FOR {0} FROM {1}").format(group, reader)
    block = SQL(
        "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = {}"
        " AND pg_catalog.shobj_description(r.oid, 'pg_authid') = {}) THEN {}; END IF; END"
    ).format(Literal(action.reader), Literal(role_comment(AppName(action.reader))), grant)
    return [SQL("DO {}").format(Literal(block.as_string(None)))]


@statements.register
def _(action: RenameRole, version: int, verifier: str) -> list[Composed]:
    role = Identifier(action.name)
    return [
        SQL("ALTER ROLE {} RENAME TO {}").format(Identifier(action.was), role),
        SQL("COMMENT ON ROLE {} IS {}").format(role, Literal(action.comment)),
    ]


@statements.register
def _(action: JoinRole, version: int, verifier: str) -> list[Composed]:
    options = SQL(" WITH INHERIT TRUE, SET TRUE" if version >= 160000 else "")
    return [SQL("GRANT {} TO CURRENT_USER{}").format(Identifier(action.name), options)]


@statements.register
def _(action: SetAttribute, version: int, verifier: str) -> list[Composed]:
    # The clause is one of ours: a keyword, or a keyword with an integer.
    return [SQL("ALTER ROLE {} " + action.clause).format(Identifier(action.name))]


@statements.register
def _(action: SetPassword, version: int, verifier: str) -> list[Composed]:
    return [SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(action.name), Literal(verifier))]


@statements.register
def _(action: SetRoleSetting, version: int, verifier: str) -> list[Composed]:
    return [
        SQL("ALTER ROLE {} SET {} = {}").format(
            Identifier(action.name), Identifier(action.setting), Literal(action.value)
        )
    ]


@statements.register
def _(action: CommentRole, version: int, verifier: str) -> list[Composed]:
    return [
        SQL("COMMENT ON ROLE {} IS {}").format(Identifier(action.name), Literal(action.comment))
    ]


@statements.register
def _(action: DisableLogin, version: int, verifier: str) -> list[Composed]:
    """Its sessions go first: one that has just altered its own role would hold this up for as long
    as it likes. What it opens meanwhile is ended in a later phase."""
    disable = SQL("ALTER ROLE {} NOLOGIN").format(Identifier(action.name))
    return [*_end_sessions(action.name, ""), disable]


@statements.register
def _(action: EndSessions, version: int, verifier: str) -> list[Composed]:
    return _end_sessions(action.role, action.database or "")


def _end_sessions(role: str, database: str) -> list[Composed]:
    """All are told first, then each is waited for. database: "" is any."""
    of = SQL(
        "FROM pg_catalog.pg_stat_activity a WHERE a.usename = {role}"
        " AND ({database} = '' OR a.datname = {database})"
    ).format(role=Literal(role), database=Literal(database))
    return [
        SQL("SELECT count(pg_catalog.pg_terminate_backend(a.pid)) {}").format(of),
        SQL("SELECT count(pg_catalog.pg_terminate_backend(a.pid, {})) {}").format(
            Literal(_WAIT_MS), of
        ),
    ]


@statements.register
def _(action: RevokeMembership, version: int, verifier: str) -> list[Composed]:
    return [_revoke_membership(action.name, action.member, action.grantor, version)]


@statements.register
def _(action: DismissReader, version: int, verifier: str) -> list[Composed]:
    return [_revoke_membership(action.name, action.reader, action.grantor, version)]


def _revoke_membership(role: str, member: str, grantor: str, version: int) -> Composed:
    revoke = SQL("REVOKE {} FROM {}").format(Identifier(role), Identifier(member))
    if version >= 160000:  # else it means grants of our own only, and says nothing
        # What the member handed on goes with it: the server refuses else.
        revoke += SQL(" GRANTED BY {} CASCADE").format(Identifier(grantor))
    return revoke


@statements.register
def _(action: RevokeRight, version: int, verifier: str) -> list[Composed]:
    right, database = SQL(action.privilege), Identifier(action.name)
    if action.via is not None:
        revoke = SQL("REVOKE GRANT OPTION FOR {} ON DATABASE {} FROM {} CASCADE").format(
            right, database, Identifier(action.via)
        )
    else:
        grantee = SQL("PUBLIC") if action.grantee == PUBLIC else Identifier(action.grantee)
        revoke = SQL("REVOKE {} ON DATABASE {} FROM {} CASCADE").format(right, database, grantee)
    return _as_owner(action.owner, revoke)


@statements.register
def _(action: LetGroupConnect, version: int, verifier: str) -> list[Composed]:
    grant = SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
        Identifier(action.name), Identifier(action.group)
    )
    return _as_owner(action.owner, grant)


def _as_owner(owner: str, statement: Composed) -> list[Composed]:
    """Else the server would choose the grantor among all roles that the admin may act as."""
    as_owner = SQL("SET LOCAL ROLE {}").format(Identifier(owner))
    return [as_owner, statement, Composed([SQL("RESET ROLE")])]


@statements.register
def _(action: GrantOwner, version: int, verifier: str) -> list[Composed]:
    if action.privilege not in OWNER_RIGHTS:
        raise ValueError(f"{action.privilege} is no right on a database")
    return [
        SQL("GRANT {} ON DATABASE {} TO {}").format(
            SQL(action.privilege),
            Identifier(action.name),
            Identifier(action.owner),
        )
    ]


def _alter_database(name: str, clause: Composed | SQL) -> Composed:
    return SQL("ALTER DATABASE {} {}").format(Identifier(name), clause)


@statements.register
def _(action: SetOwner, version: int, verifier: str) -> list[Composed]:
    return [_alter_database(action.name, SQL("OWNER TO {}").format(Identifier(action.owner)))]


@statements.register
def _(action: SealDatabase, version: int, verifier: str) -> list[Composed]:
    return [
        SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(action.name)),
        _alter_database(action.name, SQL("ALLOW_CONNECTIONS true")),
    ]


@statements.register
def _(action: AllowConnections, version: int, verifier: str) -> list[Composed]:
    return [_alter_database(action.name, SQL("ALLOW_CONNECTIONS true"))]


@statements.register
def _(action: RetainDatabase, version: int, verifier: str) -> list[Composed]:
    return [_alter_database(action.name, SQL("ALLOW_CONNECTIONS false"))]


@statements.register
def _(action: LiftDatabaseLimit, version: int, verifier: str) -> list[Composed]:
    return [_alter_database(action.name, SQL("CONNECTION LIMIT {}").format(Literal(UNLIMITED)))]


@statements.register
def _(action: UnmarkTemplate, version: int, verifier: str) -> list[Composed]:
    return [_alter_database(action.name, SQL("IS_TEMPLATE false"))]


@statements.register
def _(action: ResetSetting, version: int, verifier: str) -> list[Composed]:
    # A dotted name is one of an extension: each part is an identifier of its own.
    return [
        _alter_database(action.name, SQL("RESET {}").format(Identifier(*action.setting.split("."))))
    ]
