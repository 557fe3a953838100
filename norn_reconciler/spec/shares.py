"""What owners let other apps read, and whether norn_db says that it is theirs to give. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.inventory import HeldState, ObjectKey, Owned

T = TypeVar("T")

Inventory = Mapping[tuple[str, AppName], Owned]  # (service, app) → its rows


@dataclass(frozen=True, slots=True)
class Share:
    """One object that its owner's spec lets one other app read."""

    service: str
    owner: AppName
    reader: AppName
    object: ObjectKey

    def given(self, inventory: Inventory) -> bool:
        """Whether norn made or adopted it for the owner: a spec may name what is somebody else's,
        and only asks for it."""
        row = inventory.get((self.service, self.owner), {}).get(self.object)
        return row is not None and row.state is HeldState.OWNED


def shares(members: Mapping[AppName, Member]) -> Iterator[Share]:
    """All that the specs say, in order."""
    for owner, member in sorted(members.items()):
        if member.core:
            continue
        for service, section in sorted(member.app.sections.items()):
            for reader, objects in section.shares().items():
                for one in sorted(objects):
                    yield Share(service, owner, reader, one)


def names(found: Iterable[Share]) -> Mapping[str, frozenset[str]]:
    """Service → the names of the objects."""
    return _by_service((share.service, share.object[1]) for share in found)


def owned_names(found: Iterable[Share]) -> Mapping[str, frozenset[tuple[AppName, str]]]:
    """Service → (owner, name of the object)."""
    return _by_service((share.service, (share.owner, share.object[1])) for share in found)


def _by_service(pairs: Iterable[tuple[str, T]]) -> Mapping[str, frozenset[T]]:
    gathered: dict[str, set[T]] = {}
    for service, what in pairs:
        gathered.setdefault(service, set()).add(what)
    return {service: frozenset(gathered[service]) for service in sorted(gathered)}
