"""What norn has made or taken over: the rows that decide ownership."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class HeldState(StrEnum):
    """claimed: about to be made, written before the request; owned: seen on the server after it;
    retained: the spec no longer asks for it, access is revoked, data stays."""

    CLAIMED = "claimed"
    OWNED = "owned"
    RETAINED = "retained"


class Origin(StrEnum):
    """made: norn created it. adopted: it was there before; norn never drops it."""

    MADE = "made"
    ADOPTED = "adopted"


ObjectKey = tuple[str, str]  # (kind, name), e.g. ("database", "mailagent_db")


@dataclass(frozen=True, slots=True)
class Held:
    """One object of one app on one service.

    server_id: what the server calls it for good (OID, topic id), None until seen.
    settings: what norn set on it beyond its existence (e.g. topic config keys), so that what a
    spec drops can be reset and what it never named stays untouched.
    """

    kind: str
    name: str
    state: HeldState = HeldState.OWNED
    origin: Origin = Origin.MADE
    server_id: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ObjectKey:
        return (self.kind, self.name)


Owned = Mapping[ObjectKey, Held]
