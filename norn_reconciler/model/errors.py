"""The one exception tree. Driver exceptions are translated into it at each edge, with `from`."""

from __future__ import annotations

from datetime import datetime


class NornError(Exception):
    """Anything norn raises on purpose. The message is for a person and holds no secret."""


class LeaseLost(NornError):
    """This process may no longer write."""


class LeaseHeld(NornError):
    """Another process holds the lease: `holder`, at least until `until` unless it renews."""

    def __init__(self, holder: str, until: datetime) -> None:
        super().__init__(f"{holder} holds the lease until {until:%Y-%m-%d %H:%M:%S %Z}")
        self.holder = holder
        self.until = until


class StoreUnavailable(NornError):
    """norn_db does not answer: observe and report, write nothing."""


class SchemaMismatch(NornError):
    """norn_db's tables are missing, older or newer than this program's. The message says what to
    type."""


class SchemaMissing(SchemaMismatch):
    """norn_db has none of this program's tables yet: it knows nothing."""


class SchemaNewer(SchemaMismatch):
    """A newer program made norn_db's tables: this one can do nothing until it is as new."""


class SchemaInUse(SchemaMismatch):
    """norn_db's tables are older, and `holder`, who has the lease, is at work on them: they are
    upgraded when it has stopped."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(f"{message} ({holder} is at work on it)")
        self.holder = holder


class KeyMismatch(NornError):
    """The master key is not the one that norn_db's credentials were derived from."""


class ServiceError(NornError):
    """A backing service refused or did not answer.

    service: the spec's key (`postgres`, `kv`, `events`). object: what it was about, or "".
    """

    reason = "ServiceError"

    def __init__(self, service: str, message: str, *, object: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.service = service
        self.object = object
        self.remedy = remedy


class Unavailable(ServiceError):
    """The endpoint is down, slow or overloaded: retry with backoff, per endpoint."""

    reason = "Unavailable"


class Denied(ServiceError):
    """The admin user lacks a right: `remedy` names the exact GRANT (or setting)."""

    reason = "Denied"


class Conflict(ServiceError):
    """Somebody else's object, or a name that two apps claim."""

    reason = "Conflict"


class Rejected(ServiceError):
    """The server refused this one request for a reason of its own: retry with backoff, per app."""

    reason = "Rejected"


def with_remedy(message: str, remedy: str) -> str:
    """What is wrong, and what to type."""
    return f"{message} ({remedy})" if remedy else message


def sentence(error: NornError) -> str:
    """For a person: which service it is about, what is wrong, and what to do."""
    if not isinstance(error, ServiceError):
        return str(error)
    return with_remedy(f"{error.service}: {error}", error.remedy)


def expected(fault: BaseException) -> tuple[NornError, ...]:
    """The errors that `fault` consists of, leaves of groups included. Empty when anything else is
    among them: that is a defect, and deserves its traceback."""
    if isinstance(fault, BaseExceptionGroup):
        parts = [expected(part) for part in fault.exceptions]
        return tuple(error for part in parts for error in part) if all(parts) else ()
    return (fault,) if isinstance(fault, NornError) else ()
