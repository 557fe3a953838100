"""norn undo: what a change did is shown, asked about, and taken back."""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import replace
from typing import Annotated

import typer

from norn_reconciler import requests
from norn_reconciler import undo as undoing
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, WaitOption, app, settings
from norn_reconciler.cli.planned import plan_json, print_plan
from norn_reconciler.model.records import Operation


@app.command()
def undo(
    change: Annotated[
        str, typer.Argument(metavar="ID", help="as `norn history` has it: a number, or an id")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    output_as: OutputOption = Output.TABLE,
    timeout: WaitOption = 60.0,
) -> None:
    """Take back what a change did, after showing what that changes.

    A rollout: the former version of the spec is put in force, until its file says something else.
    A restore: what it had put aside is live again. A migration, and data that went: their copy is
    restored. With --output json it only shows, unless --yes.

    [dim]norn undo 1f0c2ab9 · norn undo 42 --yes[/dim]
    """
    found = asyncio.run(undoing.look(settings(), change))
    as_json = output_as is Output.JSON
    if as_json:
        plan = plan_json(found.preview) if found.preview is not None else {}
        output.as_json({"undo": "; ".join(found.lines), **plan})
    else:
        for line in found.lines:
            typer.echo(line)
        if found.preview is not None:
            print_plan(found.preview, "Nothing changes on any server.")
    if as_json and not yes:
        return
    if not yes:
        typer.confirm("Undo it so?", abort=True)
    asked = replace(found.ask, requested_by=getpass.getuser())
    answer = asyncio.run(_done(asked, found.long, timeout))
    typer.echo(answer.text, err=as_json or not answer.ok)
    if not answer.ok:
        raise typer.Exit(1)


async def _done(asked: Operation, long: bool, patience: float) -> requests.Answer:
    if not long:
        return await requests.ask(settings(), asked, follow=True, insist=False, patience=patience)

    def tell(step: str) -> None:
        typer.echo(f"… {step}", err=True)

    patience = max(patience, 3600.0)
    _, answer = await requests.ask_for_work(settings(), asked, patience=patience, tell=tell)
    return answer
