"""Norn's own way to the server, and what it remembers of unfinished work there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from valkey.exceptions import ResponseError, ValkeyError

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.faults import connection_fault, reply_fault
from norn_reconciler.providers.kv.rules import NAMED_COMMANDS
from norn_reconciler.providers.kv.session import Command, Reply, admin_session
from norn_reconciler.providers.kv.state import Persistence

# Which of the commands in norn's rules this server has: SETUSER refuses an unknown one.
_PROBE: Command = ("COMMAND", "INFO", *NAMED_COMMANDS)


class KvClient:
    """seconds: the longest one request may take. config_rewrite: whether CONFIG REWRITE is allowed.

    persistence: as last seen, None before the first look. unsaved, unended: apps whose change was
    not saved, and apps whose sessions were not ended, although they should have been.
    """

    def __init__(self, endpoint: Endpoint, seconds: float, config_rewrite: bool) -> None:
        self.endpoint = endpoint
        self.seconds = seconds
        self.config_rewrite = config_rewrite
        self.persistence: Persistence | None = None
        self.unsaved: set[AppName] = set()
        self.unended: set[AppName] = set()
        self._session = admin_session(endpoint, seconds, (_PROBE,))

    @property
    def requests(self) -> int:
        """How many requests have been sent."""
        return self._session.sent

    @property
    def missing(self) -> frozenset[str]:
        """Commands of norn's rules that the server of the present connection does not have."""
        for reply in self._session.greeted:
            if isinstance(reply, list) and len(reply) == len(NAMED_COMMANDS):
                pairs = zip(NAMED_COMMANDS, reply, strict=True)
                return frozenset(name for name, info in pairs if info is None)
        return frozenset()  # it may not be asked: then norn's rules are tried as they are

    async def connect(self) -> None:
        """Open the connection, unless it is open. Raises as `ask` does."""
        with self._translated():
            await self._session.connect()

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies, in order; an error reply is a ResponseError in the list.

        Raises Unavailable or Denied when the request as a whole failed.
        """
        with self._translated():
            return await self._session.ask(commands)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ValkeyError, OSError, TimeoutError) as fault:
            raise connection_fault(
                fault, admin=self.endpoint.username, address=str(self.endpoint.own_address)
            ) from fault

    def fault(self, reply: ResponseError, object: str = "") -> ServiceError:
        return reply_fault(reply, admin=self.endpoint.username, object=object)

    async def forget_features(self) -> None:
        """Ask the server anew which commands it has, by a new connection."""
        await self._session.close()

    async def close(self) -> None:
        await self._session.close()
