"""What is wanted: apps with their sections, and the names they claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NewType, Protocol, runtime_checkable

from norn_reconciler.model.inventory import Held, ObjectKey

AppName = NewType("AppName", str)


class Deletion(StrEnum):
    """retain: it stays, shut. trash: it is out of the way, and goes when its grace is over. delete:
    it goes at once. What can be copied is copied before it goes."""

    RETAIN = "retain"
    TRASH = "trash"
    DELETE = "delete"


DeletionText = Literal["retain", "trash", "delete"]


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A name, or every name that begins with a prefix, that one app alone may hold.

    space: which names it is about, e.g. `postgres.database`, `kv.keys`, `events.topic`.
    """

    space: str
    value: str
    prefix: bool = False

    def collides(self, other: Claim) -> bool:
        """True when some name would belong to both."""
        if self.space != other.space:
            return False
        if self.value == other.value:
            return True
        return (self.prefix and other.value.startswith(self.value)) or (
            other.prefix and self.value.startswith(other.value)
        )

    def __str__(self) -> str:
        return f"{self.space} {self.value}{'*' if self.prefix else ''}"


@runtime_checkable
class Section(Protocol):
    """One service's part of a spec: `services.<key>`, validated. Implemented by each provider.

    deletion: None where this part says nothing, and the app's word counts."""

    deletion: DeletionText | None

    def claims(self, app: AppName) -> frozenset[Claim]:
        """The names this section asks for."""
        ...

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        """Other app → this section's objects that it may read, as their inventory rows say them."""
        ...

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        """The names that an inventory row keeps for its app, whatever its spec says now."""
        ...

    def formerly(self, app: AppName) -> frozenset[Claim]:
        """The names under which what this section asks for may still be."""
        ...

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        """Whether such an object may pass to another app as it is: nothing in it is of the one that
        had it but what is meant for whoever has it. renamed: to the same app by a new name, which
        gets all but the users, that are made anew."""
        ...


@dataclass(frozen=True, slots=True)
class App:
    """One app as the fleet wants it. A service that is not in `sections` is wanted empty.

    deletion: service → what becomes of its data once nobody asks for them: RETAIN where nothing is
    said. readable: service → names of others' objects that their owners let it read. withheld:
    service → (owner, name) of those that norn_db does not call their owners': nothing is given of
    them.
    """

    name: AppName
    sections: Mapping[str, Section]
    readable: Mapping[str, frozenset[str]] = field(default_factory=dict)
    withheld: Mapping[str, frozenset[tuple[AppName, str]]] = field(default_factory=dict)
    deletion: Mapping[str, Deletion] = field(default_factory=dict)
