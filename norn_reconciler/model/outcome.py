"""What a round found for one app on one service, as values."""

from __future__ import annotations

from dataclasses import dataclass

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.plan import Action, Problem, Step


@dataclass(frozen=True, slots=True)
class Applied:
    """What `Provider.apply` did for one app.

    done: the actions that the server acknowledged, in order. error: why not all
    were done; the first where there are several, and the steps name each.
    proven: the app's new password was already used for a successful login on the way.
    """

    done: tuple[Action, ...] = ()
    steps: tuple[Step, ...] = ()
    error: ServiceError | None = None
    proven: bool = False


WRONG_PASSWORD = "WrongPassword"  # the server refused the very password that was delivered
BUSY = "TooManyConnections"  # it refused for want of room: that says nothing of the password
NO_RIGHTS = "NoRights"
OPEN_TO_ALL = "WrongPasswordAccepted"
NEIGHBOUR_OPEN = "NeighbourOpen"
SERVER_OPEN = "ServerOpen"  # it may do what only an administrator should


@dataclass(frozen=True, slots=True)
class Proof:
    """What a login as the app showed. reason is empty when ok; kind: one of the words above, ""
    when ok or when none of them fits. response_ms: milliseconds."""

    ok: bool
    response_ms: float
    reason: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """One app's isolation on one service, tried as the app. ok: None when nobody can tell, since
    the service does not answer or has no room. reason: CamelCase; message: for people."""

    ok: bool | None
    reason: str
    message: str
    response_ms: float


@dataclass(frozen=True, slots=True)
class Health:
    """One service, asked once. detail: version when ok, else the error in words."""

    service: str
    ok: bool
    response_ms: float
    detail: str
    findings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Converged:
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Not done yet, and nothing is wrong: look again after `seconds`. dated: what the message says
    happens then."""

    seconds: float
    reason: str
    message: str
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Blocked:
    """A person must act: the problem says what to type."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Failed:
    """Tried, refused by the server or unreachable: tried again after `retry_in` seconds."""

    error: ServiceError
    retry_in: float


Outcome = Converged | RequeueAfter | Blocked | Failed
