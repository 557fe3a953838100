"""The driver's errors in norn's words. No message here holds a secret or a statement."""

from __future__ import annotations

import psycopg

from norn_reconciler.model.errors import Conflict, Denied, Rejected, ServiceError, Unavailable
from norn_reconciler.model.outcome import BUSY, WRONG_PASSWORD
from norn_reconciler.providers.postgres.state import SERVICE

# duplicate_object, duplicate_database, and unique_violation: two that are made at the same moment
DUPLICATES = ("42710", "42P04", "23505")
PRIVILEGE = "42501"
# Connection, resources, operator intervention, system errors.
_ENDPOINT_CLASSES = ("08", "53", "57", "58")
# A statement that took too long: the server is well, this one request is not.
_STATEMENT_TIMEOUT = "57014"
_FULL = ("too many connections", "too many clients", "remaining connection slots")


class DearLogin(Rejected):
    """Logging in as the app would keep norn busy for longer than is safe."""


def translate(fault: BaseException, *, object: str = "", remedy: str = "") -> ServiceError:
    """remedy: what to type where the admin lacks a right."""
    if isinstance(fault, ServiceError):
        return fault
    if isinstance(fault, TimeoutError):
        return Unavailable(SERVICE, "PostgreSQL did not answer in time", object=object)
    if isinstance(fault, OSError):
        return Unavailable(SERVICE, fault.strerror or type(fault).__name__, object=object)
    if not isinstance(fault, psycopg.Error):
        raise fault
    code = fault.sqlstate or ""
    words = message(fault)
    if code == PRIVILEGE:
        return Denied(SERVICE, words, object=object, remedy=remedy)
    if code in DUPLICATES:
        return Conflict(SERVICE, words, object=object)
    if not code and isinstance(fault, psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable(SERVICE, words, object=object)
    if code[:2] in _ENDPOINT_CLASSES and code != _STATEMENT_TIMEOUT:
        return Unavailable(SERVICE, words, object=object)
    return Rejected(SERVICE, words, object=object)


def message(fault: psycopg.Error) -> str:
    """The server's first line. libpq's own come from connecting; they name no password."""
    text = fault.diag.message_primary or str(fault).strip() or type(fault).__name__
    line = text.splitlines()[0]
    _, fatal, said = line.rpartition("FATAL:  ")
    return said if fatal else line


def refused_login(fault: psycopg.Error) -> str:
    """Why a login failed, as one short reason: `WrongPassword`, `TooManyConnections`, or ""."""
    words = message(fault)
    if "password authentication failed" in words or fault.sqlstate == "28P01":
        return WRONG_PASSWORD
    if any(word in words for word in _FULL) or fault.sqlstate == "53300":
        return BUSY
    return ""
