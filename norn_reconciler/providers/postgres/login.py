"""What is done logged in as an app: proving its credential and its walls, and what has to be done
inside its database. norn's admin never runs anything there, since its owner decides what runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import psycopg
from psycopg.sql import SQL, Identifier

from norn_reconciler.model.errors import Rejected, ServiceError, Unavailable
from norn_reconciler.model.outcome import (
    BUSY,
    NEIGHBOUR_OPEN,
    OPEN_TO_ALL,
    WRONG_PASSWORD,
    Proof,
)
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.client import Connection, bounded, logged_in
from norn_reconciler.providers.postgres.database_actions import CreateExtension, InsideAction
from norn_reconciler.providers.postgres.faults import DearLogin, message, refused_login, translate
from norn_reconciler.providers.postgres.iterations import too_dear
from norn_reconciler.providers.postgres.state import SERVICE

Trust = tuple[tuple[str, str], ...]


async def prove(url: Secret, name: str, seconds: float, trust: Trust) -> Proof:
    """One login and one SELECT. Raises Unavailable when nobody answers within `seconds`."""
    began = time.monotonic()

    async def ask() -> None:
        await _affordable(url, seconds)
        async with logged_in(url, name, seconds, trust) as conn:
            await conn.execute("SELECT 1")

    reason = kind = ""
    try:
        await bounded(ask(), seconds)
    except DearLogin as dear:
        reason, kind = str(dear), WRONG_PASSWORD
    except psycopg.Error as fault:
        reason, kind = _why(fault), refused_login(fault)
        if not reason:
            raise translate(fault) from fault
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    return Proof(not reason, _since(began), reason, kind)


async def trespass(
    wrong: Secret, foreign: Secret, database: str, name: str, seconds: float, trust: Trust
) -> Proof:
    """Two logins that must fail. wrong: the app's URL with a password that cannot be right.
    foreign: its own credentials, another's `database`. Raises ServiceError when nobody can tell."""
    began = time.monotonic()
    await _affordable(wrong, seconds)  # of both: they meet the same stored password
    taken, entered = await asyncio.gather(
        _passes(wrong, name, seconds, trust, "too many connections for role"),
        _passes(foreign, name, seconds, trust, "too many connections for database"),
    )
    if taken:
        reason = "the server takes a wrong password: anybody who reaches it is this app"
        return Proof(False, _since(began), reason, OPEN_TO_ALL)
    if entered:
        reason = f"its role may connect to database {database}, which is not its own"
        return Proof(False, _since(began), reason, NEIGHBOUR_OPEN)
    return Proof(True, _since(began))


async def _passes(url: Secret, name: str, seconds: float, trust: Trust, full: str) -> bool:
    """Whether the server lets this login in. full: its word when only a limit stood in the way,
    which it looks at after what is asked about here."""

    async def attempt() -> None:
        async with logged_in(url, name, seconds, trust):
            pass

    try:
        await bounded(attempt(), seconds)
    except psycopg.Error as fault:
        if full in message(fault):
            return True
        if refused_login(fault) == BUSY or "FATAL:" not in str(fault):
            raise Unavailable(SERVICE, message(fault)) from fault
        return False  # it answered, and refused
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    return True


async def _affordable(url: Secret, seconds: float) -> None:
    """Raises DearLogin where the role has stored a password that takes long to try."""
    if (count := await too_dear(url, seconds)) is not None:
        raise DearLogin(
            SERVICE, f"its stored password asks for {count} iterations: norn did not set it"
        )


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000


async def inside(
    action: InsideAction, url: Secret, name: str, seconds: float, trust: Trust, *, fresh: bool
) -> None:
    """Do `action` in the app's database. fresh: norn has made the role just now, and nobody else
    knows its password yet. Raises ServiceError, or the driver's error."""

    async def work() -> None:
        if not fresh:
            await _affordable(url, seconds)
        async with logged_in(url, name, seconds, trust) as conn:
            match action:
                case CreateExtension(extension=extension):
                    # It is made where the app's own statements would make it.
                    await conn.execute("SET search_path = public")
                    await conn.execute(
                        SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(extension))
                    )
                case _:
                    await _close_schema_public(conn, action.name)

    try:
        await bounded(work(), seconds)
    except psycopg.Error as fault:
        if "FATAL:" in str(fault):
            reason = _why(fault)
            raise Rejected(SERVICE, f"login as the app: {reason}", object=action.name) from fault
        raise
    except (TimeoutError, OSError) as fault:
        raise translate(fault, object=action.name) from fault


_OPEN_SCHEMA = """
SELECT pg_get_userbyid(n.nspowner)
  FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x
 WHERE n.nspname = 'public' AND x.grantee = 0
"""


async def _close_schema_public(conn: Connection, database: str) -> None:
    """An app that dropped its schema public has nothing to close. Where the schema is somebody
    else's the server only warns, so it is read back."""
    with suppress(psycopg.errors.InvalidSchemaName):
        await conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    still = await (await conn.execute(_OPEN_SCHEMA)).fetchone()
    if still is not None:
        raise Rejected(
            SERVICE,
            f"schema public of {database} belongs to {still[0]} and is open to everybody",
            object=database,
            remedy=f"in {database}, as {still[0]}: REVOKE ALL ON SCHEMA public FROM PUBLIC",
        )


def _why(fault: psycopg.Error) -> str:
    """Why the server refused the login, "" where it did not get so far as to refuse."""
    kind = refused_login(fault)
    if kind:
        return f"{kind}: {message(fault)}"
    error: ServiceError = translate(fault)
    if not isinstance(error, Unavailable) or "FATAL:" in str(fault):
        return message(fault)
    return ""
