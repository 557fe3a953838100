"""norn explain: what a removal would take, before anybody makes it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from norn_reconciler import explaining
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.cli.planned import fate_json, plan_json, print_fates, print_plan, span
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError


@app.command()
def explain(
    name: AppArgument,
    remove: Annotated[
        bool, typer.Option("--remove", help="what its removal would close, keep and destroy")
    ] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show what would become of an app's data without its file, and how much is in each. Writes
    nothing anywhere.

    Exit 1 where a service did not answer. Equal digests, equal removals: sizes are not bound.

    [dim]norn explain --remove mail-agent · norn explain --remove mail-agent -o json[/dim]
    """
    if not remove:
        raise NornError(f"say what to explain: norn explain --remove {name}")
    found = asyncio.run(explaining.removal(settings(), AppName(name)))
    silent = bool(found.faults or found.closing.faults)
    if output_as is Output.JSON:
        output.as_json(
            {
                "app": found.app,
                "digest": found.digest,
                "grace_seconds": found.grace,
                "trash_seconds": found.kept,
                "objects": [fate_json(fate) for fate in found.fates],
                "closing": plan_json(found.closing),
                "faults": [
                    {"app": found.app, "service": service, "message": str(fault)}
                    for service, fault in found.faults.items()
                ],
            }
        )
    else:
        typer.echo(f"Once no file asks for {name}, its access is closed after {span(found.grace)}:")
        print_plan(found.closing, "It has none.", total=False)
        typer.echo("\nThen, of what it has:")
        print_fates(found.fates, found.kept, "nothing is norn's.")
        for service, fault in found.faults.items():
            typer.echo(f"error: {name} {service}: {fault}", err=True)
        typer.echo(f"\ndigest {found.digest}")
    if silent:
        raise typer.Exit(1)
