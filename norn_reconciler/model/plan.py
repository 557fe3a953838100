"""A plan as a value: actions that know what they name and how to show themselves, and problems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import ObjectKey, Origin, Owned
from norn_reconciler.model.secret import CredentialMark

D = TypeVar("D")

PASSWORD_KEPT = "PasswordKept"


@dataclass(frozen=True, slots=True)
class Wanted(Generic[D]):
    """All that planning one app on one service needs beside what the server holds.

    owned: the app's inventory rows on this service. applied: the mark of the password that was
    last set and recorded, None when none was.
    """

    app: AppName
    desired: D
    owned: Owned = field(default_factory=dict)
    applied: CredentialMark | None = None

    def keeps_password(self, user: ObjectKey) -> bool:
        """Whether `user` was adopted and still has the password it came with, which norn does not
        know: it stays until a person asks for another (`norn rotate`)."""
        row = self.owned.get(user)
        return self.applied is None and row is not None and row.origin is Origin.ADOPTED

    def password_kept(self, user: ObjectKey) -> Problem:
        """What to say of it."""
        return Problem(
            Severity.WARNING,
            PASSWORD_KEPT,
            f"{' '.join(user)} keeps the password it had, which norn does not know: it can neither "
            "be delivered nor proven",
            f"norn rotate {self.app}: it gets a new one, and its clients have to be restarted",
        )

    def record_lost(self, key: ObjectKey) -> Problem:
        """What to say of an object that looks like norn's own and that norn_db does not know."""
        return Problem(
            Severity.BLOCKING,
            "Conflict",
            f"{' '.join(key)} looks like norn's own, and norn_db has no record of it: norn_db is "
            "empty, or older than the server",
            f"norn recover {self.app}: it shows each step first, and drops nothing",
        )


class Effect(StrEnum):
    """CREATE: makes an object that was absent (claimed in the inventory first).
    CHANGE: alters what is there towards the spec.
    REMOVAL: takes away what the spec no longer asks for: waits out the grace and passes the guard.
    HANDOVER: gives what another app can use still: waits until that one cannot.
    """

    CREATE = "create"
    CHANGE = "change"
    REMOVAL = "removal"
    HANDOVER = "handover"


@dataclass(frozen=True, slots=True)
class Action(ABC):
    """One step towards the spec. Subclasses are frozen and hold what rendering needs.

    kind, name: the object it acts on (the inventory's key). Class attributes:
    verb: one word for tables ("create", "alter", "grant", "revoke", "delete", …).
    phase: order across the batch, low first; revokes before grants.
    destructive: whether access or data is lost by it.
    sets_credential: the app's password is set by it, so it must be proven and its mark recorded.
    """

    kind: str
    name: str

    verb: ClassVar[str]
    phase: ClassVar[int]
    effect: ClassVar[Effect] = Effect.CHANGE
    destructive: ClassVar[bool] = False
    sets_credential: ClassVar[bool] = False

    @property
    def key(self) -> ObjectKey:
        return (self.kind, self.name)

    @abstractmethod
    def summary(self) -> str:
        """In the service's own words, without secrets: `GRANT CONNECT ON DATABASE d TO r`."""

    @property
    def expected(self) -> str:
        """For drift records: what the spec says; empty where it would repeat the summary."""
        return ""

    @property
    def found(self) -> str:
        """For drift records: what the server held instead."""
        return ""

    @property
    def lost(self) -> bool:
        """True when this makes again an object that norn had confirmed: its data is gone."""
        return False


A = TypeVar("A", bound=Action)
A_co = TypeVar("A_co", bound=Action, covariant=True)


class Severity(StrEnum):
    BLOCKING = "blocking"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a plan cannot mend by itself.

    reason: CamelCase, stable, for conditions: `DataMissing`, `Conflict`, `NotPersisted`,
    `PartitionsShrink`. remedy: what a person should type or do; empty when nothing is to be done.
    A BLOCKING problem keeps the service's condition False; a WARNING is shown beside True.
    object: for `DataMissing`, the inventory key of what is gone: a person may confirm the loss, and
    only then is the row dropped and the object made again.
    opens: others reach what is the app's, or it what is others': its isolation does not hold.
    """

    severity: Severity
    reason: str
    message: str
    remedy: str = ""
    object: ObjectKey | None = None
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Plan(Generic[A_co]):
    """Ordered actions of one app on one service. No action and no blocking problem = converged."""

    actions: tuple[A_co, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def blocked(self) -> Problem | None:
        """The first blocking problem."""
        return next((p for p in self.problems if p.severity is Severity.BLOCKING), None)

    @property
    def open(self) -> Problem | None:
        """The first one by which the app's isolation does not hold."""
        return next((p for p in self.problems if p.opens), None)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done, as forge_states and deployments show it. duration_ms: milliseconds."""

    step: str
    status: str  # ok | skipped | failed | running
    duration_ms: int
    output: str = ""

    def as_json(self) -> Mapping[str, object]:
        return {
            "step": self.step,
            "status": self.status,
            "durationMs": self.duration_ms,
            "output": self.output,
        }
