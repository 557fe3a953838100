"""Connections to norn_db, each request with a deadline. SQL belongs in queries.py and shown.py.

A frozen server answers nothing, so server-side timeouts do not fire, and cancelling a request needs
the server's help too. What always works is to shut the socket: the driver then sees a lost
connection, whatever it was waiting for.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from norn_reconciler.model.errors import NornError, StoreUnavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.store.faults import translated

Connection = AsyncConnection[DictRow]

_POOL_SECONDS = 1.0  # how long a request waits for a pooled connection before it opens its own
_NAMEDATALEN = 63  # what the server keeps of an application_name


def session_name(instance: str) -> str:
    """application_name of an instance's sessions, exactly as pg_stat_activity shows it."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in f"norn:{instance}")
    return printable[:_NAMEDATALEN]


def conninfo(url: Secret, name: str, timeout: float) -> str:
    """libpq's form of `url` with our session's name and limits. timeout: seconds."""
    try:
        given = conninfo_to_dict(url.reveal())
    except psycopg.ProgrammingError:
        # libpq's message repeats the text it could not read, password included
        raise NornError("NORN_DATABASE_URL is not a PostgreSQL URL") from None
    milliseconds = max(1, round(timeout * 1000))
    options = " ".join(
        (
            str(given.pop("options", "") or ""),
            f"-c statement_timeout={milliseconds}",
            f"-c lock_timeout={milliseconds}",
            f"-c idle_in_transaction_session_timeout={milliseconds}",
            "-c TimeZone=UTC",
            # whoever owns norn_db may have set otherwise
            "-c search_path=pg_catalog",
            "-c role=none",
            "-c default_transaction_read_only=off",
            "-c jit=off",
        )
    ).strip()
    ours: dict[str, str | int] = {
        "application_name": name,
        "options": options,
        "connect_timeout": max(2, round(timeout)),  # libpq's least is 2 s
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return make_conninfo("", **{key: str(value) for key, value in {**given, **ours}.items()})


class Database:
    """norn_db. Opens at the first request and recovers by itself.

    After a fault, and at the start, a request goes over a connection of its own, so that its
    failure is told at once and with its reason; when one has succeeded, the pool takes over.
    request_timeout: seconds from asking for a connection to the end of the last statement.
    """

    def __init__(
        self, url: Secret, *, instance: str, request_timeout: float = 10.0, connections: int = 4
    ) -> None:
        self.request_timeout = request_timeout
        self._conninfo = conninfo(url, session_name(instance), request_timeout)
        self._connections = connections
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self._answered = False
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()

    def pids(self) -> list[int]:
        """Server processes behind this object's own connections."""
        return [c.info.backend_pid for c in list(self._open) if not c.closed]

    @asynccontextmanager
    async def session(self, within: float | None = None) -> AsyncIterator[Connection]:
        """A connection in autocommit mode; what is done with it shares one deadline.

        within: seconds, request_timeout unless given.

        Raises StoreUnavailable when norn_db does not answer in time, NornError when it refuses.
        """
        deadline = asyncio.get_running_loop().time() + (within or self.request_timeout)
        try:
            with translated():
                async with self._connection(deadline) as conn:
                    with cut_at(conn, deadline):
                        yield conn
        except StoreUnavailable:
            self._answered = False
            raise

    @asynccontextmanager
    async def transaction(self, within: float | None = None) -> AsyncIterator[Connection]:
        """A session in one READ COMMITTED transaction: committed at the end, or not at all."""
        async with self.session(within) as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A session in which all statements see the same instant."""
        async with self.transaction() as conn:
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield conn

    async def connect(self, deadline: float | None = None) -> Connection:
        """A connection of the caller's own. deadline: on the loop's clock, in seconds."""
        until = deadline or asyncio.get_running_loop().time() + self.request_timeout
        with translated():
            async with asyncio.timeout_at(until):
                conn = await AsyncConnection.connect(
                    self._conninfo, autocommit=True, row_factory=dict_row
                )
        self._open.add(conn)
        return conn

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        self._answered = False
        if pool is not None:
            await pool.close(timeout=2.0)

    @asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncIterator[Connection]:
        if self._answered:
            pool = await self._opened()
            left = deadline - asyncio.get_running_loop().time()
            try:
                conn = await pool.getconn(timeout=min(_POOL_SECONDS, max(0.05, left)))
            except PoolTimeout:
                pass  # all in use, or lost: a connection of its own knows, and says why
            else:
                try:
                    yield conn
                finally:
                    await pool.putconn(conn)
                return
        conn = await self.connect(deadline)
        try:
            yield conn
        finally:
            await conn.close()
        self._answered = True

    async def _opened(self) -> AsyncConnectionPool[Connection]:
        async with self._opening:
            if self._pool is None:
                self._pool = self._new_pool()
                await self._pool.open(wait=False)
            return self._pool

    def _new_pool(self) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True, "row_factory": dict_row},
            connection_class=Connection,
            min_size=1,
            max_size=self._connections,
            open=False,
            configure=self._note,
            check=_alive,
            # While norn_db is away requests go around the pool: it need not keep trying.
            reconnect_timeout=1.0,
            num_workers=1,
            name="norn_db",
        )

    async def _note(self, conn: Connection) -> None:
        self._open.add(conn)


@contextmanager
def cut_at(conn: Connection, deadline: float) -> Iterator[None]:
    """Shut the connection's socket if the block has not ended by `deadline` (the loop's clock)."""
    timer = asyncio.get_running_loop().call_at(deadline, _cut, conn)
    try:
        yield
    finally:
        timer.cancel()


def _cut(conn: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


async def _alive(conn: Connection) -> None:
    """Refuse a pooled connection that has something to say while idle: it was closed by the server,
    or is about to be. No round trip."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    if poll.poll(0):
        await conn.close()  # else the pool would take it back as good
        raise psycopg.OperationalError("the server closed an idle connection")
