"""A broker that is away, frozen, or no broker at all: verbs end in time, say so, and recover."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Denied, ServiceError, Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from tests.integration.provider_contract import World, credential, fresh_name

TIMEOUT = 1.0  # seconds for one request
PATIENCE = 20.0  # a verb that takes longer hangs


class Wire:
    """A path to the broker that can be frozen: bytes wait, connections stay up."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def path_to(host: str, port: int) -> AsyncIterator[Wire]:
    wire = Wire()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        both = [
            asyncio.create_task(wire.carry(reader, far_writer)),
            asyncio.create_task(wire.carry(far_reader, writer)),
        ]
        tasks.update(both)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@pytest.fixture
async def wire(servers: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    """Every connection to the broker takes this path, also those to its advertised address."""
    import kafka.net.manager as driver  # noqa: PLC0415

    host, _, port = servers.brokers.partition(":")
    direct = driver.create_connection
    async with path_to(host, int(port)) as wire:

        def by_the_path(net: Any, _host: str, _port: int, *rest: Any, **named: Any) -> Any:
            return direct(net, "127.0.0.1", wire.port, *rest, **named)

        monkeypatch.setattr(driver, "create_connection", by_the_path)
        yield wire


@pytest.fixture
async def provider(servers: Any, wire: Wire) -> AsyncIterator[EventsProvider]:
    provider = EventsProvider(
        brokers=f"127.0.0.1:{wire.port}",
        username=servers.kafka_username,
        password=Secret(servers.kafka_password),
        request_timeout=TIMEOUT,
    )
    yield provider
    wire.open.set()
    await provider.close()


def app(name: AppName) -> App:
    return App(name, {"events": EventsSection.model_validate({"topics": [f"in-{name}"]})})


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Afterwards there are no more threads of norn's or the driver's than before."""

    def ours() -> set[str]:
        return {t.name for t in threading.enumerate() if "kafka" in t.name or "norn" in t.name}

    assert ours() == set()
    yield
    assert ours() == set()


async def test_a_frozen_broker_is_unavailable_and_then_itself_again(
    threads_end: None, provider: EventsProvider, wire: Wire
) -> None:
    world, one = World(provider), app(fresh_name())  # type: ignore[arg-type]
    await world.converge(one)
    for _ in range(2):  # the second time no connection is left: logging in freezes
        wire.open.clear()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unavailable):
                await world.plans([one])
            health = await provider.check()
            assert not health.ok
            assert health.detail == f"the broker did not answer within {TIMEOUT:g} s"
            with pytest.raises(Unavailable):
                await provider.prove(one, credential(one.name))
        wire.open.set()
        async with asyncio.timeout(PATIENCE):
            assert (await world.plans([one]))[one.name].actions == ()
            assert (await provider.check()).ok


async def test_a_broker_that_freezes_between_two_writes_is_taken_up_again(
    threads_end: None, provider: EventsProvider, wire: Wire
) -> None:
    world, one = World(provider), app(fresh_name())  # type: ignore[arg-type]
    plans = await world.plans([one])
    world.claim(plans)

    class Freezing:
        """Freezes the path right before the second write."""

        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 2:
                wire.open.clear()

    async with asyncio.timeout(PATIENCE):
        applied = await provider.apply({one.name: plans[one.name].actions}, Freezing())
    assert isinstance(applied[one.name].error, Unavailable)
    assert [action.kind for action in applied[one.name].done] == ["topic"]
    wire.open.set()
    await world.converge(one)


async def test_a_cancelled_caller_leaves_the_thread_usable(
    threads_end: None, provider: EventsProvider, wire: Wire
) -> None:
    world, one = World(provider), app(fresh_name())  # type: ignore[arg-type]
    await world.plans([one])
    wire.open.clear()
    task = asyncio.create_task(world.plans([one]))
    await asyncio.sleep(TIMEOUT / 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wire.open.set()
    async with asyncio.timeout(PATIENCE):
        assert (await world.plans([one]))[one.name].actions


async def test_nobody_listens(threads_end: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await _is_unavailable(port)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0", None])
async def test_what_listens_is_no_broker(threads_end: None, answer: bytes | None) -> None:
    """answer: what it says to anything; None: nothing at all, and keeps the connection."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await _is_unavailable(server.sockets[0].getsockname()[1])
    finally:
        done.set()
        server.close()
        await asyncio.sleep(0)


async def _is_unavailable(port: int) -> None:
    provider = EventsProvider(
        brokers=f"127.0.0.1:{port}",
        username="admin",
        password=Secret("s3cret"),
        request_timeout=TIMEOUT,
    )
    one = app(fresh_name())
    try:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unavailable) as caught:
                await World(provider).plans([one])  # type: ignore[arg-type]
            with pytest.raises(Unavailable):
                await provider.prove(one, credential(one.name))
            health = await provider.check()
        assert "s3cret" not in str(caught.value)
        assert not health.ok
    finally:
        await provider.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": Secret("wrong")}, "refuses the login of"),
        ({"username": "nobody-of-that-name"}, "refuses the login of nobody-of-that-name"),
        ({"sasl_mechanism": "PLAIN"}, "offers no PLAIN"),
        ({"password": None}, "no user and password"),
    ],
)
async def test_a_refused_login_is_told_apart_from_an_outage(
    threads_end: None, servers: Any, changed: dict[str, Any], words: str
) -> None:
    access = {
        "brokers": servers.brokers,
        "username": servers.kafka_username,
        "password": Secret(servers.kafka_password),
    }
    provider = EventsProvider(**{**access, **changed})
    one = app(fresh_name())
    try:
        with pytest.raises(ServiceError, match=words) as caught:
            await World(provider).plans([one])  # type: ignore[arg-type]
        assert isinstance(caught.value, Denied)
        assert "NORN_REDPANDA_" in caught.value.remedy
        health = await provider.check()
        assert not health.ok
        assert words in health.detail
    finally:
        await provider.close()


async def test_a_wrong_app_password_is_no_proof(servers: Any) -> None:
    provider = EventsProvider(brokers=servers.brokers)
    one = app(fresh_name())
    proof = await provider.prove(one, credential(one.name))
    assert not proof.ok
    assert one.name in proof.reason
    assert credential(one.name).password.reveal() not in repr(proof)
    open_to_all = EventsProvider(brokers=servers.brokers, security_protocol="PLAINTEXT")
    assert not (await open_to_all.prove(one, credential(one.name))).ok
