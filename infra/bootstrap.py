"""The users and the database that norn works with, on a server of ours or on a shared one."""

from __future__ import annotations

import os
import pwd
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from psycopg import sql

from infra.process import StackError

ADMIN = "norn_admin"
KEEPER = "norn_keeper"  # keeps norn's own records; norn's password is published, its is not
OLDEST = 150000
# libpq's own idea of where sockets are differs from Debian's.
LOCAL = "postgresql:///postgres?host=/var/run/postgresql,/tmp"


def bootstrap(superuser_url: str, admin_password: str, keeper_password: str) -> None:
    """All of it, on a server of our own. Idempotent."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        _records(conn)
        _keeper(conn, keeper_password)
        _admin(conn, admin_password)
        with psycopg.connect(superuser_url, autocommit=True, **_INSIDE) as inside:
            _take_over(inside)
        # An owner who can connect to any other database can drop its own: PUBLIC stays out.
        conn.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
        conn.execute(f"GRANT CONNECT ON DATABASE postgres TO {ADMIN}")
        conn.execute(f"GRANT SET ON PARAMETER temp_file_limit TO {ADMIN}")
        if conn.info.server_version >= 160000:
            conn.execute(f"GRANT pg_use_reserved_connections TO {ADMIN}")


@dataclass(frozen=True, slots=True)
class Shared:
    """Where the server is, and how norn gets in."""

    host: str
    port: str
    admin_password: str
    keeper_password: str


def share(superuser_url: str | None, known: Mapping[str, str | None], *, renew: bool) -> Shared:
    """The users and norn_db on a server that others use too; nothing else is changed.

    superuser_url: None is the local socket, for root as the user postgres. known: passwords of
    norn_admin and norn_keeper as the settings have them. renew: give both a new one. Raises
    StackError.
    """
    with _superuser(superuser_url) as conn:
        row = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        if row is None or not row[0]:
            raise StackError(f"{conn.info.user} is no superuser of this server; {_ADVICE}")
        if conn.info.server_version < OLDEST:
            raise StackError(f"PostgreSQL 15 or newer is needed, not {conn.info.server_version}")
        _records(conn)
        socket = conn.info.host.startswith("/")
        host, port = "127.0.0.1" if socket else conn.info.host, str(conn.info.port)
        passwords: dict[str, str] = {}
        for role, database in ((ADMIN, "postgres"), (KEEPER, "norn_db")):
            if not _exists(conn, role) or renew:
                continue
            held = known.get(role)
            if held is None or not _lets_in(role, host, port, held, database):
                raise StackError(
                    f"{role} exists, and its password is not in norn.toml. Somebody else may use "
                    "it: bring that norn.toml here, or type `make db RENEW=--renew` for a new one"
                )
            passwords[role] = held
        # Only now: a password that is set and then not written down would be lost.
        for role, make in ((ADMIN, _admin), (KEEPER, _keeper)):
            if role not in passwords:
                passwords[role] = secrets.token_urlsafe(24)
                make(conn, passwords[role])
        with _superuser(superuser_url, **_INSIDE) as inside:
            _take_over(inside)
        return Shared(host, port, passwords[ADMIN], passwords[KEEPER])


_ADVICE = (
    "set NORN_POSTGRES_SUPERUSER_URL=postgresql://postgres:…@host:5432/postgres, "
    "or type `make infra` for a server of your own"
)


@contextmanager
def _superuser(url: str | None, **more: str) -> Iterator[psycopg.Connection]:
    """By the local socket root is nobody to PostgreSQL; the user postgres is its superuser. more:
    of libpq's parameters."""
    become = None
    if url is None and os.geteuid() == 0:
        try:
            become = pwd.getpwnam("postgres")
        except KeyError:
            raise StackError(f"there is no PostgreSQL on this machine; {_ADVICE}") from None
    try:
        if become is not None:
            os.seteuid(become.pw_uid)
        try:
            where = url or (f"{LOCAL}&user=postgres" if become else LOCAL)
            conn = psycopg.connect(where, autocommit=True, connect_timeout=10, **more)
        finally:
            if become is not None:
                os.seteuid(0)
    except psycopg.OperationalError as fault:
        first = str(fault).strip().splitlines()[0]
        raise StackError(f"no PostgreSQL to work on: {first}\n{_ADVICE}") from fault
    with conn:
        yield conn


def _records(conn: psycopg.Connection) -> None:
    """norn_db, and user norn, whose password is published and who owns it."""
    if not _exists(conn, "norn"):
        verifier = sql.Literal(_verifier(conn, "norn", "norn"))
        conn.execute(sql.SQL("CREATE ROLE norn LOGIN PASSWORD {}").format(verifier))
    if not conn.execute("SELECT 1 FROM pg_database WHERE datname = 'norn_db'").fetchone():
        conn.execute("CREATE DATABASE norn_db OWNER norn")
    conn.execute("REVOKE ALL ON DATABASE norn_db FROM PUBLIC")


def _keeper(conn: psycopg.Connection, password: str) -> None:
    """May do what norn may; what it makes itself, norn's records of whose what is, is its own."""
    _login(conn, KEEPER, "LOGIN", password)
    conn.execute(f"GRANT norn TO {KEEPER}")


# norn_db is norn's, who may have set what holds there at a login.
_INSIDE = {"dbname": "norn_db", "options": "-c search_path=pg_catalog -c role=none"}


def _take_over(inside: psycopg.Connection) -> None:
    """Of an earlier norn-reconciler, which made its records as norn."""
    for (statement,) in inside.execute(_TAKE_OVER, {"keeper": KEEPER}).fetchall():
        inside.execute(statement)


_TAKE_OVER = """
SELECT format('ALTER SCHEMA reconciler OWNER TO %%I', %(keeper)s::text)
  FROM pg_namespace WHERE nspname = 'reconciler' AND pg_get_userbyid(nspowner) = 'norn'
UNION ALL
SELECT format('ALTER TABLE reconciler.%%I OWNER TO %%I', c.relname, %(keeper)s::text)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'reconciler' AND c.relkind = 'r' AND pg_get_userbyid(c.relowner) = 'norn'
"""


def _admin(conn: psycopg.Connection, password: str) -> None:
    _login(conn, ADMIN, "LOGIN CREATEDB CREATEROLE", password)


def _login(conn: psycopg.Connection, role: str, attributes: str, password: str) -> None:
    verb = "ALTER" if _exists(conn, role) else "CREATE"
    conn.execute(
        sql.SQL(f"{verb} ROLE {{}} {attributes} PASSWORD {{}}").format(
            sql.Identifier(role), sql.Literal(_verifier(conn, role, password))
        )
    )


def _exists(conn: psycopg.Connection, role: str) -> bool:
    found = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
    return found.fetchone() is not None


def _lets_in(role: str, host: str, port: str, password: str, database: str) -> bool:
    url = f"postgresql://{role}:{quote(password, safe='')}@{host}:{port}/{database}"
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _verifier(conn: psycopg.Connection, user: str, password: str) -> str:
    """Computed here, so that no clear password reaches the server's log."""
    made = conn.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
    return made.decode()
