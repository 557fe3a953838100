"""One connection to the server and the requests on it: commands go out together, replies come back
in order, and nothing waits longer than its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from valkey.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from valkey.exceptions import ConnectionError as ValkeyConnectionError
from valkey.exceptions import ResponseError, ValkeyError

from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Address, Endpoint

Command = Sequence[str]
Reply = Any  # as the protocol has it: str, int, list, None, or a ResponseError as a value


class Session:
    """Opens at the first request, and again after a fault. Requests of several tasks queue up.

    seconds: the longest a request may take, waiting for its turn and connecting included.
    greeting: commands that each new connection begins with; `greeted` holds their replies.
    sent: requests so far, one for each `ask`.
    """

    def __init__(
        self, connection: AbstractConnection, seconds: float, greeting: Sequence[Command] = ()
    ) -> None:
        self._connection = connection
        self._seconds = seconds
        self._greeting = greeting
        self._turn = asyncio.Lock()
        self.greeted: list[Reply] = []
        self.sent = 0

    async def connect(self) -> None:
        """Open it, unless it is open. Raises as `ask` does."""
        async with asyncio.timeout(self._seconds), self._turn:
            await self._ensure()

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all commands at once and read all replies. An error reply is a value in the list.

        Raises the driver's errors and TimeoutError when the request as a whole failed; how much of
        it the server has done is then unknown.
        """
        async with asyncio.timeout(self._seconds), self._turn:
            await self._ensure()
            self.sent += 1
            return await self._exchange(commands)

    async def _ensure(self) -> None:
        if self._connection.is_connected and not await self._idle():
            await self._connection.disconnect(nowait=True)
        if not self._connection.is_connected:
            try:
                await self._connection.connect()  # type: ignore[no-untyped-call]
                self.greeted = await self._exchange(self._greeting)
            except BaseException:
                await self._connection.disconnect(nowait=True)
                raise

    async def _idle(self) -> bool:
        """False when the server has closed the connection or sent what nobody asked for."""
        for _ in range(2):  # lets the loop take in what has arrived, an end among it
            await asyncio.sleep(0)
        try:
            data = await self._connection.can_read_destructive()  # type: ignore[no-untyped-call]
            return not data
        except (ValkeyConnectionError, OSError):
            return False

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = []
        try:
            await self._connection.send_packed_command(
                self._connection.pack_commands(commands), check_health=False
            )
            for _ in commands:
                try:
                    # An error reply leaves the replies behind it to be read.
                    replies.append(await self._connection.read_response())
                except ResponseError as refused:
                    replies.append(refused)
        except BaseException:
            # Replies may still be on their way: they must not answer the next request.
            await self._connection.disconnect(nowait=True)
            raise
        return replies

    async def close(self) -> None:
        """The next request opens it again."""
        async with self._turn:
            with suppress(ValkeyError, OSError):
                await self._connection.disconnect()


def admin_session(endpoint: Endpoint, seconds: float, greeting: Sequence[Command]) -> Session:
    return Session(_connection(endpoint, seconds, {}), seconds, greeting)


def app_session(
    endpoint: Endpoint, seconds: float, user: str | None, password: Secret | None, address: Address
) -> Session:
    """A connection as somebody else, with the TLS options of norn's URL. user: None = no login."""
    login = {
        "host": address.host,
        "port": address.port,
        "db": 0,
        "username": user,
        "password": password.reveal() if password is not None else None,
    }
    return Session(_connection(endpoint, seconds, login, tls=address.tls), seconds)


def _connection(
    endpoint: Endpoint, seconds: float, override: dict[str, Any], tls: bool | None = None
) -> AbstractConnection:
    options: dict[str, Any] = dict(parse_url(endpoint.url.reveal()))
    options.pop("connection_class", None)
    options |= override
    options |= {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
    }
    if not (endpoint.own_address.tls if tls is None else tls):
        return Connection(**{k: v for k, v in options.items() if not k.startswith("ssl_")})
    # The driver's default lets any valid certificate stand for any host.
    options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs", "required") == "required")
    return SSLConnection(**options)
