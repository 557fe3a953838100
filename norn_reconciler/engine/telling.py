"""How outcomes are told: as events, as log lines, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.engine import status
from norn_reconciler.engine.case import NOT_LEADER, QUEUED
from norn_reconciler.engine.ledger import AppReport
from norn_reconciler.engine.rollout import Rollout
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.errors import with_remedy
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.outcome import Blocked, Converged, Failed, Outcome, RequeueAfter
from norn_reconciler.model.records import AppRecord, Operation
from norn_reconciler.model.status import Event

Place = tuple[str, AppName]  # service, app


def error_of(outcome: Outcome) -> str | None:
    """Why its rollout fails."""
    match outcome:
        case Failed(error=error):
            return str(error)
        case Blocked(problem=problem):
            return problem.message
    return None


def problem_of(outcome: Outcome) -> tuple[str, str, str]:
    """(event, severity, text); an empty text when all is well."""
    match outcome:
        case Blocked(problem=problem):
            event = logs.DATA_MISSING if problem.reason == "DataMissing" else logs.PROBLEM_FOUND
            text = f"{problem.reason}: {with_remedy(problem.message, problem.remedy)}"
            return event, "error", text
        case Converged(warnings=(_, *_) as warnings):
            text = "; ".join(f"{p.reason}: {with_remedy(p.message, p.remedy)}" for p in warnings)
            return logs.PROBLEM_FOUND, "warning", text
        case Failed(error=error):
            text = f"{error.reason}: {with_remedy(str(error), error.remedy)}"
            return logs.PROBLEM_FOUND, "error", text
    return logs.PROBLEM_FOUND, "error", ""


def problems(entry: Entry, report: AppReport, kind: str, told: dict[Place, str]) -> list[Event]:
    """A problem when it is first seen or changes. What norn_db's condition (of type `kind`) says
    already was told by an earlier process. told: the last text of each, kept up to date here."""
    key = (report.service, report.app)
    event, severity, text = problem_of(report.outcome)
    if not text:
        if isinstance(report.outcome, Converged):
            told.pop(key, None)
        return []
    before = told.get(key)
    told[key] = text
    new = status.condition(kind, report.outcome, datetime.now(UTC))
    known = before is None and status.same(
        {kind: new}, {k: c for k, c in entry.record.conditions.items() if k == kind}
    )
    if before == text or known:
        return []
    return [Event(event, severity, report.app, text, {}, report.service)]


def retained(report: AppReport) -> list[Event]:
    """What norn keeps from now on though nobody asks for it."""
    return [
        Event(
            logs.OBJECT_RETAINED,
            "info",
            report.app,
            f"{held.kind} {held.name}: access is revoked, {_fate(held)}",
            {"kind": held.kind, "name": held.name},
            report.service,
        )
        for key, held in (report.owned or {}).items()
        if held.state is HeldState.RETAINED
        and (key not in report.base or report.base[key].state is not HeldState.RETAINED)
    ]


def _fate(held: Held) -> str:
    policy = trash.policy(held)
    if policy is Deletion.RETAIN or held.origin is Origin.ADOPTED:
        return "the data stays"
    return f"the data go by its deletionPolicy ({policy.value})"


def tell_end(rollout: Rollout, record: AppRecord, ok: bool, took: float) -> None:
    """took: seconds."""
    write = logs.get().info if ok else logs.get().warning
    write(
        logs.APP_READY if ok else logs.APP_DEGRADED,
        app=rollout.app,
        generation=record.generation,
        changes=rollout.changes,
        duration_ms=round(took * 1000),
        **({} if ok else {"error": rollout.error}),
    )


def log_event(event: Event) -> None:
    """Every recorded event is a log line, too."""
    log = logs.get().bind(app=event.app)
    if event.service:
        log = log.bind(service=event.service)
    write = {"error": log.error, "warning": log.warning}.get(event.severity, log.info)
    write(event.event, message=event.message, **event.fields)


def operation_started(operation: Operation) -> None:
    logs.get().info(logs.OPERATION_STARTED, kind=operation.kind, app=operation.app, id=operation.id)


def operation_finished(operation: Operation) -> None:
    logs.get().info(
        logs.OPERATION_FINISHED,
        kind=operation.kind,
        app=operation.app,
        id=operation.id,
        state=operation.state.value,
        result=operation.result,
    )


def equal(one: AppRecord, other: AppRecord) -> bool:
    """Nothing that is worth a row."""
    return (
        status.same(one.conditions, other.conditions)
        and one.observed_generation == other.observed_generation
        and one.state == other.state
    )


def unheard(outcome: Outcome) -> bool:
    """Not a word on the generation yet: queued behind others, or not allowed to write."""
    return isinstance(outcome, RequeueAfter) and outcome.reason in {QUEUED, NOT_LEADER}
