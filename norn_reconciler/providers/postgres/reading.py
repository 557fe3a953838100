"""What is done and tried inside a database that other apps read: opened as its owner, looked at as
its owner, tried as a reader.

As a reader nothing is ever read from the owner's tables: a view, a policy or an index of theirs may
call the owner's code, which would run with the reader's rights and could take its role over.
"""

from __future__ import annotations

import asyncio
import time

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from norn_reconciler.providers.postgres.client import Connection

_PROMISES = (("USAGE", "SCHEMAS"), ("SELECT", "TABLES"), ("SELECT", "SEQUENCES"))
_AT_ONCE = 500  # relations in one GRANT
_PAUSE = 0.05  # seconds

# Of the owner's own, what was not granted yet. What an extension made as the superuser is not its
# to share.
_SCHEMAS = """
SELECT n.nspname
  FROM pg_namespace n
 WHERE NOT starts_with(n.nspname::text, 'pg_') AND n.nspname <> 'information_schema'
   AND pg_has_role(n.nspowner, 'USAGE')
   AND (SELECT oid FROM pg_roles WHERE rolname = %s) NOT IN
       (SELECT x.grantee FROM aclexplode(n.nspacl) x WHERE x.privilege_type = 'USAGE')
"""
_RELATIONS = """
SELECT n.nspname, c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND NOT starts_with(n.nspname::text, 'pg_') AND n.nspname <> 'information_schema'
   AND pg_has_role(c.relowner, 'USAGE')
   AND (SELECT oid FROM pg_roles WHERE rolname = %s) NOT IN
       (SELECT x.grantee FROM aclexplode(c.relacl) x WHERE x.privilege_type = 'SELECT')
"""
_STILL_OPEN = """
SELECT 1 FROM pg_stat_activity
 WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
   AND backend_xid IS NOT NULL AND xact_start < %s
"""


async def open_to(conn: Connection, group: str, patience: float) -> None:
    """As the owner: schemas, tables and sequences are the group's to read, and those to come are
    promised to it. The promise is the sign that all before it was done: who is ended earlier goes
    on where it was. Then once more for what was just being made, in transactions that began
    before. patience: seconds to wait for those."""
    await _grant_what_lacks(conn, group)
    async with conn.transaction():
        for privilege, kind in _PROMISES:
            statement = f"ALTER DEFAULT PRIVILEGES GRANT {privilege} ON {kind} TO {{}}"
            await conn.execute(SQL(statement).format(Identifier(group)))
    promised_at = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if await (await conn.execute(_STILL_OPEN, promised_at)).fetchone() is None:
            break
        await asyncio.sleep(_PAUSE)
    await _grant_what_lacks(conn, group)


async def _grant_what_lacks(conn: Connection, group: str) -> None:
    for what, lacking in (("USAGE ON SCHEMA", _SCHEMAS), ("SELECT ON", _RELATIONS)):
        names = await (await conn.execute(lacking, [group])).fetchall()
        await _grant(conn, what, [Identifier(*name) for name in names], group)


async def _grant(conn: Connection, what: str, names: list[Identifier], group: str) -> None:
    for start in range(0, len(names), _AT_ONCE):
        listed = SQL(", ").join(names[start : start + _AT_ONCE])
        await conn.execute(SQL(f"GRANT {what} {{}} TO {{}}").format(listed, Identifier(group)))


# Also what PUBLIC may: with readers inside, PUBLIC is somebody.
_WRITABLE = """
WITH g AS (SELECT oid FROM pg_roles WHERE rolname = %s),
     own AS (SELECT n.oid, n.nspname FROM pg_namespace n
              WHERE NOT starts_with(n.nspname::text, 'pg_') AND n.nspname <> 'information_schema')
SELECT format('schema %%I', own.nspname)
  FROM g, own WHERE has_schema_privilege(g.oid, own.oid, 'CREATE')
UNION ALL
SELECT format('%%I.%%I', own.nspname, c.relname)
  FROM g, own JOIN pg_class c ON c.relnamespace = own.oid
 WHERE has_schema_privilege(g.oid, own.oid, 'USAGE')
   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(g.oid, c.oid, 'USAGE, UPDATE')
            WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
            THEN has_table_privilege(g.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                 OR has_any_column_privilege(g.oid, c.oid, 'INSERT, UPDATE') END
LIMIT 1
"""


async def writable(conn: Connection, group: str) -> str:
    """As the owner: something that the group may write, "" when there is nothing."""
    row = await (await conn.execute(_WRITABLE, [group])).fetchone()
    return str(row[0]) if row else ""


_AS_READER = """
SELECT g.rolname
  FROM pg_database d
  JOIN pg_roles o ON o.oid = d.datdba
  JOIN pg_roles g ON g.rolname = o.rolname || '.readers'
 WHERE d.datname = %s AND pg_has_role(g.oid, 'USAGE')
"""


async def as_reader(conn: Connection, database: str) -> str:
    """As an app, anywhere: the group of `database`'s readers, where one is in it."""
    row = await (await conn.execute(_AS_READER, [database])).fetchone()
    return str(row[0]) if row else ""


_WRITES: tuple[tuple[str, Composed | SQL], ...] = (
    ("make temporary tables", SQL("CREATE TEMPORARY TABLE norn_proof ()")),
    ("make schemas", SQL("CREATE SCHEMA norn_proof")),
)


async def writes(conn: Connection) -> str:
    """As a reader: what of a write the database lets it do, "" when it refuses all."""
    for what, statement in _WRITES:
        try:
            async with conn.transaction(force_rollback=True):
                await conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
        return what
    return ""
