"""One app within one round, as it moves from wanted to outcome; what is told of it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from norn_reconciler import logs
from norn_reconciler.engine.guard import loss_digest
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.outcome import (
    BUSY,
    WRONG_PASSWORD,
    Applied,
    Proof,
    RequeueAfter,
    Verification,
)
from norn_reconciler.model.plan import Action, Effect, Plan, Problem, Severity, Wanted
from norn_reconciler.model.records import ServiceRecord
from norn_reconciler.model.secret import Credential, CredentialMark
from norn_reconciler.model.status import Event

QUEUED = "Queued"
NOT_LEADER = "NotLeader"
REPAIR = "PasswordDrift"
UNSEEN = "NotYetVisible"
BEHIND = "HandedOver"  # another app's access to it goes first
PENDING = "RemovalPending"  # access goes when the grace is over
OLDER = "NornDbOlder"


@dataclass(slots=True)
class Case:
    """entry: what the round started from. base: the inventory it started from, its own claims
    included; record: what had converged last; credential: what its user is to have, None where
    not even that could be made. digest: of the desired state. plan: what may run now; deferred:
    how many removals may not yet. behind: what waits for other apps. shown: monotonic seconds
    when what was applied could be seen. proof: of its own login; walls: of what was refused to
    it; unknown: why one of them could not be tried."""

    entry: Entry
    base: Owned
    wanted: Wanted[Any]
    record: ServiceRecord
    credential: Credential | None = None
    digest: str = ""
    observed: Any = None
    plan: Plan[Any] = field(default_factory=Plan)
    deferred: int = 0
    behind: tuple[str, ...] = ()
    applied: Applied = field(default_factory=Applied)
    shown: float | None = None
    proof: Proof | None = None
    walls: Proof | None = None
    unknown: str = ""
    error: ServiceError | None = None
    endpoint: bool = False  # the error is the endpoint's, not this app's
    waits: RequeueAfter | None = None

    @property
    def settled(self) -> bool:
        """It had converged for this very state before: any difference is somebody's doing."""
        return self.record.desired_digest == self.digest

    @property
    def login(self) -> Credential:
        """The round's own: another may be wanted by now."""
        assert self.credential is not None, "nothing is tried of what could not be made"
        return self.credential

    @property
    def acted(self) -> bool:
        return bool(self.applied.done or self.applied.error)

    @property
    def password_lost(self) -> bool:
        """Somebody changed the password: all is as it should be, and the login is refused."""
        return (
            self.settled
            and not self.acted
            and self.error is None  # else nobody could tell whether it is a later one of norn's
            and self.plan.blocked is None  # else it is, and norn_db is behind
            and self.proof is not None
            and self.proof.kind == WRONG_PASSWORD
        )

    @property
    def resets_password(self) -> bool:
        """The plan sets the password of a user that is there and had it set before."""
        return any(a.sets_credential and a.effect is not Effect.CREATE for a in self.plan.actions)

    def moved(self, why: str) -> None:
        """What this round goes by is gone: it does nothing, and another one looks again."""
        self.plan, self.proof = Plan(), None
        self.waits = RequeueAfter(0.0, QUEUED, why)

    def overtaken(self, title: str, found: CredentialMark, recorded: CredentialMark) -> None:
        """The server has a later password than norn_db knows of: nothing is done about it."""
        text = (
            f"{title} has its password of generation {found.generation}, and norn_db knows of "
            f"generation {recorded.generation} only: norn_db is older than the server"
        )
        app = self.wanted.app
        remedy = f"norn recover {app}: it shows each step first, and drops nothing"
        self.plan = Plan((), (Problem(Severity.BLOCKING, OLDER, text, remedy),))
        self.proof = None  # it was tried with the wrong one

    @property
    def older(self) -> bool:
        """The server has a later password than norn_db knows of."""
        return self.plan.blocked is not None and self.plan.blocked.reason == OLDER

    @property
    def verification(self) -> Verification | None:
        """What logging in as the app showed; None when it was not tried in this round."""
        took = (self.proof.response_ms if self.proof else 0.0) + (
            self.walls.response_ms if self.walls else 0.0
        )
        if self.unknown:
            return Verification(None, "Unverifiable", self.unknown, took)
        for found in (self.proof, self.walls):
            if found is not None and not found.ok:
                told = found.kind != BUSY
                kind = found.kind or "LoginRefused"
                return Verification(False if told else None, kind, found.reason, took)
        return Verification(True, "Verified", "", took) if self.walls is not None else None

    def drift(self, service: str) -> tuple[Event, ...]:
        """What is about to be repaired, where it is somebody's doing or a loss."""
        named = any(a.expected or a.found for a in self.plan.actions)
        events: list[Event] = []
        for action in self.plan.actions:
            if action.lost:
                events.append(_loss(self.wanted.app, service, action))
            elif (
                self.settled
                and action.effect is not Effect.REMOVAL
                # Some actions only follow from others (sessions ended after a user was narrowed).
                and (action.expected or action.found or not named)
            ):
                events.append(_drift(self.wanted.app, service, action))
        return tuple(events)

    def other_password(self, service: str) -> tuple[Event, ...]:
        """That somebody changed it; the next round sets it again."""
        return (_other_password(self.wanted.app, service),) if self.password_lost else ()


def _loss(app: AppName, service: str, action: Action) -> Event:
    text = f"{action.kind} {action.name} had vanished with its data; it is made again"
    fields = {"kind": action.kind, "name": action.name}
    return Event(logs.DATA_MISSING, "error", app, text, fields, service)


def _drift(app: AppName, service: str, action: Action) -> Event:
    fields = {
        "kind": action.kind,
        "name": action.name,
        "expected": action.expected,
        "found": action.found,
    }
    return Event(logs.DRIFT_DETECTED, "warning", app, action.summary(), fields, service)


def _other_password(app: AppName, service: str) -> Event:
    text = "somebody changed its password: the delivered one is set again"
    fields = {"kind": "password", "name": app, "expected": "the delivered one", "found": "another"}
    return Event(logs.DRIFT_DETECTED, "warning", app, text, fields, service)


def with_digest(app: AppName, service: str, problem: Problem) -> Problem:
    """A loss with what a person types to accept it."""
    if problem.object is None:
        return problem
    mark = loss_digest(app, service, problem)
    remedy = f"restore it, or type: norn confirm {mark}  (it is made anew, empty)"
    return Problem(problem.severity, problem.reason, problem.message, remedy, problem.object)
