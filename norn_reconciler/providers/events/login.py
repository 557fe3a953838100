"""One login, and nothing more: TCP, TLS where set, SaslHandshake, SaslAuthenticate.

Used to prove credentials. The driver's own client takes a wrong password for a broker that is not
ready and tries until it times out; here the broker's answer is the result. No thread is needed, so
logins of many apps overlap.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from norn_reconciler.model.errors import Rejected, Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.faults import no_answer
from norn_reconciler.providers.events.state import SERVICE

_MAX_REPLY = 1 << 20  # bytes; a reply to these requests has a few hundred
_SASL_AUTHENTICATION_FAILED = 58
_CLIENT = "norn-reconciler"


class LoginRefused(Exception):
    """The broker said no to this user and password (or mechanism). The text holds no secret."""


class Session:
    """A connection to one broker, logged in once `authenticate` has returned."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0

    async def ask(self, request: Any, response: Any, version: int) -> Any:
        """Send one request of kafka-python's protocol package and read its reply."""
        self._sent += 1
        request.API_VERSION = version
        request.with_header(correlation_id=self._sent, client_id=_CLIENT)
        self._writer.write(request.encode(header=True, framed=True))
        await self._writer.drain()
        (size,) = struct.unpack(">i", await self._reader.readexactly(4))
        if not 0 < size <= _MAX_REPLY:
            raise OSError(f"a reply of {size} bytes: this is no Kafka listener")
        payload = await self._reader.readexactly(size)
        return response.decode(payload, version=version, header=True)

    async def authenticate(self, mechanism: str, username: str, password: Secret) -> None:
        """Raises LoginRefused, or Rejected where the broker's answer says nothing of the
        password."""
        from kafka.net.sasl import get_sasl_mechanism  # noqa: PLC0415  -- 0.2 s to import
        from kafka.protocol.sasl import (  # noqa: PLC0415
            SaslAuthenticateRequest,
            SaslAuthenticateResponse,
            SaslHandshakeRequest,
            SaslHandshakeResponse,
        )

        hello = await self.ask(SaslHandshakeRequest(mechanism=mechanism), SaslHandshakeResponse, 1)
        if hello.error_code:
            offered = ", ".join(hello.mechanisms) or "none"
            raise LoginRefused(f"the broker offers no {mechanism} (it offers {offered})")
        sasl = get_sasl_mechanism(mechanism)(
            sasl_plain_username=username,
            sasl_plain_password=password.reveal(),
            sasl_mechanism=mechanism,
            security_protocol="",
        )
        while not sasl.is_done():
            token = sasl.auth_bytes()
            reply = await self.ask(
                SaslAuthenticateRequest(auth_bytes=token), SaslAuthenticateResponse, 1
            )
            if reply.error_code not in (0, _SASL_AUTHENTICATION_FAILED):
                said = reply.error_message or "it does not say why"
                raise Rejected(
                    SERVICE, f"the broker ended the login: {said} (Kafka error {reply.error_code})"
                )
            if reply.error_code:
                raise LoginRefused(reply.error_message or f"Kafka error {reply.error_code}")
            try:
                # Off the loop: PBKDF2 takes a millisecond.
                await asyncio.to_thread(sasl.receive, reply.auth_bytes)
            except (ValueError, KeyError) as error:
                raise LoginRefused("the broker could not prove that it knows the user") from error


@asynccontextmanager
async def session(endpoint: Endpoint) -> AsyncIterator[Session]:
    """A connection to the first broker that answers, within the endpoint's timeout.

    Raises Unavailable when none does. Work inside the block has no limit of its own.
    """
    failure = Unavailable(SERVICE, "no broker answers: none is named")
    for host, port in endpoint.addresses():
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=endpoint.ssl_context()), endpoint.timeout
            )
            break
        except OSError as error:  # TimeoutError and ssl.SSLError are OSErrors
            failure = no_answer(error, endpoint.timeout, "no broker answers")
            failure.__cause__ = error
    else:
        raise failure
    try:
        yield Session(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def log_in(endpoint: Endpoint, mechanism: str, username: str, password: Secret) -> None:
    """Log in once and hang up. Raises LoginRefused, Rejected, or Unavailable within some
    timeouts."""
    async with session(endpoint) as one:
        try:
            await asyncio.wait_for(
                one.authenticate(mechanism, username, password), endpoint.timeout
            )
        except (OSError, EOFError) as error:
            raise no_answer(error, endpoint.timeout, "the broker broke off the login") from error
