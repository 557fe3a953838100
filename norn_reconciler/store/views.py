"""What reads for people return beyond model.records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from norn_reconciler.model.app import AppName
from norn_reconciler.model.plan import Step
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its place in history. at: by norn_db's clock."""

    id: int
    at: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Standing:
    """held: the removal guard's word while it holds, else "". refused: what is wrong with files
    that can't be used, `file:line:column: words [check]` each. doomed: the word on data that are
    due to go, and wait for a person."""

    held: str = ""
    refused: tuple[str, ...] = ()
    doomed: str = ""


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The lease as norn_db shows it. holder is None when nobody has it; expired: by norn_db's
    clock, the holder has not renewed it in time."""

    holder: str | None
    epoch: int
    expires_at: datetime | None
    expired: bool

    @property
    def held(self) -> bool:
        return self.holder is not None and not self.expired


@dataclass(frozen=True, slots=True)
class PastDeployment:
    """A row of deployments, ours or another Norn tool's: what may be missing there is optional."""

    id: str
    app: AppName
    status: str
    steps: tuple[Step, ...]
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of history. source: operation (somebody asked for it), rollout (a round acted) or
    event (norn found it, or let it go). id: within its source. what: the operation's kind, the
    event's name, or `rollout`. by: who asked, "" where nobody is known. state: of the operation or
    rollout; an event's severity. generation: of the spec that a rollout was about."""

    at: datetime | None
    source: str
    id: str
    what: str
    app: AppName | None
    by: str
    state: str
    words: str
    finished_at: datetime | None
    generation: int | None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class ForgeView:
    """A row of forge_states, ours or another Norn tool's."""

    app: AppName
    status: str
    steps: tuple[Step, ...]
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    resources: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppHealth:
    """The last probe of one service as the app. service and reason are "" in other tools' rows."""

    app: str
    service: str
    healthy: bool
    response_ms: int
    checked_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Node:
    """One process of this daemon. name: its instance's, which a twin may share. role: leader |
    standby. updated_at: its last heartbeat."""

    id: str
    name: str
    role: str
    status: str
    updated_at: datetime | None
