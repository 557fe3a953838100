"""What psycopg raises, told as norn's own errors. Nothing of the URL is ever repeated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from norn_reconciler.model.errors import NornError, SchemaMismatch, StoreUnavailable

_NO_TABLES = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.InvalidSchemaName,
    errors.UndefinedFunction,
)
_AWAY = (
    psycopg.OperationalError,  # refused, closed, timed out, shut down, out of disk, deadlock
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,  # norn_db failed over and we talk to the old side
    TimeoutError,
    OSError,
)


def translate(fault: BaseException) -> NornError:
    """The error to raise `from fault`."""
    text = _text(fault)
    if isinstance(fault, _NO_TABLES):
        return SchemaMismatch(f"norn_db lacks what this program needs ({text}): norn db upgrade")
    if isinstance(fault, errors.InsufficientPrivilege):
        return NornError(
            f"norn_db refuses its own user ({text}): the user of NORN_DATABASE_URL must own the "
            "database and the tables in it"
        )
    if isinstance(fault, _AWAY):
        return StoreUnavailable(f"norn_db does not answer: {text}")
    return NornError(f"norn_db refused a statement: {text}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise StoreUnavailable, SchemaMismatch or NornError instead of the driver's exceptions."""
    try:
        yield
    except (psycopg.Error, TimeoutError, OSError) as fault:
        raise translate(fault) from fault


def _text(fault: BaseException) -> str:
    """One line. The server's DETAIL is left out: it may repeat a row's values."""
    if isinstance(fault, psycopg.Error) and fault.diag.message_primary:
        return fault.diag.message_primary
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0] if lines else type(fault).__name__
