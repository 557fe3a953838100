"""Commands that converge, or show how: run, apply, plan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

import typer

from norn_reconciler import logs
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.cli.planned import fate_json, plan_json, print_fates, print_plan
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseHeld, NornError
from norn_reconciler.spec.findings import Finding
from norn_reconciler.specs_folder import Specs

AppsArgument = Annotated[list[str] | None, typer.Argument(metavar="APP", help="only these apps")]


@app.command()
def run() -> None:
    """Watch the specs folder and keep everything converged, until SIGTERM. What systemd starts.

    [dim]norn run · NORN_SPECS_DIR=/srv/specs norn run[/dim]
    """
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

    Exit 1 while a person must act: a file is rejected, something is held or blocked, a service did
    not answer. Else 0. With --check 3 when anything would change, whatever else is to be done.

    [dim]norn plan · norn plan mail-agent · norn plan --check -o json[/dim]
    """
    from norn_reconciler import oneshot  # noqa: PLC0415

    found = asyncio.run(oneshot.plan(settings(), [AppName(a) for a in apps or []]))
    if output_as is Output.JSON:
        output.as_json(
            {
                **plan_json(found.preview),
                "ends": [fate_json(fate) for fate in found.ends],
                "doomed": found.doomed or None,
                "findings": [f.as_json() for f in found.findings],
            }
        )
    else:
        print_plan(found.preview, "" if found.clear else "Nothing to change, but not all is well:")
        if found.ends:
            typer.echo("\nData on their way out:")
            print_fates(found.ends, found.kept, "")
        if found.doomed:
            typer.echo(found.doomed)
        _say_findings(found.findings, others=not found.rejected)
    raise typer.Exit(found.code(check))


def _say_findings(findings: Iterable[Finding], *, others: bool) -> None:
    """others: what is wrong is wrong with files that were not asked about."""
    for finding in findings:
        if finding.severity != "info":
            typer.echo(f"{'warning' if others else finding.severity}: {finding}", err=True)


@app.command()
def apply(
    apps: AppsArgument = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="until a running daemon ends, then apply")
    ] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Converge once and end: exit 0 when all is converged, 1 when something failed.

    Bare, it takes the whole folder, removals and their guard included; with names it is judged by
    these apps alone. Refused while a daemon holds the lease, unless it is told to wait.

    [dim]norn apply · norn apply mail-agent · norn apply --wait[/dim]
    """
    read = settings()
    logs.configure(read.log_format)
    specs = Specs(read)
    specs.glance()  # before the drivers are imported: that takes as long as a file settles
    from norn_reconciler import oneshot  # noqa: PLC0415

    try:
        result = asyncio.run(
            oneshot.apply(read, specs, [AppName(a) for a in apps or []], wait=wait)
        )
    except LeaseHeld as held:
        raise NornError(f"{held}: norn apply --wait waits for its end") from held
    if output_as is Output.JSON:
        output.as_json(
            {
                "converged": result.ok,
                "changes": result.changes,
                "apps": {a: {"ready": ok, "message": text} for a, ok, text in result.apps},
                "held": result.held or None,
                "findings": [f.as_json() for f in result.findings],
            }
        )
    else:
        for name, ok, text in result.apps:
            if not ok:
                typer.echo(f"{name}: {text}", err=True)
        if result.held:
            typer.echo(result.held, err=True)
        _say_findings(result.findings, others=not result.rejected)
        good = sum(ok for _, ok, _ in result.apps)
        typer.echo(
            f"{good} of {output.count(len(result.apps), 'app')} converged, "
            f"{output.count(result.changes, 'change')} made"
        )
    if not result.ok:
        raise typer.Exit(1)
