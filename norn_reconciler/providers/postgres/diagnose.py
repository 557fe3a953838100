"""What `norn doctor` says of PostgreSQL. Reads, tries two logins, and what its admin has to do in a
transaction that is rolled back: changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.actions import quoted
from norn_reconciler.providers.postgres.client import OLDEST, Session, bounded, connect
from norn_reconciler.providers.postgres.endpoint import Endpoint
from norn_reconciler.providers.postgres.faults import message, translate

NEWEST = 18
_PUBLISHED = ("norn", "norn", "norn_db")  # user, password, database, as the manual prints them

_ME = """
SELECT current_user, r.rolsuper, r.rolcreatedb, r.rolcreaterole,
       has_parameter_privilege('temp_file_limit', 'SET'), current_setting('password_encryption')
  FROM pg_roles r WHERE r.rolname = current_user
"""
_OPEN = """
SELECT d.datname, d.datname = ANY(%s)
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
 WHERE d.datallowconn AND x.grantee = 0 AND x.privilege_type = 'CONNECT'
 ORDER BY 1
"""
# By its name alone: to_regprocedure() would ask for the right that is asked about.
_HBA_READABLE = """
SELECT has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE')
   AND has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')
"""
_TRUST = """
SELECT line_number, type, array_to_string(database, ','), array_to_string(user_name, ',')
  FROM pg_hba_file_rules WHERE auth_method = 'trust' ORDER BY 1
"""
_SHOWN = 10  # names in one finding
_MD5 = "SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'md5%' ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Facts:
    """version: e.g. 180004. open_databases: shared ones that PUBLIC may connect to; foreign_open:
    others. md5_roles: None where the admin may not see verifiers. trusted: (line, type, databases,
    users) of pg_hba.conf; None where the admin may not see it. refused: (what norn has to do, the
    server's word). unasked: (what was to be found out, why it was not)."""

    version: int
    admin: str
    superuser: bool
    createdb: bool
    createrole: bool
    limits_temp_files: bool
    password_encryption: str
    open_databases: tuple[str, ...]
    md5_roles: tuple[str, ...] | None
    foreign_open: tuple[str, ...] = ()
    trusted: tuple[tuple[int, str, str, str], ...] | None = ()
    refused: tuple[tuple[str, str], ...] = ()
    unasked: tuple[tuple[str, str], ...] = ()


async def read(session: Session, norn_databases: frozenset[str]) -> Facts:
    """Each question by itself: one that is refused hides nothing else. Raises psycopg.Error for
    what the admin is."""
    shared = sorted({"postgres", "template1"} | norn_databases)
    me = await (await session.conn.execute(_ME)).fetchall()
    admin, superuser, createdb, createrole, limits_temp_files, encryption = me[0]
    unasked: list[tuple[str, str]] = []

    async def ask(what: str, query: str, names: list[list[str]] | None = None) -> list[Any]:
        try:
            return await (await session.conn.execute(query, names)).fetchall()
        except psycopg.Error as fault:
            unasked.append((what, message(fault)))
            return []

    opened = await ask("which databases are open to every role", _OPEN, [shared])
    trusted = md5 = None
    hba = "which lines of pg_hba.conf trust"
    if (await ask(hba, _HBA_READABLE) or [(True,)])[0][0]:
        trusted = tuple(tuple(row) for row in await ask(hba, _TRUST))
    if session.authid_readable:
        md5 = tuple(row[0] for row in await ask("whose password is stored as MD5", _MD5))
    try:
        refused = await _refused(session) if superuser or createrole else ()
    except psycopg.Error as fault:
        refused = ()
        unasked.append((f"what {admin} may do", message(fault)))
    return Facts(
        session.version,
        admin,
        superuser,
        createdb,
        createrole,
        limits_temp_files,
        encryption,
        tuple(name for name, shared in opened if shared),
        md5,
        tuple(name for name, shared in opened if not shared),
        trusted,
        refused,
        tuple(dict.fromkeys(unasked)),
    )


async def _refused(session: Session) -> tuple[tuple[str, str], ...]:
    """What norn's admin has to do with every app's role, tried on one that never comes to be."""
    role = SQL("{}").format(Identifier(f"norn_doctor_{secrets.token_hex(6)}"))
    steps = [
        ("make a role", SQL("CREATE ROLE {} NOLOGIN CONNECTION LIMIT 1")),
        ("alter a role", SQL("ALTER ROLE {} LOGIN VALID UNTIL 'infinity'")),
        ("set a role's settings", SQL("ALTER ROLE {} SET statement_timeout = '1min'")),
        ("comment on a role", SQL("COMMENT ON ROLE {} IS 'norn doctor'")),
    ]
    if session.version < 160000:  # from 16 on, createrole_self_grant does it
        steps.append(("join a role", SQL("GRANT {} TO CURRENT_USER")))
    steps.append(("own for a role", SQL("SET LOCAL ROLE {}")))
    refused: list[tuple[str, str]] = []
    async with session.conn.transaction(force_rollback=True):
        for what, statement in steps:
            try:
                async with session.conn.transaction():
                    await session.conn.execute(statement.format(role))
            except psycopg.Error as fault:
                refused.append((what, message(fault)))
    return tuple(refused)


async def wrong_password_passes(url: Secret, name: str, seconds: float) -> bool:
    """Whether the server lets the admin in with a password that cannot be right: then no login
    proves anything."""
    return await _passes(url, name, seconds, password=secrets.token_urlsafe(32))


async def published_password_passes(
    endpoint: Endpoint, sslmode: str, name: str, seconds: float
) -> bool:
    user, password, database = _PUBLISHED
    url = endpoint.app_url(user, Secret(password), database, sslmode)
    return await _passes(url, name, seconds, **dict(endpoint.trust))


async def _passes(url: Secret, name: str, seconds: float, **more: str) -> bool:
    """Raises Unavailable when nobody answers."""

    async def attempt() -> None:
        conn = await connect(url, name, "", seconds=seconds, database="postgres", **more)
        await conn.close()

    try:
        await bounded(attempt(), seconds)
    except psycopg.Error as fault:
        if "FATAL:" in str(fault):
            return False  # it answered, and refused
        raise translate(fault) from fault
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    return True


def blocks(problem: Problem) -> bool:
    return problem.severity is Severity.BLOCKING


def judge(
    facts: Facts, *, wrong_password: bool | None, published_password: bool | None
) -> tuple[Problem, ...]:
    """Findings, the blocking ones first. None: nobody could tell. Pure."""
    found = [
        *_rights(facts),
        *_logins(facts, bool(wrong_password), bool(published_password)),
        *_not_checked(facts, wrong_password is None or published_password is None),
    ]
    return tuple(sorted(found, key=lambda problem: not blocks(problem)))


def _rights(facts: Facts) -> Iterator[Problem]:
    admin, major = quoted(facts.admin), facts.version // 10000
    if major > NEWEST:  # one that is too old is not talked to at all
        yield Problem(
            Severity.WARNING,
            "Version",
            f"PostgreSQL {major} was not tried with norn: {OLDEST} to {NEWEST} were",
        )
    for has, right in ((facts.createdb, "CREATEDB"), (facts.createrole, "CREATEROLE")):
        if not has and not facts.superuser:
            yield Problem(
                Severity.BLOCKING,
                "Denied",
                f"{facts.admin} lacks {right}",
                f"as a superuser: ALTER ROLE {admin} {right}",
            )
    if facts.superuser:
        yield Problem(
            Severity.WARNING,
            "Superuser",
            f"{facts.admin} is a superuser; norn needs CREATEDB and CREATEROLE only",
            "CREATE ROLE norn_admin LOGIN CREATEDB CREATEROLE; in psql \\password norn_admin, "
            "and name it in NORN_POSTGRES_URL",
        )
    elif facts.createrole and facts.version < 160000:
        yield Problem(
            Severity.WARNING,
            "CreateRole",
            f"before PostgreSQL 16 CREATEROLE makes {facts.admin} nearly a superuser: guard its "
            "password as one",
        )
    if not facts.limits_temp_files:
        yield Problem(
            Severity.WARNING,
            "TempFileLimit",
            "an app's queries may fill the disk with temporary files",
            f"as a superuser: GRANT SET ON PARAMETER temp_file_limit TO {admin}",
        )
    for what, word in facts.refused:
        yield Problem(
            Severity.BLOCKING,
            "Denied",
            f"{facts.admin} cannot {what}: {word}",
            f"as a superuser: ALTER ROLE {admin} CREATEROLE",
        )
    if facts.foreign_open:
        shown = facts.foreign_open[:_SHOWN]
        rest = len(facts.foreign_open) - len(shown)
        more = f" and {rest} more" if rest else ""
        yield Problem(
            Severity.WARNING,
            "ForeignPublicConnect",
            f"every role, apps' included, may connect to {', '.join(shown)}{more}: an app that can "
            "connect elsewhere can drop its own database",
            "as their owner: "
            + "; ".join(f"REVOKE CONNECT ON DATABASE {quoted(n)} FROM PUBLIC" for n in shown),
        )
    for name in facts.open_databases:
        grant = "" if name != "postgres" else f"; GRANT CONNECT ON DATABASE postgres TO {admin}"
        yield Problem(
            Severity.WARNING,
            "PublicConnect",
            f"every role may connect to database {name}, and from there drop its own database",
            f"as a superuser: REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC{grant}",
        )


def _logins(facts: Facts, wrong_password: bool, published_password: bool) -> Iterator[Problem]:
    if wrong_password:
        yield Problem(
            Severity.BLOCKING,
            "TrustAuthentication",
            "the server accepts a wrong password: anybody who reaches it is any app, or norn",
            "in pg_hba.conf, replace trust by scram-sha-256, then SELECT pg_reload_conf()",
        )
    elif published_password:
        yield Problem(
            Severity.WARNING,
            "PublishedPassword",
            "role norn has the password that the manual prints: whoever reaches the server can "
            "read and write deployments, forge_states and the like in norn_db",
            "if no other tool of Norn's logs in as norn: ALTER ROLE norn NOLOGIN",
        )
    for line, kind, databases, users in facts.trusted or ():
        local = kind == "local"
        yield Problem(
            Severity.WARNING,
            "TrustRule",
            f"line {line} of pg_hba.conf trusts {users} on {databases} without a password"
            + (", from the server's own host" if local else ""),
            f"replace trust by {'peer or ' if local else ''}scram-sha-256 there, then "
            "SELECT pg_reload_conf()",
        )
    if facts.password_encryption != "scram-sha-256":
        yield Problem(
            Severity.WARNING,
            "PasswordEncryption",
            f"password_encryption is {facts.password_encryption}: passwords that apps set for "
            "themselves are stored weakly",
            "as a superuser: ALTER SYSTEM SET password_encryption = 'scram-sha-256'",
        )
    for role in facts.md5_roles or ():
        yield Problem(
            Severity.WARNING,
            "Md5Password",
            f"the password of role {role} is stored as MD5",
            f"in psql: \\password {quoted(role)}",
        )


def _not_checked(facts: Facts, logins: bool) -> Iterator[Problem]:
    """What norn could not look at, and how to. Silence would read as if all were well."""
    admin = quoted(facts.admin)
    if facts.trusted is None:
        yield _unknown(
            f"{facts.admin} may not see pg_hba.conf: whether it trusts somebody is not known",
            f"as a superuser: GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {admin}; "
            f"GRANT SELECT ON pg_hba_file_rules TO {admin}",
        )
    if facts.md5_roles is None:
        yield _unknown(
            f"{facts.admin} may not see verifiers: whether one is stored as MD5 is not known",
            f"as a superuser: {_MD5}",
        )
    for what, why in facts.unasked:
        yield _unknown(f"{what} is not known: {why}", "")
    if logins:
        yield _unknown("the server did not answer a login that has to fail", "norn doctor, again")


def _unknown(message: str, remedy: str) -> Problem:
    return Problem(Severity.WARNING, "NotChecked", message, remedy)
