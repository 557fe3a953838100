"""Commands that converge, or show how: run, apply, plan."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from norn_reconciler import logs
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.model.app import AppName
from norn_reconciler.specs_folder import Specs

AppsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[APP]...", help="only these apps")
]


@app.command()
def run() -> None:
    """Watch the specs folder and keep everything converged, until SIGTERM. What systemd starts."""
    from norn_reconciler import daemon  # noqa: PLC0415 -- only this command needs it

    read = settings()
    logs.configure(read.log_format)
    raise typer.Exit(asyncio.run(daemon.run(read)))


@app.command()
def plan(
    apps: AppsArgument = None,
    check: Annotated[
        bool, typer.Option("--check", help="exit 3 when anything would change")
    ] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show what would change, in the services' own words. Writes nothing anywhere.

    [dim]norn plan · norn plan mail-agent · norn plan --check -o json[/dim]
    """
    from norn_reconciler import oneshot  # noqa: PLC0415

    found = asyncio.run(oneshot.plan(settings(), [AppName(a) for a in apps or []]))
    if output_as is Output.JSON:
        output.as_json(
            {
                "changes": found.changes,
                "digest": found.digest,
                "apps": {
                    name: [
                        {
                            "service": service,
                            "object": action.name,
                            "action": action.verb,
                            "summary": action.summary(),
                            "destructive": action.destructive,
                        }
                        for service, part in by.items()
                        for action in part.actions
                    ]
                    for name, by in found.plans.items()
                },
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
                    {"app": name, "service": service, "message": str(fault)}
                    for name, by in found.faults.items()
                    for service, fault in by.items()
                ],
            }
        )
    else:
        output.table(
            ("APP", "SERVICE", "OBJECT", "ACTION", "SUMMARY"),
            (
                (name, service, a.name, f"{a.verb}{' !' if a.destructive else ''}", a.summary())
                for name, by in found.plans.items()
                for service, part in by.items()
                for a in part.actions
            ),
            empty="Nothing to change."
            if not found.faults
            else "Nothing to change in what answered.",
        )
        for name, by in found.plans.items():
            for service, part in by.items():
                for problem in part.problems:
                    typer.echo(f"{problem.severity.value}: {name} {service}: {problem.message}")
                    if problem.remedy:
                        typer.echo(f"  do: {problem.remedy}")
        for name, by_fault in found.faults.items():
            for service, fault in by_fault.items():
                typer.echo(f"error: {name} {service}: {fault}", err=True)
        if found.changes:
            typer.echo(f"\n{found.changes} changes, digest {found.digest}")
    if check and found.changes:
        raise typer.Exit(3)
    if found.faults:
        raise typer.Exit(1)


@app.command()
def apply(
    apps: AppsArgument = None,
    wait: Annotated[bool, typer.Option("--wait", help="wait for a running daemon to end")] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Converge once and end: exit 0 when all is converged, 1 when something failed.

    Bare, it takes the whole folder, removals and their guard included; refused while a daemon holds
    the lease. [dim]norn apply · norn apply mail-agent[/dim]
    """
    read = settings()
    logs.configure(read.log_format)
    specs = Specs(read)
    specs.glance()  # before the drivers are imported: that takes as long as a file settles
    from norn_reconciler import oneshot  # noqa: PLC0415

    result = asyncio.run(oneshot.apply(read, specs, [AppName(a) for a in apps or []], wait=wait))
    if output_as is Output.JSON:
        output.as_json(
            {
                "converged": result.ok,
                "changes": result.changes,
                "apps": {a: {"ready": ok, "message": text} for a, ok, text in result.apps},
                "held": result.held,
            }
        )
    else:
        for name, ok, text in result.apps:
            if not ok:
                typer.echo(f"{name}: {text}", err=True)
        if result.held:
            typer.echo(f"held: {result.held}", err=True)
        for finding in result.findings:
            typer.echo(f"{finding}", err=True)
        good = sum(ok for _, ok, _ in result.apps)
        typer.echo(f"{good} of {len(result.apps)} apps converged, {result.changes} changes made")
    if not result.ok:
        raise typer.Exit(1)
