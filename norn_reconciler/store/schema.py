"""Bring norn_db's schema up to date. Blocking: for `norn db upgrade` and for a start, in a thread.

alembic keeps the order and the version table (reconciler.alembic_version); the migrations
themselves are SQL. It is imported only when something is to be done.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import psycopg

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import queries
from norn_reconciler.store.database import conninfo, session_name
from norn_reconciler.store.faults import translate, translated
from norn_reconciler.store.revisions import HEAD, REVISIONS, verdict

LOCK = 7215_3301_0001  # pg_advisory_xact_lock: one upgrade at a time; any constant would do
_STATEMENT_SECONDS = 60.0  # a migration may wait for another, or for a long query of a reader


def head() -> str:
    """The newest revision that this program knows."""
    return HEAD


def current(url: Secret, *, request_timeout: float = 10.0) -> str | None:
    """norn_db's revision, None when it has no schema of ours. Raises StoreUnavailable."""
    with translated(), psycopg.connect(_conninfo(url, request_timeout), autocommit=True) as conn:
        return _revision(conn)


def upgrade(url: Secret, *, request_timeout: float = 10.0) -> str:
    """Apply what is missing, in one transaction: all of it or nothing. Returns the revision.

    Two at a time are safe: the second waits, then finds nothing to do. Raises SchemaMismatch when
    norn_db's schema is newer than this program, StoreUnavailable, and NornError with the server's
    words when it refuses.
    """
    found = current(url, request_timeout=request_timeout)
    if found is not None and found not in REVISIONS:
        verdict(found)
    if found != HEAD:
        _run(url)
    return HEAD


def _run(url: Secret) -> None:
    from alembic import command  # noqa: PLC0415 -- 0.3 s that only an upgrade should pay
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    dsn = _conninfo(url, _STATEMENT_SECONDS)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool
    )
    config = Config()
    try:
        with as_file(files("norn_reconciler.store") / "migrations") as folder:
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            with engine.begin() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS reconciler")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except DBAPIError as fault:
        raise translate(fault.orig or fault) from fault
    except (psycopg.Error, OSError) as fault:
        raise translate(fault) from fault
    finally:
        engine.dispose()


def _revision(conn: psycopg.Connection) -> str | None:
    if conn.execute("SELECT to_regclass('reconciler.alembic_version')").fetchone() == (None,):
        return None
    rows = conn.execute(queries.REVISION).fetchall()
    if len(rows) > 1:
        raise NornError("reconciler.alembic_version holds several revisions: restore norn_db")
    return str(rows[0][0]) if rows else None


def _conninfo(url: Secret, timeout: float) -> str:
    return conninfo(url, session_name("schema"), timeout)
