"""What the book keeps between reports, and what one call of it is about to write. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from norn_reconciler.engine.rollout import Rollout
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.outcome import Outcome, Verification
from norn_reconciler.model.records import (
    AppRecord,
    Changes,
    Deployment,
    ForgeState,
    HealthCheck,
    ServiceRecord,
)
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.status import Event


class Passwords(Protocol):
    def credential(self, app: AppName, service: str) -> Credential: ...


class Delivery(Protocol):
    """Hands an app its variables (an env file), or takes them away. Both raise OSError or NornError
    when they can't."""

    def deliver(self, app: App, passwords: Passwords) -> bool:
        """Write if changed; True when it was."""
        ...

    def agrees(self, app: App, passwords: Passwords) -> bool:
        """Whether `deliver` would change nothing."""
        ...

    def withdraw(self, app: AppName) -> bool: ...


@dataclass(frozen=True, slots=True)
class Heard:
    """The last report on one app by one service: for which wish, from a round begun when."""

    entry: Entry
    outcome: Outcome
    began: float


@dataclass(slots=True)
class Talk:
    """What must not be said twice. It moves, like the mirror, only after norn_db did."""

    rollouts: dict[AppName, Rollout] = field(default_factory=dict)
    spoken: dict[tuple[str, AppName], int] = field(default_factory=dict)  # generation
    told: dict[tuple[str, AppName], str] = field(default_factory=dict)  # problems
    verified: dict[tuple[str, AppName], tuple[Verification, datetime]] = field(default_factory=dict)

    def copy(self) -> Talk:
        return Talk(dict(self.rollouts), dict(self.spoken), dict(self.told), dict(self.verified))


@dataclass(slots=True)
class Draft:
    """What one call of `report` is about to write, and to say once it is written."""

    talk: Talk
    apps: dict[AppName, AppRecord] = field(default_factory=dict)
    inventory: dict[tuple[str, AppName], Owned] = field(default_factory=dict)
    services: dict[tuple[str, AppName], ServiceRecord] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    forge_states: list[ForgeState] = field(default_factory=list)
    health_checks: list[HealthCheck] = field(default_factory=list)
    ended: list[tuple[Rollout, AppRecord, bool]] = field(default_factory=list)

    def changes(self) -> Changes:
        return Changes(
            tuple(self.apps.values()),
            self.inventory,
            self.services,
            tuple(self.events),
            tuple(self.deployments),
            tuple(self.forge_states),
            tuple(self.health_checks),
        )
