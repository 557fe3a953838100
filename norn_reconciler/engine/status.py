"""From outcomes to what a person reads: conditions, and the state of a rollout. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from norn_reconciler.model.errors import Unavailable, with_remedy
from norn_reconciler.model.fleet import Member
from norn_reconciler.model.migrations import Migrated, Migration, MigrationState, due, remedied
from norn_reconciler.model.outcome import (
    Blocked,
    Converged,
    Failed,
    Outcome,
    RequeueAfter,
    Verification,
)
from norn_reconciler.model.records import AppRecord
from norn_reconciler.model.status import Condition

READY = "Ready"
SPEC = "SpecAccepted"
MIGRATION = "MigrationPending"
ISOLATION = "IsolationVerified"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
HELD = "RemovalHeld"  # access goes when a person says so
REMOVED = "Removed"  # Ready's reason from the moment on that no file asks for the app


def condition(kind: str, outcome: Outcome, now: datetime) -> Condition:
    """One service's condition. Unknown: the service does not answer, so nobody can tell."""
    match outcome:
        case Converged(warnings=()):
            return Condition(kind, TRUE, "Converged", "", now)
        case Converged(warnings=(first, *_) as warnings):
            text = "; ".join(with_remedy(p.message, p.remedy) for p in warnings)
            return Condition(kind, TRUE, first.reason, text, now)
        case RequeueAfter(seconds=wait, reason=reason, message=message, dated=dated):
            text = f"{message} at {_clock(now, wait)}" if dated else message
            return Condition(kind, FALSE, reason, text, now)
        case Blocked(problem=problem):
            text = with_remedy(problem.message, problem.remedy)
            return Condition(kind, FALSE, problem.reason, text, now)
        case Failed(error=error, retry_in=wait):
            status = UNKNOWN if isinstance(error, Unavailable) else FALSE
            text = f"{with_remedy(str(error), error.remedy)}; next try at {_clock(now, wait)}"
            return Condition(kind, status, error.reason, text, now)
    raise AssertionError(outcome)


def isolation(
    before: Condition | None,
    found: Mapping[str, tuple[Verification, datetime] | None],
    now: datetime,
    *,
    earlier: Collection[str] = (),
    unknown_password: bool = False,
) -> Condition:
    """One app's isolation, over all its services. found: service → its last verification and
    when it was made, None where this process has made none: what an earlier one found then
    stands. earlier: services on which that one had verified it."""
    told = [(key, *v) for key, v in sorted(found.items()) if v is not None]
    failed = [(key, v) for key, v, _ in told if v.ok is False] or [
        (key, v) for key, v, _ in told if v.ok is None
    ]
    if failed:
        status = FALSE if failed[0][1].ok is False else UNKNOWN
        text = "; ".join(f"{key}: {v.message}" for key, v in failed)
        return Condition(ISOLATION, status, failed[0][1].reason, text, now)
    silent = [key for key, v in sorted(found.items()) if v is None]
    if silent and before is not None and before.status == TRUE:
        return before
    if not told or not set(silent) <= set(earlier):
        if before is not None and before.status == FALSE:
            return before
        text = "norn does not know its password, and cannot log in as it: norn rotate gives it one"
        return Condition(
            ISOLATION, UNKNOWN, "Pending", text if unknown_password else "not yet tried", now
        )
    times = [f"{key} {v.response_ms:.0f} ms at {at:%Y-%m-%d %H:%M:%SZ}" for key, v, at in told]
    times += [f"{key} before norn was restarted" for key in silent]
    text = (
        "as the app: its own place works, a wrong password and a neighbour's place are refused "
        f"({', '.join(times)})"
    )
    return Condition(ISOLATION, TRUE, "Verified", text, now)


def verified(record: AppRecord | None) -> bool:
    """Whether it says of its present generation that isolation was verified on every service."""
    shown = record.conditions.get(ISOLATION) if record is not None else None
    return (
        record is not None
        and shown is not None
        and shown.status == TRUE
        and record.observed_generation == record.generation
    )


def ready(
    conditions: Mapping[str, Condition],
    needed: set[str],
    now: datetime,
    *,
    heard: bool = True,
    held: str = "",
) -> Condition:
    """The sum: True when each condition in `needed` (types) is. heard: all are about the present
    generation. held: no file asks for the app, and its removal waits: the guard's word."""
    parts = [conditions.get(kind) for kind in sorted(needed)]
    if any(part is None for part in parts):
        return Condition(READY, FALSE, "Progressing", "not all services were looked at yet", now)
    wrong = [part for part in parts if part is not None and bad(part)]
    if not wrong and not heard:
        return Condition(READY, FALSE, "Progressing", "a new generation is on its way", now)
    if not wrong and held:
        text = f"no file asks for it; its removal is held: {held}"
        return Condition(READY, TRUE, HELD, text, now)
    if not wrong:
        return Condition(READY, TRUE, "Converged", "", now)
    status = FALSE if any(part.status == FALSE for part in wrong) else UNKNOWN
    return Condition(READY, status, wrong[0].reason, _told(wrong), now)


def removed(conditions: Mapping[str, Condition], held: str, now: datetime) -> Condition:
    """Ready of an app that no file asks for: what still stands in the way of its removal.
    conditions: of services that still have access of it. held: the guard's word, or ""."""
    open_still = [c for _, c in sorted(conditions.items()) if bad(c)]
    why = f"its removal is held: {held}" if held else _told(open_still)
    text = "no file asks for it" + (f"; {why}" if why else "")
    return Condition(READY, FALSE, REMOVED, text, now)


def asides(
    member: Member, now: datetime, last: Migrated | None = None, *, allowed: bool = False
) -> Mapping[str, Condition | None]:
    """What is told of an app whatever its services are at; None: there is nothing to tell. last:
    its last migration. allowed: norn runs migrations."""
    refused = pending = None
    if member.rejected:
        why = "" if member.pinned else "; the last good version stays in force"
        reason = "Undone" if member.pinned else "Rejected"
        refused = Condition(SPEC, FALSE, reason, member.rejected + why, now)
    if member.migration is not None:
        reason, text = _migration(member, member.migration, last, allowed)
        pending = Condition(MIGRATION, TRUE, reason, text, now) if reason else None
    return {SPEC: refused, MIGRATION: pending}


def _migration(
    member: Member, migration: Migration, last: Migrated | None, allowed: bool
) -> tuple[str, str]:
    """Why one is pending, and what to do; "" when none is."""
    app, revision = member.app.name, migration.revision
    which = f"migration to {revision}" if revision else "migration"
    if last is not None and not due(migration, last):
        match last.state:
            case MigrationState.DONE:
                return "", ""
            case MigrationState.RUNNING:
                return "Running", f"revision {last.revision}" if last.revision else ""
            case MigrationState.FAILED:
                return "Failed", remedied(app, last)
        return "CutOff", remedied(app, last)
    if not allowed:
        text = (
            f"the {which} was not run: norn runs none unless its settings have NORN_MIGRATIONS=on"
        )
        return "NotRun", text if revision else f"{text}; then: norn migrate {app}"
    if not revision or member.pinned:
        return "NotRun", f"the {which} was not run: norn migrate {app}"
    return "Due", f"the {which} is due: the daemon runs it once {app} is Ready"


def bad(condition: Condition | None) -> bool:
    """There, and not True."""
    return condition is not None and condition.status != TRUE


def _told(conditions: Sequence[Condition]) -> str:
    return "; ".join(f"{c.type}: {c.message or c.reason}" for c in conditions)


def _clock(now: datetime, seconds: float) -> str:
    return (now + timedelta(seconds=seconds)).strftime("%H:%M:%SZ")


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
