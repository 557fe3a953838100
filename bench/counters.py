"""How many requests the servers got: from PostgreSQL's log, Valkey's commandstats, and a proxy in
front of the broker that reads each request's API number (Kafka itself counts in JMX only)."""

from __future__ import annotations

import asyncio
import re
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.servers import Servers

APIS = {
    3: "Metadata", 17: "SaslHandshake", 18: "ApiVersions", 19: "CreateTopics", 29: "DescribeAcls",
    30: "CreateAcls", 31: "DeleteAcls", 32: "DescribeConfigs", 36: "SaslAuthenticate",
    50: "DescribeUserScram", 51: "AlterUserScram",
}  # fmt: skip
Counting = Callable[[Callable[[], object]], dict[str, str]]
LOGIN = {"SaslHandshake", "SaslAuthenticate", "ApiVersions"}
_STATEMENT = re.compile(rb"^bench (\w+) .*LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)


class Proxy:
    """Listens on `port` once started, passes on to `target`, counts the clients' requests."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.seen: Counter[str] = Counter()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        serving = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.port = server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection("127.0.0.1", self._target)
        answers = asyncio.create_task(self._pass_on(back, writer))
        try:
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(struct.unpack(">i", head)[0])
                number = struct.unpack(">h", body[:2])[0]
                self.seen[APIS.get(number, f"api {number}")] += 1
                on.write(head + body)
                await on.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            answers.cancel()
        finally:
            on.close()
            writer.close()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def counting(servers: Servers) -> Iterator[tuple[str, Counting]]:
    """Gives the address that stands for the broker meanwhile, and a function that runs something
    and says what it asked the servers for."""
    kafka = servers.stack.kafka
    proxy = Proxy(kafka.port)
    proxy.start()
    plain = kafka._properties
    advertised = "advertised.listeners=SASL_PLAINTEXT://127.0.0.1:"
    kafka._properties = lambda: plain().replace(  # type: ignore[method-assign]
        f"{advertised}{kafka.port}", f"{advertised}{proxy.port}"
    )
    sql = servers.sql
    _restart(servers)
    sql.execute("ALTER SYSTEM SET log_statement = 'all'")
    sql.execute("ALTER SYSTEM SET log_line_prefix = 'bench %u '")
    sql.execute("SELECT pg_reload_conf()")
    try:
        yield f"127.0.0.1:{proxy.port}", lambda work: _count(servers, proxy, work)
    finally:
        for setting in ("log_statement", "log_line_prefix"):
            sql.execute(f"ALTER SYSTEM RESET {setting}")
        sql.execute("SELECT pg_reload_conf()")
        kafka._properties = plain  # type: ignore[method-assign]
        _restart(servers)
        proxy.stop()


def _restart(servers: Servers) -> None:
    servers.hang_up_kafka()
    servers.stack.kafka.stop()
    servers.stack.kafka.start()


def _count(servers: Servers, proxy: Proxy, work: Callable[[], object]) -> dict[str, str]:
    servers.hang_up_kafka()
    log = servers.stack.postgres.process.log
    start = log.stat().st_size
    servers.valkey.config_resetstat()
    proxy.seen.clear()
    work()
    stats: dict[str, Any] = servers.ask("INFO", "commandstats")
    calls = {k.removeprefix("cmdstat_").replace("|", " "): v["calls"] for k, v in stats.items()}
    calls.pop("config resetstat", None)
    users = Counter(m[1].decode() for m in _STATEMENT.finditer(log.read_bytes()[start:]))
    return {
        "PostgreSQL statements, norn_admin": str(users["norn_admin"]),
        "PostgreSQL statements, norn_keeper (norn_db)": str(users["norn_keeper"]),
        "Valkey commands": _shown(calls),
        "Kafka requests": _shown({k: v for k, v in proxy.seen.items() if k not in LOGIN}),
        "Kafka logins": str(proxy.seen["SaslHandshake"]),
    }


def _shown(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{sum(counts.values())} ({parts})"
