"""What commands share that ask for long work."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from norn_reconciler import requests
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, settings
from norn_reconciler.model.records import Operation

PatienceOption = Annotated[
    float, typer.Option("--timeout", help="seconds to wait for its end; it goes on after that")
]


def do_work(operation: Operation, patience: float) -> tuple[Operation | None, requests.Answer]:
    """Ask for it, follow it, and say how far it is."""

    def tell(step: str) -> None:
        typer.echo(f"… {step}", err=True)

    return asyncio.run(requests.ask_for_work(settings(), operation, patience=patience, tell=tell))


def end(answer: requests.Answer, output_as: Output, **more: object) -> None:
    if output_as is Output.JSON:
        output.as_json({"ok": answer.ok, "message": answer.text, **more})
    else:
        typer.echo(answer.text, err=not answer.ok)
    if not answer.ok:
        raise typer.Exit(1)
