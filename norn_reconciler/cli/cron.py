"""Commands about what runs by the clock: cron list, pause, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from typing import Annotated

import typer

from norn_reconciler import compose
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.engine.timetable import COPIES
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.errors import NornError

cron = typer.Typer(help="What runs by the clock.", no_args_is_help=True)
app.add_typer(cron, name="cron")


@cron.command("list")
def list_(output_as: OutputOption = Output.TABLE) -> None:
    """List what is to run and when next, or since when it is due.

    Commands of apps with role cron it runs only where the settings have NORN_CRON=on; APP:snapshot
    are copies that it makes.

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
        empty="Nothing that runs by the clock is known to norn_db.",
    )


SnapshotsOption = Annotated[
    bool, typer.Option("--snapshots", help="the copies of its database, not its command")
]


@cron.command("pause")
def pause(name: AppArgument, snapshots: SnapshotsOption = False) -> None:
    """Let nothing be begun by this app's clock until `norn cron resume`.

    [dim]norn cron pause nightly · norn cron pause mail-agent --snapshots[/dim]
    """
    _set(name, snapshots, paused=True)


@cron.command("resume")
def resume(name: AppArgument, snapshots: SnapshotsOption = False) -> None:
    """Let an app's clock go on. What came due meanwhile is done once.

    [dim]norn cron resume nightly · norn cron resume mail-agent --snapshots[/dim]
    """
    _set(name, snapshots, paused=False)


def _set(name: str, snapshots: bool, *, paused: bool) -> None:
    row = name + COPIES if snapshots else name

    async def write() -> bool:
        async with compose.open_store(settings(), role="cli") as store:
            return await store.pause_cron(row, paused)

    if not asyncio.run(write()):
        raise NornError(f"nothing of {row} runs by the clock: see norn cron list")
    typer.echo(f"{row} is {'paused' if paused else 'resumed'}")
