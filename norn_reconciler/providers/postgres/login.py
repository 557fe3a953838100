"""What is done logged in as an app: proving its credential and its walls, and what has to be done
inside its database. norn's admin never runs anything there, since its owner decides what runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

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
from norn_reconciler.providers.postgres import reading
from norn_reconciler.providers.postgres.blame import Blame
from norn_reconciler.providers.postgres.client import (
    Connection,
    affordable,
    bounded,
    logged_in,
)
from norn_reconciler.providers.postgres.database_actions import CreateExtension, InsideAction
from norn_reconciler.providers.postgres.faults import DearLogin, message, refused_login, translate
from norn_reconciler.providers.postgres.reader_actions import OpenToReaders
from norn_reconciler.providers.postgres.state import SERVICE

READERS_WRITE = "ReadersMayWrite"
READ_REFUSED = "ReadRefused"
_TRIES = 3  # of a door that was shut again before it was looked at who had opened it

Trust = tuple[tuple[str, str], ...]


async def prove(url: Secret, name: str, seconds: float, trust: Trust) -> Proof:
    """One login and one SELECT. Raises Unavailable when nobody answers within `seconds`."""
    began = time.monotonic()

    async def ask() -> None:
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


@dataclass(frozen=True, slots=True)
class Doors:
    """What one app is to try. wrong: its URL with a password that cannot be right. closed: its own
    credentials and databases that are closed to it, by name, in the order of preference. own: its
    own; group: whose members read that, "" when nobody does. reads: others' databases that it
    reads, by name. blame: whose doing it is that a closed one lets it in; raises ServiceError.
    """

    wrong: Secret
    closed: Mapping[str, Secret]
    own: Secret
    group: str
    reads: Mapping[str, Secret]
    blame: Callable[[str], Awaitable[Blame]]


async def trespass(doors: Doors, name: str, seconds: float, trust: Trust) -> Proof:
    """Two logins that must fail, and writes that must be refused: to what it reads of others, and
    by its readers to what is its own. Raises ServiceError when nobody can tell."""
    began = time.monotonic()
    await affordable(doors.wrong, seconds)  # all of them meet the same stored password
    taken, entered = await asyncio.gather(
        _passes(doors.wrong, name, seconds, trust, "too many connections for role"),
        _entered(doors, name, seconds, trust),
    )
    reason = kind = ""
    if taken:
        kind = OPEN_TO_ALL
        reason = "the server takes a wrong password: anybody who reaches it is this app"
    elif entered:
        kind = NEIGHBOUR_OPEN
        reason = f"its role may connect to database {entered}, which is not its own"
    else:
        reason, kind = await _reading(doors, name, seconds, trust)
    return Proof(not reason, _since(began), reason, kind)


async def _entered(doors: Doors, name: str, seconds: float, trust: Trust) -> str:
    """The database that let it in, "" where it met a wall. A reader that is on its way out is no
    stranger, and his door no wall: whether he is in the group is what the owner's plan looks at. So
    is what an owner opens, or else he could spoil his neighbours' proofs; and a door that is shut
    whenever it is looked at is one that somebody else opens and shuts."""
    full = "too many connections for database"
    for database, url in doors.closed.items():
        for _ in range(_TRIES):
            if not await _passes(url, name, seconds, trust, full):
                return ""
            question = partial(reading.as_reader, database=database)
            if await _ask(question, doors.own, name, seconds, trust):
                break
            blame = await doors.blame(database)
            if blame is Blame.OWNER:
                break
            if blame is Blame.OTHER:
                return database
    return ""


async def _reading(doors: Doors, name: str, seconds: float, trust: Trust) -> tuple[str, str]:
    """(what is wrong, one word for it), both empty when nothing is."""
    if doors.group:
        question = partial(reading.writable, group=doors.group)
        what = await _ask(question, doors.own, name, seconds, trust)
        if what:
            return f"its readers may write {what}, by what it or PUBLIC was granted", READERS_WRITE
    for database, url in doors.reads.items():
        try:
            what = await _ask(reading.writes, url, name, seconds, trust)
        except Rejected as refused:
            # Its owner may have shut it just now, and norn may not have opened it yet: the plan
            # has a word for that. pg_hba.conf is the server's, and nothing that will pass.
            if "pg_hba.conf" in str(refused):
                return f"database {database}, which it may read: {refused}", READ_REFUSED
            continue
        if what:
            return f"in database {database}, which it may only read, it may {what}", READERS_WRITE
    return "", ""


async def _ask(
    question: Callable[[Connection], Awaitable[str]],
    url: Secret,
    name: str,
    seconds: float,
    trust: Trust,
) -> str:
    """Raises Rejected when the server refuses the login, else ServiceError."""

    async def ask() -> str:
        async with logged_in(url, name, seconds, trust) as conn:
            return await question(conn)

    try:
        return await bounded(ask(), seconds)
    except psycopg.Error as fault:
        if "FATAL:" in str(fault):
            raise Rejected(SERVICE, message(fault)) from fault
        raise translate(fault) from fault
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault


# What the server says only to whom it has let in by password. InitPostgres in its postinit.c.
_KNOWN = (
    "is not permitted to log in",
    "too many connections for role",
    "too many connections for database",
    "permission denied for database",
    "is not currently accepting connections",
    "cannot connect to invalid database",
)


async def takes(url: Secret, name: str, seconds: float, trust: Trust) -> bool:
    """Whether the server takes the password in `url`, whatever else stands in the way. Raises
    ServiceError when nobody can tell."""

    async def attempt() -> None:
        async with logged_in(url, name, seconds, trust):
            pass

    try:
        await bounded(attempt(), seconds)
    except DearLogin:
        return False  # none that norn ever set
    except psycopg.Error as fault:
        words = message(fault)
        if any(known in words for known in _KNOWN) or _no_such_database(words):
            return True
        if refused_login(fault) == WRONG_PASSWORD:
            return False
        raise Unavailable(SERVICE, words) from fault
    except (TimeoutError, OSError) as fault:
        raise translate(fault) from fault
    return True


def _no_such_database(words: str) -> bool:
    return words.startswith("database ") and words.endswith("does not exist")


async def _passes(url: Secret, name: str, seconds: float, trust: Trust, full: str) -> bool:
    """Whether the server lets this login in, whose price is known. full: its word when only a limit
    stood in the way, which it looks at after what is asked about here."""

    async def attempt() -> None:
        async with logged_in(url, name, seconds, trust, priced=True):
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


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000


async def inside(
    action: InsideAction, url: Secret, name: str, seconds: float, trust: Trust, *, fresh: bool
) -> None:
    """Do `action` in the app's database. fresh: norn has made the role just now, and nobody else
    knows its password yet. Raises ServiceError, or the driver's error."""

    async def work() -> None:
        async with logged_in(url, name, seconds, trust, priced=fresh) as conn:
            match action:
                case CreateExtension(extension=extension):
                    # It is made where the app's own statements would make it.
                    await conn.execute("SET search_path = public")
                    await conn.execute(
                        SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(extension))
                    )
                case OpenToReaders(group=group):
                    await reading.open_to(conn, group, seconds / 4)
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
