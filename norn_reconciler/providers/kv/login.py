"""A login as an app, with the very values that it is given."""

from __future__ import annotations

import asyncio
import secrets
import time

from valkey.exceptions import AuthenticationError, NoPermissionError, ResponseError, ValkeyError

from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.outcome import (
    NEIGHBOUR_OPEN,
    NO_RIGHTS,
    OPEN_TO_ALL,
    WRONG_PASSWORD,
    Proof,
)
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.faults import connection_fault, words
from norn_reconciler.providers.kv.session import Command, Reply, app_session

PROOF_KEY = "norn-proof"  # no such key is ever made


async def prove(
    endpoint: Endpoint, seconds: float, user: str, password: Secret, namespace: str | None
) -> Proof:
    """Log in at the advertised address, PING, read one key of the namespace, and write one if it
    existed, which it does not: SET XX needs every right that SET needs, and makes nothing.

    Raises Unavailable when the server does not answer there.
    """
    session = app_session(endpoint, seconds, user, password, endpoint.address)
    commands: list[Command] = [("PING",)]
    if namespace is not None:
        key = f"{namespace}:{PROOF_KEY}:{secrets.token_hex(8)}"
        commands += [("GET", key), ("SET", key, "", "XX", "EX", "1")]
    began = time.perf_counter()

    def took() -> float:
        return (time.perf_counter() - began) * 1000

    try:
        replies = await session.ask(commands)
    except AuthenticationError as refused:
        reason = f"wrong password, or the user is off: {words(refused)}"
        return Proof(False, took(), reason, WRONG_PASSWORD)
    except (ValkeyError, OSError, TimeoutError) as fault:
        translated = connection_fault(fault, admin=user, address=str(endpoint.address))
        if isinstance(translated, Unavailable):
            raise translated from fault
        return Proof(False, took(), str(translated))
    finally:
        await session.close()
    reason = next((text for reply in replies if (text := _refused(reply))), "")
    return Proof(not reason, took(), reason, NO_RIGHTS if reason else "")


async def trespass(
    endpoint: Endpoint, seconds: float, user: str, password: Secret, foreign: str
) -> Proof:
    """Without a login, and with a wrong password, nothing works; logged in, nothing of `foreign`
    (another namespace). Raises ServiceError when nobody can tell."""
    began = time.perf_counter()
    key = f"{foreign}:{PROOF_KEY}:{secrets.token_hex(8)}"
    wrong = Secret(secrets.token_urlsafe(32))
    nobody, taken, entered = await asyncio.gather(
        _takes(endpoint, seconds, None, None),
        _takes(endpoint, seconds, user, wrong),
        _lets(endpoint, seconds, user, password, ("EXISTS", key)),
    )
    reason = kind = ""
    if nobody:
        reason, kind = "connections that have not logged in are user default", OPEN_TO_ALL
    elif taken:
        reason, kind = "the server takes a wrong password", OPEN_TO_ALL
    elif entered:
        reason, kind = f"it may ask for keys of {foreign}:*", NEIGHBOUR_OPEN
    return Proof(not reason, (time.perf_counter() - began) * 1000, reason, kind)


async def _takes(
    endpoint: Endpoint, seconds: float, user: str | None, password: Secret | None
) -> bool:
    """Whether this is a login at all. A user that may not run the command tried is one: others it
    may run, so that only the server's word that nobody has logged in is a refusal."""
    reply = await _reply(endpoint, seconds, user, password, ("PING",))
    return not isinstance(reply, AuthenticationError)


async def _lets(
    endpoint: Endpoint, seconds: float, user: str, password: Secret, command: Command
) -> bool:
    """Whether this login may do this."""
    reply = await _reply(endpoint, seconds, user, password, command)
    return not isinstance(reply, NoPermissionError | AuthenticationError)


async def _reply(
    endpoint: Endpoint, seconds: float, user: str | None, password: Secret | None, command: Command
) -> Reply | AuthenticationError:
    session = app_session(endpoint, seconds, user, password, endpoint.address)
    try:
        (reply,) = await session.ask([command])
    except AuthenticationError as refused:
        return refused
    except (ValkeyError, OSError, TimeoutError) as fault:
        raise connection_fault(
            fault, admin=user or "default", address=str(endpoint.address)
        ) from fault
    finally:
        await session.close()
    return reply


def _refused(reply: Reply) -> str:
    """Only a missing right speaks against the login: a key of another type, or on another node of a
    cluster, was let through."""
    if isinstance(reply, NoPermissionError):
        return f"logged in, but without its rights: {words(reply)}"
    if isinstance(reply, ResponseError) and words(reply).startswith("LOADING"):
        return words(reply)
    return ""
