"""Commands about what runs by the clock: cron list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC

import typer

from norn_reconciler import compose
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.model.cron import CronState

cron = typer.Typer(help="Apps with role cron.", no_args_is_help=True)
app.add_typer(cron, name="cron")


@cron.callback()
def _group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@cron.command("list")
def list_(output_as: OutputOption = Output.TABLE) -> None:
    """List what is to run and when next, or since when it is due. norn runs none of it.

    [dim]norn cron list · norn cron list -o json[/dim]
    """

    async def read() -> Sequence[CronState]:
        async with compose.open_store(settings(), role="cli") as store:
            return await store.crons()

    found = asyncio.run(read())
    if output_as is Output.JSON:
        output.as_json({"crons": [asdict(state) for state in found]})
        return
    output.table(
        ("APP", "SCHEDULE", "PAUSED", "NEXT (UTC)"),
        (
            (
                state.app,
                state.schedule,
                "yes" if state.paused else "no",
                state.next_run_at and f"{state.next_run_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            )
            for state in found
        ),
        empty="No app with role cron is known to norn_db.",
    )
