"""norn_db refuses, freezes, restarts: told within the request timeout, and over by itself."""

import asyncio
from contextlib import aclosing, suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import StoreUnavailable
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import reads, schema
from norn_reconciler.store.lease import acquire
from norn_reconciler.store.store import PostgresStore

TIMEOUT = 2.0


class Wire:
    """A TCP relay to norn_db that can freeze (bytes stop) and refuse (connections are cut)."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flow = asyncio.Event()
        self._flow.set()
        self._writers = set()
        self._tasks = set()
        self.port = 0

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._flow.clear()

    def thaw(self) -> None:
        self._flow.set()

    async def cut(self) -> None:
        """Close everything and listen no more."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._flow.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source, sink) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flow.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@pytest.fixture
async def wire(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    target = conninfo_to_dict(fresh_norn_db)
    wire = Wire(str(target["host"]), int(target["port"]))
    await wire.open()
    yield wire
    await wire.cut()


@pytest.fixture
async def store(fresh_norn_db, wire):
    url = psycopg.conninfo.make_conninfo(fresh_norn_db, host="127.0.0.1", port=wire.port)
    store = PostgresStore(Secret(url), instance="one", request_timeout=TIMEOUT)
    yield store
    wire.thaw()
    await store.close()


async def told_away(attempt) -> str:
    """The error's words, told within the timeout (a generous bound keeps a hang from passing)."""
    async with asyncio.timeout(TIMEOUT * 3):
        with pytest.raises(StoreUnavailable) as caught:
            await attempt
    return str(caught.value)


async def back(store) -> None:
    """norn_db is there again: within a few tries, as a caller makes them, it answers."""
    async with asyncio.timeout(TIMEOUT * 5):
        while True:
            try:
                await store.snapshot()
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_server_that_is_down_is_told_at_once_with_its_reason(store, wire):
    await wire.cut()
    assert "refused" in await told_away(store.snapshot())
    await wire.open(wire.port)
    await store.snapshot()


async def test_a_server_frozen_from_the_start_is_told(store, wire):
    wire.freeze()
    await told_away(store.snapshot())
    wire.thaw()
    await back(store)


async def test_a_server_that_freezes_under_open_connections_is_told_and_recovers(store, wire):
    lease, _ = await acquire(store, 60.0)
    for _ in range(3):
        await store.snapshot()
    wire.freeze()
    record = store.record(lease.epoch, Changes(key_fingerprint="a"))
    await asyncio.gather(told_away(store.snapshot()), told_away(record))
    await told_away(store.snapshot())
    wire.thaw()
    await back(store)
    await store.record(lease.epoch, Changes(key_fingerprint="b"))
    assert (await store.snapshot()).key_fingerprint == "b"


async def test_connections_that_the_server_ended_while_idle_are_replaced_unnoticed(
    store, fresh_norn_db
):
    for _ in range(3):
        await store.snapshot()
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        ended = await conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'norn:one'"
        )
        assert len(await ended.fetchall()) >= 1
    await asyncio.sleep(0.1)  # until the relay passed the end on
    await store.snapshot()


async def test_a_restart_of_the_server_is_survived(store, wire):
    for _ in range(3):
        await store.snapshot()
    await wire.cut()
    await told_away(store.snapshot())
    await told_away(store.snapshot())
    await wire.open(wire.port)
    await back(store)
    await store.request(Operation(0, "reconcile", AppName("a")))


async def test_a_listener_notices_a_frozen_server(store, wire, monkeypatch):
    monkeypatch.setattr(reads, "_LISTEN_SECONDS", 0.2)
    async with aclosing(store.listen()) as calls:
        await anext(calls)
        wire.freeze()
        await told_away(anext(calls))


async def test_a_slow_statement_is_ended_by_the_server_too(store, fresh_norn_db):
    await acquire(store, 60.0)
    async with await psycopg.AsyncConnection.connect(fresh_norn_db) as other:
        await other.execute("SELECT 1 FROM reconciler.lease FOR UPDATE")
        await told_away(store.record(1, Changes(key_fingerprint="a")))
        waiting = await other.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert await waiting.fetchone() == (0,)


async def test_a_wrong_password_is_told_without_it(fresh_norn_db):
    url = psycopg.conninfo.make_conninfo(fresh_norn_db, password="hunter2")
    store = PostgresStore(Secret(url), instance="one", request_timeout=TIMEOUT)
    words = await told_away(store.snapshot())
    assert "password authentication failed" in words
    assert "hunter2" not in words
    await store.close()
