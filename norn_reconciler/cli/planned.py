"""How a plan is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from norn_reconciler.cli import output

if TYPE_CHECKING:
    from norn_reconciler.engine.explain import Fate
    from norn_reconciler.engine.preview import Preview


def plan_json(found: Preview) -> dict[str, object]:
    apps: dict[str, list[object]] = {name: [] for name in found.plans}
    for one in found.actions:
        apps[one.app].append(
            {
                "service": one.service,
                "object": one.action.name,
                "action": one.action.verb,
                "summary": one.action.summary(),
                "destructive": one.action.destructive,
                "waits": one.waits or None,
            }
        )
    return {
        "changes": found.changes,
        "digest": found.digest,
        "held": found.hold.words if found.hold else None,
        "apps": apps,
        "problems": [
            {
                "app": name,
                "service": service,
                "severity": problem.severity.value,
                "reason": problem.reason,
                "message": problem.message,
                "remedy": problem.remedy,
            }
            for name, by in found.plans.items()
            for service, part in by.items()
            for problem in part.problems
        ],
        "faults": [
            {"app": name, "service": service, "message": str(fault), "remedy": fault.remedy}
            for name, by in found.faults.items()
            for service, fault in by.items()
        ],
    }


def print_plan(found: Preview, nothing: str, *, total: bool = True) -> None:
    output.table(
        ("APP", "SERVICE", "OBJECT", "ACTION", "WAITS", "SUMMARY"),
        (
            (
                one.app,
                one.service,
                one.action.name,
                f"{one.action.verb}{' !' if one.action.destructive else ''}",
                one.waits,
                one.action.summary(),
            )
            for one in found.actions
        ),
        empty=nothing or "Nothing to change.",
    )
    if found.hold:
        typer.echo(found.hold.words)
    for name, by in found.plans.items():
        for service, part in by.items():
            for problem in part.problems:
                typer.echo(f"{problem.severity.value}: {name} {service}: {problem.message}")
                if problem.remedy:
                    typer.echo(f"  do: {problem.remedy}")
    for name, by_fault in found.faults.items():
        for service, fault in by_fault.items():
            typer.echo(f"error: {name} {service}: {fault}", err=True)
            if fault.remedy:
                typer.echo(f"  do: {fault.remedy}", err=True)
    if found.changes and total:
        typer.echo(f"\n{output.count(found.changes, 'change')}, digest {found.digest}")


def fate_json(fate: Fate) -> dict[str, object]:
    held, stake = fate.held, fate.stake
    return {
        "app": fate.app,
        "service": fate.service,
        "kind": held.kind,
        "name": held.name,
        "origin": held.origin.value,
        "policy": fate.policy.value,
        "becomes": fate.becomes.value,
        "copied": fate.copied if fate.destroys else None,
        "gone_from": fate.gone_from,
        "stakes": dict(stake.facts) if stake else None,
        "unread": dict(stake.unread) if stake else {},
    }


def print_fates(fates: Sequence[Fate], kept: float, nothing: str) -> None:
    """kept: seconds in the trash."""
    output.table(
        ("APP", "SERVICE", "OBJECT", "ORIGIN", "POLICY", "BECOMES", "WHAT IS IN IT"),
        (
            (
                fate.app,
                fate.service,
                f"{fate.held.kind} {fate.held.name}",
                fate.held.origin.value,
                fate.policy.value,
                _becomes(fate, kept),
                _facts(fate.stake.facts) if fate.stake else "",
            )
            for fate in fates
        ),
        empty=nothing,
    )
    for fate in fates:
        for fact, why in fate.stake.unread.items() if fate.stake else ():
            typer.echo(f"{fate.held.kind} {fate.held.name}: {_words(fact)}: {why}")


def _becomes(fate: Fate, kept: float) -> str:
    copy = "a copy is kept" if fate.copied else "WITHOUT a copy"
    match fate.becomes.value:
        case "closed":
            return "closed"
        case "trash":
            return f"put aside, gone after {span(kept)}, {copy}"
        case "gone" if fate.gone_from is not None:
            return f"gone from {fate.gone_from:%Y-%m-%d %H:%MZ}, {copy}"
        case "gone":
            return f"gone at once, {copy}"
        case _:
            return "stays, shut"


def _facts(facts: Mapping[str, object]) -> str:
    told = []
    for fact, value in facts.items():
        if isinstance(value, Mapping):
            if value:
                parts = ", ".join(f"{name} {n}" for name, n in value.items())
                told.append(f"{_words(fact)}: {parts}")
        else:
            told.append(f"{_words(fact)} {value}")
    return "; ".join(told)


def _words(fact: str) -> str:
    return fact.replace("_", " ")


def span(seconds: float) -> str:
    """`14 days`, `10 s`."""
    days = seconds / 86400
    return f"{days:g} days" if days >= 1 else f"{seconds:g} s"
