"""Requests to the writer: reconcile, confirm, adopt, forget, pause, resume. Each becomes a row in
`operations`, which the daemon (or the next `norn apply`) works through; the command follows it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from norn_reconciler import oneshot
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.cli.request import WaitOption, follow, put
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import Operation


def _request(kind: str, name: str | None, digest: str | None, wait: bool, timeout: float) -> None:
    app_name = AppName(name) if name else None
    number, holder = put(Operation(0, kind, app_name, digest=digest))
    if holder is None:
        typer.echo(
            f"Noted as operation {number}. No daemon is running: "
            "the next `norn run` or `norn apply` does it."
        )
    elif not wait:
        typer.echo(f"Noted as operation {number}; {holder} does it.")
    else:
        follow(number, timeout, f"norn describe {name or ''}")


@app.command()
def reconcile(
    name: AppArgument,
    wait: Annotated[bool, typer.Option("--wait", help="until it is converged, or failed")] = False,
    timeout: WaitOption = 60.0,
) -> None:
    """Look at one app now instead of at the next resync, and repair what drifted.

    [dim]norn reconcile mail-agent --wait[/dim]
    """
    _request("reconcile", name, None, wait, timeout)


@app.command()
def confirm(
    digest: Annotated[str, typer.Argument(help="as `norn status` or the log shows it")],
    timeout: WaitOption = 60.0,
) -> None:
    """Agree to what norn holds for you: a removal of many apps, or making anew what was lost."""
    _request("confirm", None, digest, True, timeout)


@app.command()
def adopt(
    name: AppArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    output_as: OutputOption = Output.TABLE,
    timeout: WaitOption = 60.0,
) -> None:
    """Take over a database, role, user or topics that exist already, after showing what changes.

    What is adopted is never dropped. [dim]norn adopt billing[/dim]
    """
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
    if not found.rows:
        typer.echo(f"Nothing of {name} is there to adopt.")
        return
    if output_as is Output.JSON:
        columns = ("service", "kind", "object", "action", "summary")
        output.as_json(
            {"digest": found.digest, "steps": [dict(zip(columns, r, strict=True)) for r in rows]}
        )
    else:
        output.table(("SERVICE", "KIND", "OBJECT", "ACTION", "WHAT HAPPENS"), rows, empty="")
    if not yes:
        typer.confirm(f"Adopt {name} so?", abort=True)
    _request("adopt", name, found.digest, True, timeout)


@app.command()
def rotate(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Give an app new passwords on every service, prove them, and deliver them together.

    Sessions that are open stay open. [dim]norn rotate mail-agent[/dim]
    """
    _request("rotate", name, None, True, timeout)


@app.command()
def forget(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Drop norn's records of a removed app. What it left on the servers stays."""
    _request("forget", name, None, True, timeout)


@app.command()
def pause(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Leave an app alone until `norn resume`: nothing of it is looked at or repaired."""
    _request("pause", name, None, True, timeout)


@app.command()
def resume(name: AppArgument, timeout: WaitOption = 60.0) -> None:
    """Take a paused app up again."""
    _request("resume", name, None, True, timeout)
