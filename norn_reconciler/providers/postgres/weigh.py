"""How much is in an app's database, and who is at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.client import Session, bounded, logged_in
from norn_reconciler.providers.postgres.login import Trust

_TABLES_NAMED = 10
# The server keeps no time of last use. What it has are counters since they were last set to zero;
# norn's own logins are among the transactions.
_AMOUNTS = """
SELECT d.datname, d.oid::text,
       CASE WHEN has_database_privilege(d.oid, 'CONNECT')
              OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_database_size(d.oid) END,
       (SELECT count(*) FROM pg_stat_get_activity(NULL) a WHERE a.datid = d.oid),
       pg_stat_get_db_xact_commit(d.oid) + pg_stat_get_db_xact_rollback(d.oid),
       pg_stat_get_db_tuples_inserted(d.oid) + pg_stat_get_db_tuples_updated(d.oid)
         + pg_stat_get_db_tuples_deleted(d.oid),
       pg_stat_get_db_stat_reset_time(d.oid)
  FROM pg_database d WHERE d.datname = ANY (%s)
"""
# What ANALYZE found, or what was counted since: a table that is new was never analyzed.
_ROWS = """
SELECT n.nspname || '.' || c.relname, r.n, count(*) OVER (), (sum(r.n) OVER ())::bigint
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (SELECT greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0)) r (n)
 WHERE c.relkind IN ('r', 'm')
   AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
 ORDER BY 2 DESC, 1 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Amount:
    """One database as the admin sees it. size: bytes, None where the admin may not know. since:
    from when on transactions and written rows are counted; None: since it is there."""

    name: str
    id: str
    size: int | None
    sessions: int
    transactions: int
    written: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Estimates. largest: (table, rows)."""

    tables: int
    total: int
    largest: Sequence[tuple[str, int]]


async def amounts(session: Session, names: Sequence[str]) -> list[Amount]:
    cursor = await session.conn.execute(_AMOUNTS, [list(names)])
    return [Amount(*row) for row in await cursor.fetchall()]


async def rows(url: Secret, name: str, seconds: float, trust: Trust) -> Rows:
    """As the app: nothing of norn's admin runs among what an app has made. Raises the driver's
    errors."""

    async def ask() -> Sequence[Any]:
        async with logged_in(url, name, seconds, trust) as conn:
            return await (await conn.execute(_ROWS, [_TABLES_NAMED])).fetchall()

    found = await bounded(ask(), seconds)
    if not found:
        return Rows(0, 0, ())
    return Rows(found[0][2], found[0][3], [(str(table), int(n)) for table, n, *_ in found])
