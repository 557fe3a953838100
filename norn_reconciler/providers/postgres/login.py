"""What is done logged in as an app: proving its credential, and closing its schema public. norn's
admin never runs anything inside an app's database, since its owner decides what runs there."""

from __future__ import annotations

import time

import psycopg

from norn_reconciler.model.errors import Rejected, ServiceError, Unavailable
from norn_reconciler.model.outcome import Proof
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.client import bounded, logged_in
from norn_reconciler.providers.postgres.faults import message, refused_login, translate
from norn_reconciler.providers.postgres.state import SERVICE

Trust = tuple[tuple[str, str], ...]


async def prove(url: Secret, name: str, seconds: float, trust: Trust) -> Proof:
    """One login and one SELECT. Raises Unavailable when nobody answers within `seconds`."""
    began = time.monotonic()

    async def ask() -> None:
        async with logged_in(url, name, seconds, trust) as conn:
            await conn.execute("SELECT 1")

    reason = ""
    try:
        await bounded(ask(), seconds)
    except psycopg.Error as fault:
        reason = _why(fault)
        if not reason:
            raise translate(fault) from fault
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    return Proof(not reason, (time.monotonic() - began) * 1000, reason)


async def close_schema_public(
    url: Secret, name: str, seconds: float, trust: Trust, *, object: str
) -> None:
    """Raises ServiceError. An app that dropped its schema public has nothing to close."""

    async def close() -> None:
        async with logged_in(url, name, seconds, trust) as conn:
            try:
                await conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            except psycopg.errors.InvalidSchemaName:
                return

    try:
        await bounded(close(), seconds)
    except psycopg.Error as fault:
        if reason := _why(fault):
            raise Rejected(SERVICE, f"login as the app: {reason}", object=object) from fault
        raise
    except (TimeoutError, OSError) as fault:
        raise translate(fault, object=object) from fault


def _why(fault: psycopg.Error) -> str:
    """Why the server refused the login, "" where it did not get so far as to refuse."""
    kind = refused_login(fault)
    if kind:
        return f"{kind}: {message(fault)}"
    error: ServiceError = translate(fault)
    if not isinstance(error, Unavailable) or "FATAL:" in str(fault):
        return message(fault)
    return ""
