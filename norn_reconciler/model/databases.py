"""Whole databases, as long work makes, swaps, renames and drops them. Nothing is run inside."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from norn_reconciler.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Seen:
    """A database as the server has it. id: what the server calls it for good. size: bytes, 0 where
    its owner lets nobody see it. sessions: how many are in it. open: whether anybody may log in to
    it."""

    name: str
    id: str
    owner: str
    size: int
    sessions: int
    open: bool


class Databases(Protocol):
    """As the administrator. Each verb raises ServiceError; one that changes something may be called
    again after it was cut off."""

    async def seen(self, name: str) -> Seen | None: ...

    async def make(self, name: str, owner: str, like: str | None = None) -> Seen:
        """A new, empty one, that its owner alone may log in to. like: one that it encodes and sorts
        text as."""
        ...

    async def swap(self, live: Seen, other: Seen, aside: str) -> None:
        """All sessions in both are ended; then, at once, `live` is called `aside` and is shut, and
        `other` has its name and is open. Whatever goes wrong leaves `live` as it was, and open."""
        ...

    async def rename(self, seen: Seen, name: str, *, open: bool) -> None:
        """Its sessions are ended; then it is called `name`, and is open or not, at once."""
        ...

    async def reopen(self, seen: Seen) -> None:
        """It lets in whoever may log in to it: who had shut it was cut off."""
        ...

    def entered(self, seen: Seen, password: Secret | None) -> AbstractAsyncContextManager[None]:
        """Its owner may log in to it within the block, and nobody can afterwards. password: for an
        owner who may not log in at all any more; it is good within the block only."""
        ...

    async def drop(self, seen: Seen) -> None:
        """It is gone with its data, whoever is in it, unless another has its name by now."""
        ...


@runtime_checkable
class HasDatabases(Protocol):
    """A service that has whole databases."""

    def whole(self) -> Databases: ...
