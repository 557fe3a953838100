"""The command import: what the servers hold already, as specs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from norn_reconciler import importing
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.importing import Import, Saved
from norn_reconciler.model.errors import with_remedy
from norn_reconciler.model.text import printable
from norn_reconciler.spec.draft import Draft, text


@app.command("import")
def import_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="only these, as whole specs")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="write <app>.yaml files here; none is replaced")
    ] = None,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show what the servers hold already, as specs to adopt. Changes nothing on any server.

    [dim]norn import · norn import billing · norn import --to specs[/dim]
    """
    found = asyncio.run(importing.look(settings()))
    drafts = found.chosen(names or [])
    saved = list(importing.save(found, drafts, to)) if to is not None else []
    if output_as is Output.JSON:
        output.as_json(_json(found, drafts, saved))
    elif to is not None:
        _tell(saved)
    elif names:
        typer.echo("\n".join(text(draft) for draft in drafts), nl=False)
    else:
        _overview(found)
    for service, fault in found.faults.items():
        typer.echo(
            printable(f"error: {service}: {with_remedy(str(fault), fault.remedy)}"), err=True
        )
    if found.faults or (names and any(s.path is None for s in saved)):
        raise typer.Exit(1)


def _overview(found: Import) -> None:
    output.table(
        ("APP", "SERVICES", "IMPORT"),
        ((printable(d.app), " ".join(sorted(d.notes)), _verdict(d)) for d in found.drafts),
        empty="The servers hold nothing that is not norn's.",
    )
    for service, words in found.loose:
        typer.echo(f"nobody's: {service}: {printable(words)}")
    if any(d.usable for d in found.drafts):
        typer.echo(
            "\nnorn import NAME shows one as a spec, with what adopting it would change; "
            "norn import --to FOLDER writes them. Then norn adopt NAME, one by one."
        )


def _verdict(draft: Draft) -> str:
    why = "; ".join(word for words in draft.refused.values() for word in words)
    if not draft.usable:
        return printable(f"no: {why}")
    return printable(f"without {', '.join(sorted(draft.refused))}: {why}") if why else "yes"


def _tell(saved: list[Saved]) -> None:
    for one in saved:
        if one.path is not None:
            typer.echo(f"wrote {one.path}: read it, then norn adopt {one.app}")
        else:
            typer.echo(f"not written: {printable(one.app)}: {printable(one.why)}", err=True)
    typer.echo(f"{sum(one.path is not None for one in saved)} of {len(saved)} written")


def _json(found: Import, drafts: tuple[Draft, ...], saved: list[Saved]) -> object:
    return {
        "apps": [
            {
                "app": d.app,
                "importable": d.usable,
                "services": d.sections,
                "notes": d.notes,
                "refused": d.refused,
                "adopting": d.changes,
                "spec": text(d),
            }
            for d in drafts
        ],
        "unassigned": [{"service": s, "message": words} for s, words in found.loose],
        "faults": [{"service": s, "message": str(f)} for s, f in found.faults.items()],
        "written": [str(s.path) for s in saved if s.path is not None],
    }
