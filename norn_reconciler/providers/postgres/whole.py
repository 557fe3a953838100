"""Whole databases, for long work: made beside, swapped, renamed, dropped. As the admin, and from
the database `postgres`: what is inside of one is its owner's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from norn_reconciler.model.databases import Seen
from norn_reconciler.model.errors import Rejected
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.client import Connection, connect
from norn_reconciler.providers.postgres.faults import translate
from norn_reconciler.providers.postgres.state import SERVICE

_LONG = 600.0  # seconds: dropping a large one unlinks each of its files
_TRIES = 20  # looks at whether its sessions are gone
_PAUSE = 0.25  # seconds between two of them
_SEEN = """
SELECT d.datname, d.oid::text, pg_get_userbyid(d.datdba), pg_database_size(d.oid),
       (SELECT count(*) FROM pg_stat_get_activity(NULL) a WHERE a.datid = d.oid)::int,
       d.datallowconn
  FROM pg_database d WHERE d.datname = %s
"""
_INSIDE = """
SELECT a.pid, coalesce(r.rolname, '?')
  FROM pg_stat_get_activity(NULL) a LEFT JOIN pg_roles r ON r.oid = a.usesysid
 WHERE a.datid = ANY (%s::oid[]) AND a.usesysid IS NOT NULL
"""
# What no end of a session ends. A slot would go with the database, and keep the server's log.
_HELD = """
SELECT (SELECT count(*)::int FROM pg_prepared_xacts WHERE database = ANY (%(names)s)),
       ARRAY(SELECT slot_name::text FROM pg_replication_slots
              WHERE database = ANY (%(names)s) ORDER BY 1)
"""


_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


class WholeDatabases:
    """Implements model.databases.Databases. url: the admin's. name: application_name. seconds: for
    one request that is not long."""

    def __init__(self, url: Secret, name: str, seconds: float) -> None:
        self._url = url
        self._name = name
        self._seconds = seconds

    async def seen(self, name: str) -> Seen | None:
        async with self._admin(name) as conn:
            return await _seen(conn, name)

    async def make(self, name: str, owner: str, like: str | None = None) -> Seen:
        async with self._admin(name) as conn:
            # Closed until PUBLIC has no right on it: what a spec's database is made like, too.
            text = {"encoding": "UTF8"} if like is None else await _text(conn, like)
            made = "CREATE DATABASE {} OWNER {} TEMPLATE template0 ALLOW_CONNECTIONS false"
            await _do(conn, made, name, owner, **text)
            async with conn.transaction():
                await _do(conn, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
                await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", name)
            found = await _seen(conn, name)
            assert found is not None, "made just now"
            return found

    async def swap(self, live: Seen, other: Seen, aside: str) -> None:
        async with self._admin(live.name) as conn:
            if await _is(conn, live.name, other) and await _is(conn, aside, live):
                return  # a former call came as far, and could not hear of it
            await _same(conn, live, other)
            async with _shut(conn, live, other, reopen=live), conn.transaction():
                await _same(conn, live, other)
                await _do(conn, "ALTER DATABASE {} RENAME TO {}", live.name, aside)
                await _do(conn, "ALTER DATABASE {} RENAME TO {}", other.name, live.name)
                await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", live.name)

    async def rename(self, seen: Seen, name: str, *, open: bool) -> None:
        async with self._admin(seen.name) as conn:
            if await _is(conn, name, seen):
                return  # as above
            await _same(conn, seen)
            reopen = seen if seen.open else None
            async with _shut(conn, seen, reopen=reopen), conn.transaction():
                await _same(conn, seen)
                await _do(conn, "ALTER DATABASE {} RENAME TO {}", seen.name, name)
                if open:
                    await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", name)

    async def reopen(self, seen: Seen) -> None:
        async with self._admin(seen.name) as conn, conn.transaction():
            await _same(conn, seen)
            await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", seen.name)

    async def drop(self, seen: Seen) -> None:
        async with self._admin(seen.name) as conn:
            if (found := await _seen(conn, seen.name)) is None:
                return
            await _same(conn, seen)
            await _free(conn, [found])
            await _do(conn, "ALTER DATABASE {} IS_TEMPLATE false", found.name)
            await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS false", found.name)
            await _end_sessions(conn, [found])
            await _do(conn, "DROP DATABASE {} WITH (FORCE)", found.name)

    @asynccontextmanager
    async def _admin(self, name: str) -> AsyncIterator[Connection]:
        """A connection of its own: what takes minutes must not keep the lanes waiting."""
        options = (
            f"-c search_path=pg_catalog -c role=none -c statement_timeout={int(_LONG * 1000)}"
            f" -c lock_timeout={int(self._seconds * 1000)}"
        )
        try:
            conn = await connect(
                self._url, self._name, options, seconds=self._seconds, database="postgres"
            )
            try:
                yield conn
            finally:
                await conn.close()
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault, object=name) from fault


async def _do(conn: Connection, statement: LiteralString, *names: str, **options: str) -> None:
    """options: they follow, each with its value."""
    parts: list[Composable] = [Identifier(name) for name in names]
    more = [SQL(" {} {}").format(Identifier(o), Literal(v)) for o, v in options.items()]
    await conn.execute(SQL(statement).format(*parts) + Composed(more))


async def _text(conn: Connection, name: str) -> dict[str, str]:
    """How it encodes and sorts text, as CREATE DATABASE takes it. The columns differ between
    versions of the server."""
    ask = "SELECT to_jsonb(d), pg_encoding_to_char(encoding) FROM pg_database d WHERE datname = %s"
    row = await (await conn.execute(ask, [name])).fetchone()
    if row is None:
        raise Rejected(SERVICE, f"database {name} is not there", object=name)
    seen, encoding = row
    by = _PROVIDERS[seen["datlocprovider"]]
    found = {
        "encoding": encoding,
        "lc_collate": seen["datcollate"],
        "lc_ctype": seen["datctype"],
        "locale_provider": by,
        f"{by}_locale": seen.get("datlocale") or seen.get("daticulocale"),
        "icu_rules": seen.get("daticurules"),
    }
    return {option: value for option, value in found.items() if value is not None}


async def _seen(conn: Connection, name: str) -> Seen | None:
    row = await (await conn.execute(_SEEN, [name])).fetchone()
    return Seen(*row) if row is not None else None


async def _is(conn: Connection, name: str, database: Seen) -> bool:
    """Whether that is what it is called."""
    ask = "SELECT 1 FROM pg_database WHERE datname = %s AND oid::text = %s"
    return await (await conn.execute(ask, [name, database.id])).fetchone() is not None


async def _same(conn: Connection, *databases: Seen) -> None:
    """Raises Rejected where one of these names is another database's by now, or nobody's."""
    for database in databases:
        if not await _is(conn, database.name, database):
            raise Rejected(
                SERVICE,
                f"database {database.name} is not the one that it was",
                object=database.name,
            )


@asynccontextmanager
async def _shut(conn: Connection, *databases: Seen, reopen: Seen | None) -> AsyncIterator[None]:
    """Nobody is in them, or can get in, within the block. reopen: which of them is as it was where
    that, or the block, fails."""
    await _free(conn, databases)
    try:
        for database in databases:
            await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS false", database.name)
        await _end_sessions(conn, databases)
        yield
    except BaseException:
        if reopen is not None and not conn.closed:
            await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", reopen.name)
        raise


async def _free(conn: Connection, databases: Collection[Seen]) -> None:
    """Raises Rejected where something has hold of them that is no session."""
    names = [database.name for database in databases]
    row = await (await conn.execute(_HELD, {"names": names})).fetchone()
    prepared, slots = row if row is not None else (0, [])
    if prepared:
        raise Rejected(
            SERVICE,
            f"prepared transactions hold {', '.join(names)} ({prepared})",
            remedy="see pg_prepared_xacts: COMMIT PREPARED or ROLLBACK PREPARED each of them there",
        )
    if slots:
        raise Rejected(
            SERVICE,
            f"replication slots read {', '.join(names)}: {', '.join(slots)}",
            remedy="as who made them: SELECT pg_drop_replication_slot('…'), once nobody needs them",
        )


async def _end_sessions(conn: Connection, databases: Collection[Seen]) -> None:
    """Raises Rejected where one stays: then the server neither renames nor drops."""
    ids = [int(database.id) for database in databases]
    names = ", ".join(database.name for database in databases)
    stays: set[str] = set()
    for _ in range(_TRIES):
        inside = await (await conn.execute(_INSIDE, [ids])).fetchall()
        if not inside:
            return
        stays = set()
        for pid, role in inside:
            try:
                await conn.execute("SELECT pg_terminate_backend(%s)", [pid])
            except psycopg.errors.InsufficientPrivilege:
                stays.add(role)
        await asyncio.sleep(_PAUSE)
    whose = ", ".join(sorted(stays)) or "somebody"
    raise Rejected(
        SERVICE,
        f"sessions of {whose} stay in {names}, and norn may not end them",
        remedy="as a superuser: SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = …, or wait until they have ended",
    )
