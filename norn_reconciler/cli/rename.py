"""norn rename: the edit of a spec that gives something another name, with what it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from norn_reconciler import renaming
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.cli.planned import plan_json, print_plan
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.renaming import Renaming

rename = typer.Typer(help="Give a database or an app another name.", no_args_is_help=True)
app.add_typer(rename, name="rename")

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="write the file, and do not ask")]


@rename.command()
def database(
    name: AppArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="what its database is to be called")],
    yes: YesOption = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Rename an app's database in place: all that is in it stays.

    Shows the edit of the app's file and what norn would then do, and asks before it writes that
    file. The daemon, or norn apply, does the rest. With --output json it only shows, unless --yes.

    [dim]norn rename database mail-agent post_db[/dim]
    """
    _edit(renaming.database(settings(), AppName(name), new), yes, output_as)


@rename.command("app")
def app_(
    old: Annotated[str, typer.Argument(metavar="OLD", help="what it is called")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="what it is to be called")],
    yes: YesOption = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Rename an app: its database, keys and topics stay its own.

    Shows the edit of the app's file and what norn would then do, and asks before it writes that
    file. Other files that name it as a reader are told of, and not written.

    [dim]norn rename app mail-agent post-agent[/dim]
    """
    _edit(renaming.app(settings(), AppName(old), AppName(new)), yes, output_as)


@rename.command()
def topic(
    name: AppArgument,
    old: Annotated[str, typer.Argument(metavar="OLD", help="what the topic is called")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="what it is to be called")],
) -> None:
    """Say how a topic gets another name: no broker can rename one.

    [dim]norn rename topic mail-agent mail.inbound mail.incoming[/dim]
    """
    asyncio.run(renaming.topic(settings(), AppName(name), old))
    raise NornError(
        f"no broker can rename a topic; what is in {old} has to be copied, as {name}:\n"
        f"  1. name {new} beside {old} in the spec of {name}, with the same partitions and config\n"
        f"  2. let producers write to {new}\n"
        f"  3. let consumers read {old} to its end (norn explain --remove {name} shows their lag), "
        f"then {new}\n"
        f"  4. take {old} out of the spec\n"
        "docs/renames.md says more"
    )


def _edit(look: Coroutine[Any, Any, Renaming], yes: bool, output_as: Output) -> None:
    found = asyncio.run(look)
    as_json = output_as is Output.JSON
    if as_json:
        output.as_json(
            {
                "file": str(found.path),
                "patch": found.patch,
                "also": found.also,
                "refused": [finding.as_json() for finding in found.refused],
                **plan_json(found.plan),
            }
        )
    else:
        typer.echo(found.patch)
        if not found.refused:  # else the plan is of what would be in force in its place
            print_plan(found.plan, "Nothing changes on any server.", total=False)
            for line in found.also:
                typer.echo(line)
    if found.refused:
        raise NornError(f"the file would be refused: {found.refused[0]}")
    if as_json and not yes:
        return
    if not yes:
        typer.confirm(f"Write this into {found.path}?", abort=True)
    renaming.save(found)
    typer.echo(f"{found.path} is written: the daemon does the rest, or norn apply", err=as_json)
