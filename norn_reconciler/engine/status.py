"""From outcomes to what a person reads: conditions, and the state of a rollout. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.outcome import (
    Blocked,
    Converged,
    Failed,
    Outcome,
    RequeueAfter,
    Verification,
)
from norn_reconciler.model.status import Condition

READY = "Ready"
MIGRATION = "MigrationPending"
ISOLATION = "IsolationVerified"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


def condition(kind: str, outcome: Outcome, now: datetime) -> Condition:
    """One service's condition. Unknown: the service does not answer, so nobody can tell."""
    match outcome:
        case Converged(warnings=()):
            return Condition(kind, TRUE, "Converged", "", now)
        case Converged(warnings=(first, *_) as warnings):
            text = "; ".join(sentence(p.message, p.remedy) for p in warnings)
            return Condition(kind, TRUE, first.reason, text, now)
        case RequeueAfter(reason=reason, message=message):
            return Condition(kind, FALSE, reason, message, now)
        case Blocked(problem=problem):
            text = sentence(problem.message, problem.remedy)
            return Condition(kind, FALSE, problem.reason, text, now)
        case Failed(error=error, retry_in=wait):
            until = (now + timedelta(seconds=wait)).strftime("%H:%M:%SZ")
            status = UNKNOWN if isinstance(error, Unavailable) else FALSE
            text = f"{sentence(str(error), error.remedy)}; next try at {until}"
            return Condition(kind, status, error.reason, text, now)
    raise AssertionError(outcome)


def isolation(
    before: Condition | None,
    found: Mapping[str, Verification | None],
    now: datetime,
    *,
    unknown_password: bool = False,
) -> Condition:
    """One app's isolation, over all its services. found: service → its last verification, None
    where this process has made none: what an earlier one found then stands."""
    told = [(key, v) for key, v in sorted(found.items()) if v is not None]
    bad = [(key, v) for key, v in told if v.ok is False] or [
        (key, v) for key, v in told if v.ok is None
    ]
    if bad:
        status = FALSE if bad[0][1].ok is False else UNKNOWN
        text = "; ".join(f"{key}: {v.message}" for key, v in bad)
        return Condition(ISOLATION, status, bad[0][1].reason, text, now)
    if len(told) < len(found):
        if before is not None and before.status != UNKNOWN:
            return before
        text = "norn does not know its password, and cannot log in as it: norn rotate gives it one"
        return Condition(
            ISOLATION, UNKNOWN, "Pending", text if unknown_password else "not yet tried", now
        )
    times = ", ".join(f"{key} {v.response_ms:.0f} ms" for key, v in told)
    text = (
        "as the app: its own place works, a wrong password and a neighbour's place are refused "
        f"({times}, at {now:%Y-%m-%d %H:%M:%SZ})"
    )
    return Condition(ISOLATION, TRUE, "Verified", text, now)


def ready(conditions: Mapping[str, Condition], declared: set[str], now: datetime) -> Condition:
    """The sum: True when each declared service's condition is. declared: condition types."""
    parts = [conditions.get(kind) for kind in sorted(declared)]
    if any(part is None for part in parts):
        return Condition(READY, FALSE, "Progressing", "not all services were looked at yet", now)
    bad = [part for part in parts if part is not None and part.status != TRUE]
    if not bad:
        return Condition(READY, TRUE, "Converged", "", now)
    status = FALSE if any(part.status == FALSE for part in bad) else UNKNOWN
    text = "; ".join(f"{part.type}: {part.message or part.reason}" for part in bad)
    return Condition(READY, status, bad[0].reason, text, now)


def merged(
    before: Mapping[str, Condition], news: Mapping[str, Condition], keep: set[str]
) -> Mapping[str, Condition]:
    """`before` with `news`, only types in `keep`; transition times move only when status flips."""
    after = {kind: c for kind, c in before.items() if kind in keep}
    for kind, new in news.items():
        if kind in keep:
            after[kind] = new.with_transition(before.get(kind))
    return after


def same(one: Mapping[str, Condition], other: Mapping[str, Condition]) -> bool:
    """Equal but for times: nothing that is worth a row."""

    def facts(conditions: Mapping[str, Condition]) -> set[tuple[str, str, str, str]]:
        return {(c.type, c.status, c.reason, c.message) for c in conditions.values()}

    return facts(one) == facts(other)


def sentence(message: str, remedy: str) -> str:
    """What is wrong, and what to type."""
    return f"{message} ({remedy})" if remedy else message
