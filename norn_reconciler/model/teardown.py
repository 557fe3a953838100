"""The end of an app's data: what a service is asked for, once access to them is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import Held, Owned


@runtime_checkable
class Destroys(Protocol):
    """A service whose data can be destroyed. data: kinds of objects that hold them. copied: whether
    a snapshot can be taken of them before they go."""

    key: str
    title: str
    data: frozenset[str]
    copied: bool

    async def destroy(self, app: AppName, held: Held) -> str:
        """The object is gone with its data; what it was is made sure of first. Again, it does
        nothing. In words, how much it was. Raises ServiceError when it can't be done."""
        ...

    async def leave(self, app: AppName, owned: Owned) -> Sequence[Held]:
        """Nothing of the app holds data here any more: its user or role goes, too. Returns the rows
        that stay. Raises ServiceError for what stands in the way, with what to do."""
        ...
