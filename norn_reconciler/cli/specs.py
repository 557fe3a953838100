"""Commands about files: validate, schema. They ask no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from norn_reconciler import specs_folder
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings


@app.command()
def validate(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="files or folders")
    ] = None,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Check specs and say all that is wrong, with file, line and column. Exit 1 on errors.

    [dim]norn validate · norn validate specs/mail-agent.yaml -o json[/dim]
    """
    findings = specs_folder.findings(settings(), paths or [])
    if output_as is Output.JSON:
        output.as_json([f.as_json() for f in findings])
    else:
        output.table(
            ("WHERE", "SEVERITY", "CHECK", "MESSAGE"),
            ((f"{f.file}:{f.line}:{f.column}", f.severity, f.check, f.message) for f in findings),
            empty="All good.",
        )
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors.

    [dim]norn schema > specs/infraspec.schema.json[/dim]
    """
    output.as_json(specs_folder.json_schema(settings()))
