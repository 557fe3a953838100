"""The driver's exceptions and the server's error replies as norn's errors."""

from __future__ import annotations

import re

from valkey.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    ResponseError,
    ValkeyError,
)
from valkey.exceptions import TimeoutError as ValkeyTimeout

from norn_reconciler.model.errors import Denied, Rejected, ServiceError, Unavailable
from norn_reconciler.providers.kv.state import SERVICE

_DIGEST = re.compile(r"#[0-9a-fA-F]{8,}")
_COMMAND = re.compile(r"run the '([^']+)' command")
# Said about the server as a whole; asking again later may well succeed.
_ENDPOINT = ("LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM ")


def words(fault: BaseException) -> str:
    """The error in words, without password digests."""
    return _DIGEST.sub("#…", str(fault)) or type(fault).__name__


def reply_fault(fault: ResponseError, *, admin: str, object: str = "") -> ServiceError:
    """The error reply to one command. admin: the user norn logs in as."""
    text = words(fault)
    if isinstance(fault, NoPermissionError):
        found = _COMMAND.search(text)
        right = f"+{found[1]}" if found else "the rights that docs/operations.md lists"
        return Denied(
            SERVICE,
            f"norn's user {admin} lacks a right: {text}",
            object=object,
            remedy=f"ACL SETUSER {admin} {right}",
        )
    if text.startswith(_ENDPOINT):
        return Unavailable(SERVICE, text, object=object)
    return Rejected(SERVICE, text, object=object)


def connection_fault(fault: Exception, *, admin: str, address: str) -> ServiceError:
    """What ended a whole request: the network, the clock, or a refused login."""
    if isinstance(fault, AuthenticationError | AuthorizationError):
        return Denied(
            SERVICE,
            f"the server refuses the login of {admin}: {words(fault)}",
            object=admin,
            remedy="check user and password in NORN_VALKEY_URL",
        )
    if isinstance(fault, ResponseError):
        return reply_fault(fault, admin=admin)
    if isinstance(fault, TimeoutError | ValkeyTimeout):
        return Unavailable(SERVICE, f"{address} did not answer in time")
    known = isinstance(fault, ValkeyError | OSError)
    text = words(fault) if known else f"{type(fault).__name__}: {words(fault)}"
    return Unavailable(SERVICE, f"{address}: {text}")
