"""The one door to the driver: one connection manager, one thread, one call at a time.

kafka-python's calls block, and a thread cannot be cancelled: so each has limits of its own inside
the driver, shorter than a lease, and a call that outlived its caller is awaited before the next one
starts. After any fault the manager is thrown away; the next call opens a new one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from norn_reconciler.model.errors import Denied, ServiceError, Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.faults import no_answer, refused_login, said
from norn_reconciler.providers.events.login import LoginRefused, log_in
from norn_reconciler.providers.events.state import SERVICE

if TYPE_CHECKING:
    from kafka.net.manager import KafkaConnectionManager
    from kafka.protocol.broker_version_data import BrokerVersionData

T = TypeVar("T")

_MAX_REPLY = 100_000_000  # bytes; the ACLs of some thousand apps take a few million
_SLACK = 2.0  # seconds beyond the driver's own limits before a caller is let go
_METADATA_API = 3
_SCRAM_APIS = (50, 51)  # DescribeUserScramCredentials, AlterUserScramCredentials


class EventsClient:
    """Sends requests of `wire` and gives back the driver's responses.

    Every method raises Unavailable when the endpoint does not answer in time and Denied when it
    refuses norn's own login. Construction does no I/O.
    """

    def __init__(
        self, endpoint: Endpoint, mechanism: str, username: str | None, password: Secret | None
    ) -> None:
        self.endpoint = endpoint
        self.mechanism = mechanism
        self.username = username
        self._password = password
        self.requests = 0  # sent so far, logins and the driver's own not counted
        self._executor: ThreadPoolExecutor | None = None
        self._running: Future[Any] | None = None
        self._manager: KafkaConnectionManager | None = None
        self._node: int | None = None
        self._controller: int | None = None
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        """Log in and open the connection, unless it is open."""
        async with self._opening:
            if self._manager is None:
                await self._ensure_login()
                await self._in_thread(self._connected)

    async def ask(self, request: Any, *, controller: bool = False, node: int | None = None) -> Any:
        """One request, one response. controller: to the node that says it is the controller, as
        far as known; any broker passes most writes on by itself. node: to this broker, for what
        no other one can answer."""
        await self.connect()
        return await self._in_thread(lambda: self._exchange(request, controller, node))

    async def has_scram(self) -> bool:
        """Whether the broker's API has the requests that list and write SCRAM users."""
        await self.connect()
        versions = await self._in_thread(lambda: self._versions().api_versions)
        return all(key in versions for key in _SCRAM_APIS)

    async def sees_rights(self) -> bool:
        """Whether the broker says what whoever asks may do with a topic."""
        from norn_reconciler.providers.events import wire  # noqa: PLC0415

        await self.connect()
        versions = await self._in_thread(lambda: self._versions().api_versions)
        return bool(versions.get(_METADATA_API, (0, 0))[1] >= wire.METADATA_WITH_RIGHTS)

    async def version(self) -> str:
        """The newest Apache Kafka release whose API the broker has all of, such as `4.1`."""
        await self.connect()
        return str(await self._in_thread(lambda: self._versions().broker_version_str))

    def heard(self, controller: int) -> None:
        """Remember who the controller is (from a Metadata response; -1: nobody knows)."""
        self._controller = controller if controller >= 0 else None

    def has_password_among(self, words: Iterable[str]) -> bool:
        """Whether norn's own password is one of these."""
        return self._password is not None and any(self._password == Secret(w) for w in words)

    async def close(self) -> None:
        """Hang up and end the threads. The client may be used again; it then opens anew."""
        if self._executor is None:
            return
        executor, self._executor = self._executor, None
        await asyncio.wrap_future(executor.submit(self._drop))
        await asyncio.to_thread(executor.shutdown)

    async def _ensure_login(self) -> None:
        """Ask the broker once whether it takes norn's password: the driver would retry a wrong one
        until it times out, and then not know why."""
        if not self.endpoint.sasl:
            return
        if self.username is None or self._password is None:
            raise Denied(
                SERVICE,
                "no user and password to log in to the broker",
                remedy="set NORN_REDPANDA_USERNAME and NORN_REDPANDA_PASSWORD",
            )
        try:
            await log_in(self.endpoint, self.mechanism, self.username, self._password)
        except LoginRefused as error:
            raise refused_login(self.username, str(error)) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        limit = self.endpoint.timeout + _SLACK
        if self._running is not None and not self._running.done():
            _, late = await asyncio.wait([asyncio.wrap_future(self._running)], timeout=limit)
            if late:
                raise Unavailable(SERVICE, "an earlier request has still not come back")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="norn-events")
        future = self._running = self._executor.submit(work)
        waiting = asyncio.wrap_future(future)
        # A call whose caller has gone still has a result; asking for it keeps asyncio quiet.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            # Opening has a limit of its own, hence twice. The shield: a caller that is cancelled
            # must not make the call look finished.
            return await asyncio.wait_for(asyncio.shield(waiting), 2 * limit)
        except TimeoutError as error:
            raise no_answer(error, 2 * limit, "the broker does not answer") from error

    # From here on: in the thread.

    def _connected(self) -> KafkaConnectionManager:
        if self._manager is None:
            self._manager = self._open()
        return self._manager

    def _versions(self) -> BrokerVersionData:
        versions = self._connected().broker_version_data
        if versions is None:
            raise Unavailable(SERVICE, "the broker has not said which requests it knows")
        return versions

    def _open(self) -> KafkaConnectionManager:
        # All it would log comes back as an exception; below WARNING it prints passwords.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        from kafka.errors import KafkaError  # noqa: PLC0415  -- 0.2 s to import
        from kafka.net.manager import KafkaConnectionManager  # noqa: PLC0415
        from kafka.net.selector import NetworkSelector  # noqa: PLC0415

        ms = int(self.endpoint.timeout * 1000)
        net = NetworkSelector(client_id="norn-reconciler", slow_task_threshold_secs=0)
        manager = KafkaConnectionManager(
            net,
            bootstrap_servers=list(self.endpoint.brokers),
            client_id="norn-reconciler",
            request_timeout_ms=ms,
            socket_connection_setup_timeout_ms=ms,
            socket_connection_setup_timeout_max_ms=ms,
            receive_message_max_bytes=_MAX_REPLY,
            security_protocol=self.endpoint.security_protocol,
            ssl_context=self.endpoint.ssl_context(),
            sasl_mechanism=self.mechanism if self.endpoint.sasl else None,
            sasl_plain_username=self.username if self.endpoint.sasl else None,
            sasl_plain_password=self._password.reveal() if self._password else None,
        )
        net.start()
        try:
            manager.bootstrap(ms)
        except (KafkaError, OSError, RuntimeError) as error:
            _shut(manager)
            raise no_answer(error, self.endpoint.timeout, "no broker answers") from error
        self._node = manager.least_loaded_node()
        return manager

    def _exchange(self, request: Any, controller: bool, node: int | None) -> Any:
        from kafka.errors import IncompatibleBrokerVersion, KafkaError  # noqa: PLC0415

        try:
            manager = self._connected()
            self.requests += 1
            # Always the same broker: another one may lag behind what this one has shown.
            if node is None:
                known = self._controller if controller else None
                node = known if known is not None else self._node
            return manager.run(self._send, manager, request, node)
        except IncompatibleBrokerVersion as error:
            raise Denied(
                SERVICE, f"the broker is too old: {said(error)}", remedy="upgrade the broker"
            ) from error
        except (KafkaError, OSError, RuntimeError) as error:
            self._drop()
            raise no_answer(error, self.endpoint.timeout, "the broker does not answer") from error
        except ServiceError:
            self._drop()
            raise

    async def _send(self, manager: KafkaConnectionManager, request: Any, node: int) -> Any:
        """On the driver's loop. The time limit covers connecting too, which a request's own
        does not."""
        limit_ms = self.endpoint.timeout * 1000
        return await manager.wait_for(manager.send(request, node), limit_ms)

    def _drop(self) -> None:
        manager, self._manager = self._manager, None
        self._controller = None
        if manager is not None:
            _shut(manager)


def _shut(manager: KafkaConnectionManager) -> None:
    """Close the connections on the driver's own thread, then end it."""
    net = manager._net
    try:
        manager.run(manager.close)
    finally:
        net.stop()
        # A connection that was just being made is nobody's yet: the driver forgets its socket.
        for key in list(net._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        net.close()
