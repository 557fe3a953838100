"""A login as an app, with the very values that it is given."""

from __future__ import annotations

import time

from valkey.exceptions import AuthenticationError, NoPermissionError, ResponseError, ValkeyError

from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.outcome import Proof
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.faults import connection_fault, words
from norn_reconciler.providers.kv.session import Command, Reply, app_session

PROOF_KEY = "norn-proof"  # read, never written


async def prove(
    endpoint: Endpoint, seconds: float, user: str, password: Secret, namespace: str | None
) -> Proof:
    """Log in at the advertised address, PING, and read one key of the namespace.

    Raises Unavailable when the server does not answer there.
    """
    session = app_session(endpoint, seconds, user, password, endpoint.address)
    commands: list[Command] = [("PING",)]
    if namespace is not None:
        commands.append(("GET", f"{namespace}:{PROOF_KEY}"))
    began = time.perf_counter()

    def took() -> float:
        return (time.perf_counter() - began) * 1000

    try:
        replies = await session.ask(commands)
    except AuthenticationError as refused:
        return Proof(False, took(), f"wrong password, or the user is off: {words(refused)}")
    except (ValkeyError, OSError, TimeoutError) as fault:
        translated = connection_fault(fault, admin=user, address=str(endpoint.address))
        if isinstance(translated, Unavailable):
            raise translated from fault
        return Proof(False, took(), str(translated))
    finally:
        await session.close()
    reason = next((text for reply in replies if (text := _refused(reply))), "")
    return Proof(not reason, took(), reason)


def _refused(reply: Reply) -> str:
    """Only a missing right speaks against the login: a key of another type, or on another node of a
    cluster, was let through."""
    if isinstance(reply, NoPermissionError):
        return f"logged in, but without its rights: {words(reply)}"
    if isinstance(reply, ResponseError) and words(reply).startswith("LOADING"):
        return words(reply)
    return ""
