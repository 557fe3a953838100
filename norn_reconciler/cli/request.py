"""How a command asks the writer for something and waits for it. No command itself."""

from __future__ import annotations

import asyncio
import getpass
import time
from dataclasses import replace
from typing import Annotated

import typer

from norn_reconciler import compose
from norn_reconciler.cli.app import settings
from norn_reconciler.model.records import Operation, OperationState

WaitOption = Annotated[
    float, typer.Option("--timeout", help="seconds to wait for the daemon's answer")
]


def put(operation: Operation) -> tuple[int, str | None]:
    """Ask for `operation`. Its number, and who is at work: None while nobody is."""

    async def run() -> tuple[int, str | None]:
        async with compose.open_store(settings(), role="cli") as store:
            number = await store.request(replace(operation, requested_by=getpass.getuser()))
            lease = await store.lease_holder()
            return number, lease.holder if lease.held else None

    return asyncio.run(run())


def follow(number: int, timeout: float, look: str, *, aside: bool = False) -> None:
    """Wait for operation `number` and say how it ended; exit 1 when it failed, or when `timeout`
    seconds are over. look: what to type then. aside: standard output is for a program."""

    async def run() -> Operation | None:
        async with compose.open_store(settings(), role="cli") as store:
            until = time.monotonic() + timeout
            while True:
                operation = await store.operation(number)
                if operation and operation.state in {OperationState.DONE, OperationState.FAILED}:
                    return operation
                if time.monotonic() >= until:
                    return None
                await asyncio.sleep(0.1)

    ended = asyncio.run(run())
    if ended is None:
        typer.echo(
            f"Operation {number} is not done after {timeout:.0f} s; it goes on: {look}".rstrip(),
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(ended.result, err=aside or ended.state is OperationState.FAILED)
    if ended.state is OperationState.FAILED:
        raise typer.Exit(1)
