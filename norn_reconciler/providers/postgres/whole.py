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
from norn_reconciler.providers.postgres import verifier
from norn_reconciler.providers.postgres.client import Connection, connect
from norn_reconciler.providers.postgres.faults import translate
from norn_reconciler.providers.postgres.state import SERVICE

_LONG = 600.0  # seconds: dropping a large one unlinks each of its files
_TRIES = 20  # looks at whether its sessions are gone
_PAUSE = 0.25  # seconds between two of them
_SEEN = """
SELECT d.datname, d.oid::text, pg_get_userbyid(d.datdba),
       CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) ELSE 0 END,
       (SELECT count(*) FROM pg_stat_get_activity(NULL) a WHERE a.datid = d.oid)::int,
       d.datallowconn
  FROM pg_database d WHERE d.datname = %s
"""
_INSIDE = """
SELECT a.pid, coalesce(r.rolname, '?')
  FROM pg_stat_get_activity(NULL) a LEFT JOIN pg_roles r ON r.oid = a.usesysid
 WHERE a.datid = ANY (%s::oid[]) AND a.usesysid IS NOT NULL
"""
# What it owns, by database; shared objects (databases, tablespaces) have none. What is in its own
# ones is gone with them.
_OWNED = """
SELECT coalesce(d.datname, 'the server itself'), count(*)::int
  FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %s AND s.deptype = 'o'
 GROUP BY 1 ORDER BY 1
"""
_RIGHTS = """
SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %s ORDER BY 1
"""
# What no end of a session ends. A slot would go with its database, and keep the server's log.
_HELD = """
SELECT (SELECT count(*)::int FROM pg_prepared_xacts WHERE database = ANY (%(names)s)),
       ARRAY(SELECT 'replication slot ' || slot_name FROM pg_replication_slots
              WHERE database = ANY (%(names)s)
              UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
              WHERE subdbid = ANY (%(ids)s::oid[])
              ORDER BY 1)
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

    @asynccontextmanager
    async def entered(self, seen: Seen, password: Secret | None) -> AsyncIterator[None]:
        """Whatever cuts the block off leaves it to the lanes to shut it again: they do so to
        whatever is only retained."""
        try:
            async with self._admin(seen.name) as conn:
                await _same(conn, seen)
                await _free(conn, [seen])
                if password is not None:
                    stored = await asyncio.to_thread(verifier.make, password)
                    await conn.execute(
                        SQL("ALTER ROLE {} LOGIN PASSWORD {} VALID UNTIL 'infinity'").format(
                            Identifier(seen.owner), Literal(stored)
                        )
                    )
                # Its owner may have shut itself out.
                await _do(conn, "ALTER DATABASE {} CONNECTION LIMIT -1", seen.name)
                await _do(conn, "GRANT CONNECT ON DATABASE {} TO {}", seen.name, seen.owner)
                await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS true", seen.name)
            yield
        finally:
            async with self._admin(seen.name) as conn:
                if password is not None:
                    await _do(conn, "ALTER ROLE {} NOLOGIN", seen.owner)
                await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS false", seen.name)
                await _end_sessions(conn, [seen])

    async def drop_role(self, name: str) -> None:
        """A login role, or the group of a database's readers, with the rights that it has anywhere.
        Again, it does nothing. Raises Rejected where it owns something still."""
        async with self._admin(name) as conn:
            row = await (
                await conn.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [name])
            ).fetchone()
            if row is None:
                return
            owned = await (await conn.execute(_OWNED, [row[0]])).fetchall()
            inside = await (await conn.execute(_RIGHTS, [row[0]])).fetchall()
            member = await conn.execute("SELECT pg_has_role(%s::oid, 'USAGE')", [row[0]])
            if not (await member.fetchone() or (False,))[0]:
                # Else its rights are not norn's to take: 15 makes nobody a member by itself.
                await _do(conn, "GRANT {} TO CURRENT_USER", name)
        if owned:
            where = ", ".join(f"{count} in {place}" for place, count in owned)
            raise Rejected(
                SERVICE,
                f"role {name} owns objects outside of its own database: {where}",
                object=name,
                remedy="give them to somebody else (ALTER … OWNER TO), or drop them there",
            )
        for (place,) in inside:
            # Its rights there: nothing of it is owned, so nothing is dropped.
            async with self._admin(name, place) as conn:
                await _do(conn, "DROP OWNED BY {}", name)
        async with self._admin(name) as conn, conn.transaction():
            await _do(conn, "DROP OWNED BY {}", name)
            await _do(conn, "DROP ROLE {}", name)

    async def drop(self, seen: Seen) -> None:
        async with self._admin(seen.name) as conn:
            if (found := await _seen(conn, seen.name)) is None:
                return
            await _same(conn, seen)
            await _free(conn, [found])
            await _do(conn, "ALTER DATABASE {} IS_TEMPLATE false", found.name)
            await _do(conn, "ALTER DATABASE {} ALLOW_CONNECTIONS false", found.name)
            await _end_sessions(conn, [found])
            try:
                await _do(conn, "DROP DATABASE {} WITH (FORCE)", found.name)
            except psycopg.errors.InsufficientPrivilege:
                # FORCE stops at a worker of the server's own (autovacuum); without it the server
                # sends that one away, and nobody else can be there any more.
                await _do(conn, "DROP DATABASE {}", found.name)

    @asynccontextmanager
    async def _admin(self, name: str, database: str = "postgres") -> AsyncIterator[Connection]:
        """A connection of its own: what takes minutes must not keep the lanes waiting. name: what
        it is about, for errors. In another database than `postgres` nothing of its owner's may
        run: every name that is resolved there is the server's."""
        options = (
            f"-c search_path=pg_catalog -c role=none -c statement_timeout={int(_LONG * 1000)}"
            f" -c lock_timeout={int(self._seconds * 1000)}"
        )
        try:
            conn = await connect(
                self._url, self._name, options, seconds=self._seconds, dbname=database
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
    """Before any trouble is taken. Raises Rejected where something has hold of them that is no
    session: then the server neither renames nor drops."""
    ids = [int(database.id) for database in databases]
    names = [database.name for database in databases]
    row = await (await conn.execute(_HELD, {"names": names, "ids": ids})).fetchone()
    prepared, held = row if row is not None else (0, [])
    if prepared:
        raise Rejected(
            SERVICE,
            f"prepared transactions hold {', '.join(names)} ({prepared})",
            remedy="see pg_prepared_xacts: COMMIT PREPARED or ROLLBACK PREPARED each of them there",
        )
    if held:
        raise Rejected(
            SERVICE,
            f"{', '.join(held)} hold database {', '.join(names)}",
            remedy="drop them first: pg_drop_replication_slot, or DROP SUBSCRIPTION in it",
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
