"""norn migrate: a copy of the app's database, then its own command."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app
from norn_reconciler.cli.working import PatienceOption, do_work, end
from norn_reconciler.jobs.migrate import KIND
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import Operation


@app.command()
def migrate(
    name: AppArgument,
    revision: Annotated[
        str | None, typer.Option("--revision", help="the one that is recorded, not the spec's")
    ] = None,
    timeout: PatienceOption = 3600.0,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Copy an app's database, then run the command of its spec's `migrations`.

    Only where the settings have NORN_MIGRATIONS=on. The daemon does it, or this command itself
    while none runs. When it fails it says how to put the copy back.

    [dim]norn migrate mail-agent · norn migrate mail-agent --revision 0042[/dim]
    """
    arguments = {"revision": revision} if revision else {}
    who = getpass.getuser()
    asked = Operation(0, KIND, AppName(name), arguments=arguments, requested_by=who)
    ended, answer = do_work(asked, timeout)
    snapshot = ended.arguments.get("snapshot") if ended is not None else None
    number = ended.id if ended is not None else None
    end(answer, output_as, operation=number, snapshot=snapshot)
