"""Connections to PostgreSQL: two kept ones for the admin, short ones for logins as an app. The only
module that opens any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from norn_reconciler.model.errors import NornError, Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.faults import DearLogin, translate
from norn_reconciler.providers.postgres.iterations import too_dear
from norn_reconciler.providers.postgres.state import SERVICE

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]

OLDEST = 15  # major version: privileges on parameters, schema public closed by default
CONNECTIONS = 2  # CREATE DATABASE: 25 ms each on one connection, 12 on two, no less on four
_MAX_NAME = 63
_CANCEL_GRACE = 0.25  # seconds that the driver has to cancel politely


def session_name(instance: str) -> str:
    """application_name as the server keeps it: printable ASCII, 63 bytes."""
    text = "".join(c if " " <= c <= "~" else "?" for c in f"norn:{instance}")
    return text[:_MAX_NAME]


async def bounded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """`work`, or TimeoutError after `seconds`, even if the server is frozen.

    The driver answers a cancellation by asking the server to cancel, which a frozen server never
    does; a second cancellation makes it close the socket instead.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=max(seconds - _CANCEL_GRACE, seconds / 2))
        if task.done():
            return task.result()
    finally:
        for _ in range(3):
            if task.done():
                break
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_GRACE)
    if task.cancelled() or isinstance(task.exception(), Exception):
        raise TimeoutError
    return task.result()


@dataclass(slots=True)
class Session:
    """One admin connection. authid_readable: the admin may see the stored verifiers."""

    conn: Connection
    authid_readable: bool = False

    @property
    def version(self) -> int:
        """E.g. 180004."""
        return self.conn.info.server_version


class AdminClient:
    """The admin's way in. request_timeout: seconds for one request, connecting included.

    `requests` counts the round trips that were sent, for whoever wants to prove how few they are.
    """

    def __init__(self, url: Secret, application_name: str, request_timeout: float) -> None:
        self._url = url
        self._name = application_name
        self.request_timeout = request_timeout
        self.requests = 0
        self.admin = ""  # who we are and what answers, known once connected
        self.version = 0
        self._idle: list[Session] = []
        self._turn = asyncio.Semaphore(CONNECTIONS)

    async def connect(self) -> None:
        """Open the first connection, if there is none. Raises as `request` does."""
        async with self._turn:
            self._idle.append(await self._take())

    async def request(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Do `work` with one connection. Raises driver errors, TimeoutError, or Unavailable when
        no connection is to be had. A kept connection that turns out dead is not tried again."""
        async with self._turn:
            session = await self._take()
            healthy = False
            try:
                self.requests += 1
                result = await bounded(work(session), self.request_timeout)
                healthy = True
                return result
            except (psycopg.Error, NornError):
                healthy = not session.conn.closed and not session.conn.broken
                raise
            finally:
                if healthy:
                    self._idle.append(session)
                else:
                    await self._drop(session)

    async def read(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """`request` for work that only reads: tried once more when a kept connection had died."""
        kept = bool(self._idle)
        try:
            return await self.request(work)
        except psycopg.OperationalError as fault:
            if not kept or translate(fault).reason != Unavailable.reason:
                raise
            await self._drop_idle()
            return await self.request(work)

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if not session.conn.closed:
                return session
        self.requests += 1
        return await bounded(self._connect(), self.request_timeout)

    async def _connect(self) -> Session:
        # The server gives up before we do: silence then means that it is frozen. Waiting for a lock
        # ends sooner still, and is the fault of the one app that it is about.
        statement_ms, lock_ms = (int(self.request_timeout * part) for part in (900, 300))
        conn = await connect(
            self._url,
            self._name,
            f"-c search_path=pg_catalog -c statement_timeout={statement_ms}"
            f" -c lock_timeout={lock_ms}",
            database="postgres",
            seconds=self.request_timeout,
        )
        session = Session(conn)
        self.admin, self.version = conn.info.user, session.version
        try:
            if session.version < OLDEST * 10000:
                raise Unavailable(
                    SERVICE, f"PostgreSQL {session.version // 10000} is too old: {OLDEST} is needed"
                )
            if session.version >= 160000:
                # Else CREATE DATABASE … OWNER fails: the maker of a role gets ADMIN on it only.
                await conn.execute("SET createrole_self_grant = 'set, inherit'")
            row = await (
                await conn.execute("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
            ).fetchone()
            session.authid_readable = bool(row and row[0])
        except BaseException:
            await conn.close()
            raise
        return session

    async def _drop(self, session: Session) -> None:
        await session.conn.close()

    async def _drop_idle(self) -> None:
        while self._idle:
            await self._drop(self._idle.pop())

    async def close(self) -> None:
        await self._drop_idle()


async def connect(
    url: Secret,
    application_name: str,
    options: str,
    *,
    seconds: float,
    database: str | None = None,
    **more: str,
) -> Connection:
    """One connection in autocommit. database: where the URL names none. more: further libpq
    parameters. Raises psycopg.OperationalError, or Unavailable for a URL that libpq can't read."""
    try:
        given = conninfo_to_dict(url.reveal())
    except psycopg.Error:
        # The driver's message quotes the URL, password included: it must go no further.
        raise Unavailable(SERVICE, "the connection URL cannot be read") from None
    if database is not None:
        given.setdefault("dbname", database)
    given["options"] = f"{given.get('options', '')} {options}".strip()
    given["application_name"] = application_name
    given.setdefault("connect_timeout", max(2, round(seconds)))
    given.update(more)
    return await psycopg.AsyncConnection.connect(make_conninfo("", **given), autocommit=True)


async def affordable(url: Secret, seconds: float) -> None:
    """Raises DearLogin where the role has stored a password that takes long to try."""
    if (count := await too_dear(url, seconds)) is not None:
        raise DearLogin(
            SERVICE, f"its stored password asks for {count} iterations: norn did not set it"
        )


@asynccontextmanager
async def logged_in(
    url: Secret,
    application_name: str,
    seconds: float,
    trust: tuple[tuple[str, str], ...] = (),
    *,
    priced: bool = False,
) -> AsyncIterator[Connection]:
    """A short connection as an app. What its database says is not to be trusted: nothing there is
    resolved but by pg_catalog, and nothing takes longer than `seconds`. The price of the login is
    asked first, unless it is known already (priced). Raises the driver's errors, and
    DearLogin."""
    if not priced:
        await affordable(url, seconds)
    options = " ".join(
        (
            "-c search_path=pg_catalog",
            "-c role=none",
            "-c default_transaction_read_only=off",
            "-c idle_session_timeout=0",
            f"-c statement_timeout={int(seconds * 900)}",
        )
    )
    conn = await connect(url, application_name, options, seconds=seconds, **dict(trust))
    try:
        yield conn
    finally:
        await conn.close()
