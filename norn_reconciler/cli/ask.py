"""Requests to the writer: reconcile, confirm, adopt, rotate, forget, pause, resume. Each becomes a
row in `operations`, which the daemon (or the next `norn apply`) works through; the command follows
it."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import typer

from norn_reconciler import oneshot, requests
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, WaitOption, app, settings
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import Operation
from norn_reconciler.model.text import printable


def _request(
    kind: str,
    name: str | None = None,
    digest: str | None = None,
    *,
    follow: bool = True,
    insist: bool = False,
    timeout: float,
    aside: bool = False,
) -> None:
    """Ask, print the answer, exit 1 when it is a bad one. aside: standard output is taken."""
    operation = Operation(
        0, kind, AppName(name) if name else None, digest=digest, requested_by=getpass.getuser()
    )
    answer = asyncio.run(
        requests.ask(settings(), operation, follow=follow, insist=insist, patience=timeout)
    )
    typer.echo(answer.text, err=aside or not answer.ok)
    if not answer.ok:
        raise typer.Exit(1)


@app.command()
def reconcile(
    name: AppArgument,
    wait: Annotated[bool, typer.Option("--wait", help="until it is converged, or failed")] = False,
    timeout: WaitOption = 60.0,
) -> None:
    """Look at one app now instead of at the next resync, and repair what drifted.

    [dim]norn reconcile mail-agent · norn reconcile mail-agent --wait[/dim]
    """
    _request("reconcile", name, follow=wait, insist=wait, timeout=timeout)


@app.command()
def confirm(
    digest: Annotated[
        str,
        typer.Argument(metavar="DIGEST", help="as `norn status` or `norn plan` has it"),
    ],
    timeout: WaitOption = 60.0,
) -> None:
    """Agree to what norn holds for you: a removal of many apps, or making anew what was lost.

    [dim]norn confirm 1f0c2ab94d7e[/dim]
    """
    _request("confirm", digest=digest, timeout=timeout)


@app.command()
def adopt(
    name: AppArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    output_as: OutputOption = Output.TABLE,
    timeout: WaitOption = 60.0,
) -> None:
    """Take over a database, role, user or topics that exist already, after showing what changes.

    What is adopted keeps its data and its password (norn rotate gives it a new one), and is never
    dropped. With --output json it only shows, unless --yes.

    [dim]norn adopt billing · norn adopt billing --yes -o json[/dim]
    """
    as_json = output_as is Output.JSON
    found = asyncio.run(oneshot.look_for_adoption(settings(), AppName(name)))
    rows = [
        (service, held.kind, held.name, "adopt", "taken over as it is")
        for service, owned in found.rows.items()
        for held in owned.values()
    ] + [
        (service, action.kind, action.name, action.verb, action.summary())
        for service, plan in found.plans.items()
        for action in plan.actions
    ]
    problems = [(s, problem) for s, plan in found.plans.items() for problem in plan.problems]
    if as_json:
        columns = ("service", "kind", "object", "action", "summary")
        output.as_json(
            {
                "digest": found.digest,
                "steps": [dict(zip(columns, r, strict=True)) for r in rows],
                "problems": [
                    {
                        "service": service,
                        "severity": problem.severity.value,
                        "reason": problem.reason,
                        "message": problem.message,
                        "remedy": problem.remedy,
                    }
                    for service, problem in problems
                ],
            }
        )
    elif rows:
        output.table(("SERVICE", "KIND", "OBJECT", "ACTION", "WHAT HAPPENS"), rows, empty="")
        for service, problem in problems:
            typer.echo(printable(f"{problem.severity.value}: {service}: {problem.message}"))
            if problem.remedy:
                typer.echo(printable(f"  do: {problem.remedy}"))
    if not rows:
        typer.echo(
            f"Nothing of {name} is there to adopt: see norn status {name}.",
            err=as_json,
        )
        return
    if as_json and not yes:
        return
    if not yes:
        typer.confirm(f"Adopt {name} so?", abort=True)
    _request("adopt", name, found.digest, timeout=timeout, aside=as_json)


@app.command()
def rotate(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Give an app new passwords on every service, prove them, and deliver them together.

    It ends when the new ones are in the app's env file, with exit 1 when one could not be set yet.
    Sessions that are open stay open.

    [dim]norn rotate mail-agent · norn rotate mail-agent --timeout 10[/dim]
    """
    _request("rotate", name, timeout=timeout)


@app.command()
def forget(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Drop norn's records of a removed app. What it left on the servers stays.

    [dim]norn forget mail-agent[/dim]
    """
    _request("forget", name, timeout=timeout)


@app.command()
def pause(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Leave an app alone until `norn resume`: nothing of it is looked at or repaired.

    [dim]norn pause mail-agent[/dim]
    """
    _request("pause", name, timeout=timeout)


@app.command()
def resume(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Take a paused app up again.

    [dim]norn resume mail-agent[/dim]
    """
    _request("resume", name, timeout=timeout)
