"""Log events as constants, and how a line is written. docs/logs.md is their catalogue."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from norn_reconciler import journal
from norn_reconciler.model.errors import NornError

if TYPE_CHECKING:
    import structlog

# Names are noun.past and never change: people grep and alert on them.
DAEMON_STARTED = "daemon.started"
DAEMON_STOPPED = "daemon.stopped"
DAEMON_FAILED = "daemon.failed"
LEASE_ACQUIRED = "lease.acquired"
LEASE_LOST = "lease.lost"
LEASE_WAITED = "lease.waited"
STORE_LOST = "store.lost"
STORE_RECOVERED = "store.recovered"
SCHEMA_WAITED = "schema.waited"
SPEC_ACCEPTED = "spec.accepted"
SPEC_REJECTED = "spec.rejected"
SPEC_WARNED = "spec.warned"
FOLDER_CHANGED = "folder.changed"
REMOVAL_SCHEDULED = "removal.scheduled"
REMOVAL_HELD = "removal.held"
REMOVAL_RELEASED = "removal.released"
RECONCILE_FINISHED = "reconcile.finished"
APP_READY = "app.ready"
APP_DEGRADED = "app.degraded"
APP_REMOVED = "app.removed"
APP_RENAMED = "app.renamed"
OBJECT_MOVED = "object.moved"
ISOLATION_FAILED = "isolation.failed"
ISOLATION_VERIFIED = "isolation.verified"
DRIFT_DETECTED = "drift.detected"
DATA_MISSING = "data.missing"
OBJECT_RETAINED = "object.retained"
PROBLEM_FOUND = "problem.found"
SERVICE_LOST = "service.lost"
SERVICE_RECOVERED = "service.recovered"
CREDENTIALS_DELIVERED = "credentials.delivered"
CREDENTIALS_HELD = "credentials.held"
KEY_CREATED = "key.created"
KEY_REPLACED = "key.replaced"
RECORDS_RECOVERED = "records.recovered"
OPERATION_STARTED = "operation.started"
OPERATION_PROGRESSED = "operation.progressed"
OPERATION_FINISHED = "operation.finished"
OBJECT_TRASHED = "object.trashed"
OBJECT_DESTROYED = "object.destroyed"
SPEC_UNDONE = "spec.undone"
SNAPSHOT_CREATED = "snapshot.created"
SNAPSHOT_RESTORED = "snapshot.restored"
SNAPSHOT_PRUNED = "snapshot.pruned"
MIGRATION_SAID = "migration.said"
MIGRATION_FINISHED = "migration.finished"
MIGRATION_FAILED = "migration.failed"
CRON_SAID = "cron.said"
CRON_REFUSED = "cron.refused"
LANE_FAULTED = "lane.faulted"
DRIVER_WARNED = "driver.warned"

EVENTS: frozenset[str] = frozenset(
    value for name, value in globals().items() if name.isupper() and isinstance(value, str)
)


_Format = Literal["json", "console"]


def configure(log_format: _Format | None, *, stream: Any = None) -> None:
    """Say how lines are written in this process. None: console on a terminal, else JSON, to
    stderr. Where that leads to the journal, each line begins with its priority."""
    out = stream or sys.stderr
    _to.clear()
    _to[log_format or ("console" if out.isatty() else "json")] = out
    _set_up.cache_clear()
    from norn_reconciler.drivers import Drivers  # noqa: PLC0415 -- it needs this module

    logging.basicConfig(handlers=[Drivers()], level=logging.WARNING)


_to: dict[_Format, Any] = {}


@cache
def _set_up() -> None:
    """structlog, at the first line: it takes longer to import than many a command to run."""
    import structlog  # noqa: PLC0415

    if not _to:
        return  # nobody said how: structlog's own defaults
    chosen, out = next(iter(_to.items()))
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=_show)
        if chosen == "console"
        else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    )
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if chosen == "json":
        show = structlog.processors.ExceptionRenderer(lambda fault: _traceback(fault[1]))
        processors.append(show)
    processors.append(renderer)
    if journal.leads_there(out):
        processors.append(lambda logger, level, text: journal.marked(text, level))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )


def _show(out: Any, fault: Any) -> None:
    out.write(f"\n{_traceback(fault[1])}")


def _traceback(fault: BaseException, above: frozenset[int] = frozenset()) -> str:
    """Where it was raised, what led to it first. Frames' locals could hold a password, and so could
    the text of a driver's error, which may quote a statement: only norn's own errors have theirs.

    above: ids of those that are being told."""
    import traceback  # noqa: PLC0415

    above |= {id(fault)}
    led: list[BaseException | None] = []
    if isinstance(fault, BaseExceptionGroup):
        led += fault.exceptions
    led.append(fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__))
    before = [_traceback(f, above) for f in led if f is not None and id(f) not in above]
    frames = "".join(traceback.format_tb(fault.__traceback__))
    text = f": {fault}" if isinstance(fault, NornError) else ""
    return "\n\n".join([*before, f"{frames}{type(fault).__name__}{text}"])


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger that every room uses."""
    import structlog  # noqa: PLC0415

    _set_up()
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
