"""A way to a server that sees each request, and kills the daemon when a chosen one passes: what is
under way while a process dies is neither done nor undone, and no boundary inside of it shows that.

    after   the whole request has gone out, and nobody will hear the answer
    half    a part has gone out: of several commands all but the last one, else half of the bytes
    late    it stays on the way until the next daemon sends the same, and arrives right before
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

# What a request that writes begins with, by kind of server; the lease is not looked at.
WRITES: Mapping[str, re.Pattern[bytes]] = {
    "postgres": re.compile(rb"((?:CREATE|ALTER|DROP) (?:ROLE|DATABASE)|REVOKE ALL ON SCHEMA) "),
    "kv": re.compile(rb"(?:ACL|CLIENT)\r\n\$\d+\r\n(SETUSER|DELUSER|SAVE|KILL)\r\n"),
    "norn_db": re.compile(rb"\b(COMMIT)\b"),
}
_LAST_COMMAND = re.compile(rb"\*\d+\r\n(?!.*\r\n\*\d+\r\n)", re.S)


@dataclass
class _Held:
    """A request that is late. what: its name without the count."""

    what: str
    request: bytes
    server: asyncio.StreamWriter


class Wire:
    """An Executioner (see killer) that stands between the daemon and its servers. victim: the
    daemon's process id."""

    def __init__(self, victim: Callable[[], int]) -> None:
        self._victim = victim
        self._loop = asyncio.new_event_loop()
        self._fatal: str | None = None
        self._struck = False
        self._count: Counter[str] = Counter()
        self._passed: list[str] = []
        self._held: _Held | None = None
        self._listening: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()

    # --- the executioner ---

    def order(self, fatal: str) -> None:
        self._count.clear()
        self._passed, self._struck, self._fatal = [], False, fatal

    def cancel(self) -> None:
        self._fatal = None

    def passed(self) -> list[str]:
        return list(self._passed)

    def quiet(self) -> bool:
        return True

    def struck(self, fatal: str) -> bool:
        return self._struck

    @property
    def holding(self) -> bool:
        """Whether a request has not arrived yet."""
        return self._held is not None

    # --- the way ---

    def way(self, kind: str, url: str) -> str:
        """The same URL by this way."""
        return asyncio.run_coroutine_threadsafe(self._way(kind, url), self._loop).result(10)

    async def _way(self, kind: str, url: str) -> str:
        parts = urlsplit(url)

        async def serve(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
            self._open.add(client)
            answers, server = await asyncio.open_connection(parts.hostname, parts.port)
            self._open.add(server)
            back = asyncio.create_task(self._pass_on(answers, client))
            with suppress(OSError):
                await self._pass(kind, reader, server)
            if self._held is None or self._held.server is not server:
                await self._close(server)
            await back

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._listening.append(listening)
        port = listening.sockets[0].getsockname()[1]
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))

    async def _pass(
        self, kind: str, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        while request := await reader.read(1 << 20):
            found = WRITES[kind].search(request)
            what = f"{kind}: {found[1].decode()}" if found else ""
            manner = self._manner(what)
            if manner == "late":
                self._held = _Held(what, request, server)
                self._kill()
                return
            if self._held is not None and self._held.what == what:
                await self._deliver(self._held)
            server.write(_part(request) if manner == "half" else request)
            await server.drain()
            if manner:
                self._kill()
                return

    def _manner(self, what: str) -> str:
        """How to kill at this request; "" when it is not the one."""
        if not what or self._fatal is None or self._struck:
            return ""
        self._count[what] += 1
        place = f"{what} {self._count[what]}"
        self._passed.append(place)
        manner, _, fatal = self._fatal.partition(" ")
        if place != fatal:
            return ""
        self._struck = True
        return manner

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._victim(), signal.SIGKILL)

    async def _deliver(self, held: _Held) -> None:
        """Nobody hears the answer, but a server stops for whoever has hung up."""
        self._held = None
        held.server.write(held.request)
        await held.server.drain()

    async def _pass_on(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answer := await reader.read(1 << 20):
                client.write(answer)
                await client.drain()
        await self._close(client)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def end(self) -> None:
        """Hang up on everybody."""
        for server in self._listening:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for writer in list(self._open):
            await self._close(writer)


def _part(request: bytes) -> bytes:
    last = _LAST_COMMAND.search(request)
    return request[: last.start()] if last and last.start() else request[: len(request) // 2]


@contextmanager
def laid(victim: Callable[[], int]) -> Iterator[Wire]:
    """A wire with a thread of its own."""
    wire = Wire(victim)
    thread = threading.Thread(target=wire._loop.run_forever, name="wire", daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        asyncio.run_coroutine_threadsafe(wire.end(), wire._loop).result(10)
        wire._loop.call_soon_threadsafe(wire._loop.stop)
        thread.join(10)
        wire._loop.close()
