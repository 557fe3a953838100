"""How dear a login would be, asked before the driver logs in.

The number of PBKDF2 iterations is the stored verifier's, and an app may store any verifier for its
own role. The driver would compute them on norn's event loop, uninterruptible, up to 2147483647 of
them: half an hour in which no lease is renewed. Message formats: PostgreSQL's manual, "Frontend/
Backend Protocol"; RFC 5802.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
import struct
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict

from norn_reconciler.model.secret import Secret

MOST = 100_000  # norn's own verifiers have 4,096; 100,000 take 20 ms
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_PROTOCOL = 196608  # 3.0
_SASL, _SASL_CONTINUE = 10, 11
_LONGEST = 10_000  # bytes; the server's messages before the login have some hundred
_ITERATIONS = re.compile(rb"(?:^|,)i=([0-9]+)(?:,|$)")


async def too_dear(url: Secret, seconds: float) -> int | None:
    """The iterations, where they are more than MOST; None where they are not, and where the server
    does not say: then the driver's own attempt tells why."""
    try:
        async with asyncio.timeout(seconds):
            count = await _asked(url)
    except (OSError, EOFError, ValueError, struct.error):
        return None
    return count if count is not None and count > MOST else None


async def _asked(url: Secret) -> int | None:
    given = conninfo_to_dict(url.reveal())
    host = str(given.get("host") or "localhost").split(",")[0]
    port = int(str(given.get("port") or 5432).split(",")[0])
    if host.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    else:
        reader, writer = await asyncio.open_connection(host.strip("[]"), port)
    try:
        if given.get("sslmode") != "disable" and not host.startswith("/"):
            await _encrypt(reader, writer)
        user, database = str(given.get("user", "")), str(given.get("dbname", ""))
        fields = b"".join(
            text.encode() + b"\0" for text in ("user", user, "database", database, "")
        )
        writer.write(struct.pack("!ii", 8 + len(fields), _PROTOCOL) + fields)
        if await _authentication(reader, _SASL) is None:
            return None
        hello = f"n,,n=,r={secrets.token_urlsafe(18)}".encode()
        body = b"SCRAM-SHA-256\0" + struct.pack("!i", len(hello)) + hello
        writer.write(b"p" + struct.pack("!i", 4 + len(body)) + body)
        answer = await _authentication(reader, _SASL_CONTINUE)
        found = _ITERATIONS.search(answer) if answer is not None else None
        return int(found[1]) if found else None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _encrypt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """No certificate is checked: nothing secret is sent."""
    writer.write(_SSL_REQUEST)
    if await reader.readexactly(1) == b"S":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await writer.start_tls(context)


async def _authentication(reader: asyncio.StreamReader, step: int) -> bytes | None:
    """The rest of the server's message of this step; None when it says something else."""
    kind, size = struct.unpack("!ci", await reader.readexactly(5))
    if kind != b"R" or not 8 <= size <= _LONGEST:
        return None
    body = await reader.readexactly(size - 4)
    (found,) = struct.unpack("!i", body[:4])
    return body[4:] if found == step else None
