"""How a plan is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from norn_reconciler.cli import output

if TYPE_CHECKING:
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
        "follows": [
            {
                "app": one.app,
                "service": one.service,
                "kind": one.object[0],
                "object": one.object[1],
                "policy": one.policy.value,
                "snapshot": one.copied,
            }
            for one in found.follows
        ],
        "faults": [
            {"app": name, "service": service, "message": str(fault), "remedy": fault.remedy}
            for name, by in found.faults.items()
            for service, fault in by.items()
        ],
    }


def print_plan(found: Preview, nothing: str) -> None:
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
    for follows in found.follows:
        typer.echo(f"then: {follows.app} {follows.service}: {follows.words}")
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
    if found.changes:
        typer.echo(f"\n{output.count(found.changes, 'change')}, digest {found.digest}")
