"""Commands about the master key: key create. They ask no server."""

from __future__ import annotations

import typer

from norn_reconciler import key_at_hand
from norn_reconciler.cli.app import app, settings
from norn_reconciler.credentials import key as master_key

key = typer.Typer(help="The master key that all passwords come from.", no_args_is_help=True)
app.add_typer(key, name="key")


# Typer runs a group of one command without its name unless the group has a callback.
@key.callback()
def group() -> None: ...


@key.command("create")
def create() -> None:
    """Make the master key's file (mode 0600) where the settings say. One that is there stays.

    `norn run` and `norn apply` make it too; this is for installing, before norn_db is known.
    Back the file up: without it no password can be told again.

    [dim]norn key create · NORN_MASTER_KEY_FILE=/srv/norn/master.key norn key create[/dim]
    """
    path = key_at_hand.key_file(settings())
    made = master_key.create(path)
    typer.echo(f"made the master key {path}, fingerprint {made.fingerprint}: back this file up")
