"""What would be lost with an object: what a person is shown before it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from norn_reconciler.model.app import App
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.secret import Credential

Fact = int | str | Mapping[str, int]  # a mapping: by table, by consumer group


@dataclass(frozen=True, slots=True)
class Stake:
    """One object. facts: in the order in which they are shown. unread: a fact → why nobody can tell
    it. All of it moves by itself: it is shown, and no digest binds it."""

    kind: str
    name: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ObjectKey:
        return (self.kind, self.name)


@runtime_checkable
class Weighs(Protocol):
    """A service that can tell how much an app has there."""

    async def weigh(self, app: App, owned: Owned, credential: Credential | None) -> Sequence[Stake]:
        """Of those of `owned` that hold data and are there. Reads only, in a bounded number of
        requests. credential: None where norn does not know the app's password. Raises
        ServiceError."""
        ...
