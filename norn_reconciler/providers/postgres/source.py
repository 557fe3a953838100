"""An app's database as a client program is to reach it, and whether its app can read all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from norn_reconciler.model.errors import Rejected
from norn_reconciler.model.secret import Secret
from norn_reconciler.model.snapshots import Source
from norn_reconciler.model.text import printable
from norn_reconciler.providers.postgres.client import bounded, logged_in
from norn_reconciler.providers.postgres.faults import translate
from norn_reconciler.providers.postgres.login import Trust
from norn_reconciler.providers.postgres.state import SERVICE

_MOST_NAMED = 10
_LONG = 3600.0  # seconds to read some of each table
# A database's owner may set any of these for its role or its database; what is given at the login
# wins. pg_dump sets more of them itself, but not before its first statements.
_SETTINGS = (
    "search_path=pg_catalog",
    "role=none",
    "default_transaction_read_only=off",
    "statement_timeout=0",
    "lock_timeout=0",
    "idle_session_timeout=0",
    "idle_in_transaction_session_timeout=0",
    "row_security=off",
    "standard_conforming_strings=on",
)
_LATER_SETTINGS = ("transaction_timeout=0",)  # 17 and newer; an older server refuses the name
# libpq's parameter → its variable.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
}
_RELATIONS = """
SELECT n.nspname, c.relname, c.oid::text, c.relkind IN ('r', 'p')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
# pg_dump locks each table and reads each sequence; what an extension made it makes again by itself.
_UNREADABLE = """
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relkind::text,
       CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'schema'
            WHEN c.relkind = 'S' AND NOT has_sequence_privilege(c.oid, 'SELECT') THEN 'grant'
            WHEN c.relkind <> 'S' AND NOT has_table_privilege(c.oid, 'SELECT') THEN 'grant'
            ELSE 'rows' END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'S')
   AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
   AND (NOT has_schema_privilege(n.oid, 'USAGE')
        OR CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT')
                          ELSE NOT has_table_privilege(c.oid, 'SELECT')
                               OR row_security_active(c.oid) END)
 ORDER BY 1, 2
"""


async def source(url: Secret, name: str, seconds: float, trust: Trust) -> Source:
    """url: of the app, with its own password. name: application_name. Raises ServiceError."""

    async def ask() -> tuple[int, str, Sequence[Any]]:
        async with logged_in(url, name, seconds, trust) as conn:
            row = await (await conn.execute("SHOW server_encoding")).fetchone()
            unreadable = await (await conn.execute(_UNREADABLE)).fetchall()
            return conn.info.server_version, str(row[0]) if row else "UTF8", unreadable

    try:
        version, encoding, unreadable = await bounded(ask(), seconds)
    except (psycopg.Error, TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    if unreadable:
        raise Rejected(SERVICE, _refusal(unreadable))
    return replace(unlooked(url, name, version, trust), encoding=encoding)


def unlooked(url: Secret, name: str, version: int, trust: Trust) -> Source:
    """As `source`, without a look at what is there."""
    given = conninfo_to_dict(url.reveal(), **dict(trust))
    password = Secret(str(given.pop("password", "")))
    return Source(version, "UTF8", environment(given, name, version), password)


async def relations(
    url: Secret, name: str, seconds: float, trust: Trust
) -> Mapping[tuple[str, ...], str]:
    """(schema, name) → OID. Raises ServiceError."""

    async def ask() -> Mapping[tuple[str, ...], str]:
        async with logged_in(url, name, seconds, trust) as conn:
            rows = await (await conn.execute(_RELATIONS)).fetchall()
            return {(schema, relation): oid for schema, relation, oid, _ in rows}

    try:
        return await bounded(ask(), seconds)
    except (psycopg.Error, TimeoutError, OSError) as fault:
        raise translate(fault) from fault


async def tables(url: Secret, name: str, seconds: float, trust: Trust) -> int:
    """How many the app has there; each has been read for the planner's statistics, which no dump
    holds. Raises ServiceError."""

    async def ask() -> int:
        async with logged_in(url, name, seconds, trust) as conn:
            await conn.execute("SET statement_timeout = 0")
            await conn.execute("ANALYZE")
            rows = await (await conn.execute(_RELATIONS)).fetchall()
            return sum(table for _, _, _, table in rows)

    try:
        return await bounded(ask(), _LONG)
    except (psycopg.Error, TimeoutError, OSError) as fault:
        raise translate(fault) from fault


def environment(given: Mapping[str, object], name: str, version: int) -> Mapping[str, str]:
    """libpq's variables for a login as `given` says, without the password."""
    settings = (*_SETTINGS, *(_LATER_SETTINGS if version >= 170000 else ()))
    return {
        **{_VARIABLES[key]: str(value) for key, value in given.items() if key in _VARIABLES},
        "PGAPPNAME": name,
        "PGCONNECT_TIMEOUT": "30",
        "PGOPTIONS": " ".join(f"-c {setting}" for setting in settings),
    }


def _refusal(rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    """What a copy would lack, and who can change that."""
    told = []
    for schema, relation, owner, kind, why in rows[:_MOST_NAMED]:
        what = "sequence" if kind == "S" else "table"
        place = printable(f"{schema}.{relation}")
        if why == "rows":
            told.append(
                f"row-level security of table {place} also holds for the app (ALTER TABLE {place} "
                f"NO FORCE ROW LEVEL SECURITY, or it belongs to {printable(owner)})"
            )
        elif why == "schema":
            told.append(f"{what} {place} is in a schema that the app may not use")
        else:
            told.append(
                f"{what} {place} belongs to {printable(owner)}, and the app may not read it"
            )
    more = f"; and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    return f"a copy would not be whole: {'; '.join(told)}{more}"
