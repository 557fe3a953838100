"""How outcomes are told: as events, as log lines, or not at all."""

from __future__ import annotations

from norn_reconciler import logs
from norn_reconciler.engine import status
from norn_reconciler.engine.case import NOT_LEADER, QUEUED
from norn_reconciler.model.errors import with_remedy
from norn_reconciler.model.outcome import Blocked, Converged, Failed, Outcome, RequeueAfter
from norn_reconciler.model.records import AppRecord
from norn_reconciler.model.status import Event


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


def log_event(event: Event) -> None:
    """Every recorded event is a log line, too."""
    log = logs.get().bind(app=event.app)
    if event.service:
        log = log.bind(service=event.service)
    write = {"error": log.error, "warning": log.warning}.get(event.severity, log.info)
    write(event.event, message=event.message, **event.fields)


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
