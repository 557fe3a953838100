"""The users and the database that norn works with, on a server of ours or on a shared one."""

from __future__ import annotations

import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
from psycopg import sql

from infra.process import StackError

ADMIN = "norn_admin"
OLDEST = 150000
# libpq's own idea of where sockets are differs from Debian's.
LOCAL = "postgresql:///postgres?host=/var/run/postgresql,/tmp"


def bootstrap(superuser_url: str, admin_password: str) -> None:
    """All of it, on a server of our own. Idempotent."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        _records(conn)
        _admin(conn, admin_password)
        # An owner who can connect to any other database can drop its own: PUBLIC stays out.
        conn.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
        conn.execute(f"GRANT CONNECT ON DATABASE postgres TO {ADMIN}")
        conn.execute(f"GRANT SET ON PARAMETER temp_file_limit TO {ADMIN}")
        if conn.info.server_version >= 160000:
            conn.execute(f"GRANT pg_use_reserved_connections TO {ADMIN}")


def share(superuser_url: str | None, known: str | None, *, renew: bool) -> tuple[str, str, str]:
    """The two users and norn_db on a server that others use too; nothing else is changed.

    superuser_url: None is the local socket, for root as the user postgres. known: norn_admin's
    password as the settings have it. renew: give a norn_admin of unknown password a new one.
    Returns host, port and norn_admin's password. Raises StackError.
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
        exists = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ADMIN,)).fetchone()
        if exists and not renew:
            if known is None or not _lets_in(host, port, known):
                raise StackError(
                    f"{ADMIN} exists, and its password is not in norn.toml. Somebody else may use "
                    "it: bring that norn.toml here, or type `make db RENEW=--renew` for a new one"
                )
            return host, port, known
        password = secrets.token_urlsafe(24)
        _admin(conn, password)
        return host, port, password


_ADVICE = (
    "set NORN_POSTGRES_SUPERUSER_URL=postgresql://postgres:…@host:5432/postgres, "
    "or type `make infra` for a server of your own"
)


@contextmanager
def _superuser(url: str | None) -> Iterator[psycopg.Connection]:
    """By the local socket root is nobody to PostgreSQL; the user postgres is its superuser."""
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
            conn = psycopg.connect(where, autocommit=True, connect_timeout=10)
        finally:
            if become is not None:
                os.seteuid(0)
    except psycopg.OperationalError as fault:
        first = str(fault).strip().splitlines()[0]
        raise StackError(f"no PostgreSQL to work on: {first}\n{_ADVICE}") from fault
    with conn:
        yield conn


def _records(conn: psycopg.Connection) -> None:
    """Where norn keeps its records: user norn, whose password is published, and norn_db."""
    if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'norn'").fetchone():
        verifier = sql.Literal(_verifier(conn, "norn", "norn"))
        conn.execute(sql.SQL("CREATE ROLE norn LOGIN PASSWORD {}").format(verifier))
    if not conn.execute("SELECT 1 FROM pg_database WHERE datname = 'norn_db'").fetchone():
        conn.execute("CREATE DATABASE norn_db OWNER norn")
    conn.execute("REVOKE ALL ON DATABASE norn_db FROM PUBLIC")


def _admin(conn: psycopg.Connection, password: str) -> None:
    verb = "CREATE"
    if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ADMIN,)).fetchone():
        verb = "ALTER"
    conn.execute(
        sql.SQL(verb + " ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}").format(
            sql.Identifier(ADMIN), sql.Literal(_verifier(conn, ADMIN, password))
        )
    )


def _lets_in(host: str, port: str, password: str) -> bool:
    url = f"postgresql://{ADMIN}:{quote(password, safe='')}@{host}:{port}/postgres"
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _verifier(conn: psycopg.Connection, user: str, password: str) -> str:
    """Computed here, so that no clear password reaches the server's log."""
    made = conn.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
    return made.decode()
