"""Requests to the writer: reconcile, confirm, adopt, forget, pause, resume. Each becomes a row in
`operations`, which the daemon (or the next `norn apply`) works through; the command follows it."""

from __future__ import annotations

import asyncio
import getpass
import time
from typing import Annotated

import typer

from norn_reconciler import compose, oneshot
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import Operation, OperationState
from norn_reconciler.spec.findings import printable

WaitOption = Annotated[
    float, typer.Option("--timeout", help="seconds to wait for the daemon's answer")
]


def _request(
    kind: str,
    name: str | None,
    digest: str | None,
    wait: bool,
    timeout: float,
    aside: bool = False,
) -> None:
    """aside: what is said goes to standard error, since standard output is for a program."""

    def say(text: str) -> None:
        typer.echo(text, err=aside)

    async def run() -> Operation | None:
        async with compose.open_store(settings(), role="cli") as store:
            number = await store.request(
                Operation(
                    0,
                    kind,
                    AppName(name) if name else None,
                    digest=digest,
                    requested_by=getpass.getuser(),
                )
            )
            lease = await store.lease_holder()
            if not lease.held:
                say(
                    f"Noted as operation {number}. No daemon is running: "
                    "the next `norn run` or `norn apply` does it."
                )
                return None
            if not wait:
                say(f"Noted as operation {number}; {lease.holder} does it.")
                return None
            until = time.monotonic() + timeout
            while time.monotonic() < until:
                operation = await store.operation(number)
                if operation and operation.state in {OperationState.DONE, OperationState.FAILED}:
                    return operation
                await asyncio.sleep(0.1)
            typer.echo(
                f"Operation {number} is not done after {timeout:.0f} s; it goes on: "
                f"norn describe {name or ''}".rstrip(),
                err=True,
            )
            raise typer.Exit(1)

    ended = asyncio.run(run())
    if ended is None:
        return
    failed = ended.state is OperationState.FAILED
    typer.echo(ended.result, err=failed or aside)
    if failed:
        raise typer.Exit(1)


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

    What is adopted keeps its data and its password (norn rotate gives it a new one), and is never
    dropped. With --output json it only shows, unless --yes. [dim]norn adopt billing[/dim]
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
    problems = [(s, problem) for s, plan in found.plans.items() for problem in plan.problems]
    as_json = output_as is Output.JSON
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
    _request("adopt", name, found.digest, True, timeout, aside=as_json)


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
