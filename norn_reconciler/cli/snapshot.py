"""Commands about copies of apps' databases: snapshot create, list, show, verify, restore, prune."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer

from norn_reconciler import compose, requests, restoring, snapshotting
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.cli.working import PatienceOption, do_work, end
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.records import Operation
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.snapshots import prune as pruning
from norn_reconciler.snapshots import view, work
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.work import size_words

snapshot = typer.Typer(help="Copies of apps' databases.", no_args_is_help=True)
app.add_typer(snapshot, name="snapshot")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="a snapshot's, as `norn snapshot list` has it")
]
OneApp = Annotated[str | None, typer.Argument(metavar="APP", help="only this app's")]


@snapshot.command("create")
def create(
    name: AppArgument, timeout: PatienceOption = 3600.0, output_as: OutputOption = Output.TABLE
) -> None:
    """Copy an app's database into a file, beside everything else that goes on, and verify it.

    The daemon does it, or this command itself while none runs. Older snapshots go as the settings
    say; the last good one stays.

    [dim]norn snapshot create mail-agent · norn snapshot create mail-agent -o json[/dim]
    """
    asked = Operation(0, work.KIND, AppName(name), requested_by=getpass.getuser())
    ended, answer = do_work(asked, timeout)
    file = ended.arguments.get("name") if ended is not None and answer.ok else None
    number = ended.id if ended is not None else None
    end(answer, output_as, operation=number, snapshot=file)


def _found(app: str | None) -> Sequence[view.Shown]:
    chosen = AppName(app) if app else None

    async def read() -> Sequence[SnapshotRecord]:
        async with compose.open_store(settings(), role="cli") as store:
            return await store.snapshots(chosen)

    folder = snapshotting.folder_of(settings())
    return view.shown(asyncio.run(read()), folder, strays=chosen is None)


def _one(name: str) -> view.Shown:
    snapshotting.folder_of(settings()).file(name)  # says what is no name
    found = next((s for s in _found(None) if str(s.name) == name), None)
    if found is None:
        raise NornError(f"no snapshot {name} is known: see norn snapshot list")
    return found


def _json(found: view.Shown) -> dict[str, object]:
    recorded = asdict(found.record) if found.record is not None else {}
    path = snapshotting.folder_of(settings()).file(str(found.name))
    return {
        "name": str(found.name),
        "app": recorded.get("app"),
        "database": found.name.database,
        "commit": found.name.commit,
        "made_at": found.made_at,
        "state": found.state,
        "size": recorded.get("size", found.size),
        "sha256": recorded.get("sha256"),
        "server_version": recorded.get("server_version"),
        "client_version": recorded.get("client_version"),
        "path": str(path),
    }


@snapshot.command("list")
def list_(name: OneApp = None, output_as: OutputOption = Output.TABLE) -> None:
    """List snapshots, newest first; without APP also files that norn_db has no record of.

    [dim]norn snapshot list · norn snapshot list mail-agent -o json[/dim]
    """
    found = _found(name)
    if output_as is Output.JSON:
        output.as_json({"snapshots": [_json(s) for s in found]})
        return
    output.table(
        ("SNAPSHOT", "APP", "DATABASE", "COMMIT", "AGO", "SIZE", "STATE"),
        (
            (
                s.name,
                s.record.app if s.record else None,
                s.name.database,
                s.name.commit,
                s.made_at,
                size_words(s.record.size if s.record else s.size or 0),
                s.state,
            )
            for s in found
        ),
        empty="No snapshot is there. Make one: norn snapshot create APP.",
    )


@snapshot.command("show")
def show(name: NameArgument, output_as: OutputOption = Output.TABLE) -> None:
    """Show all that is known of one snapshot, and how to restore it by hand.

    [dim]norn snapshot show mail_db_1f0c2ab_20260131T080000.dump[/dim]
    """
    found = _one(name)
    shown = _json(found)
    if output_as is Output.JSON:
        output.as_json(shown)
        return
    for key, value in shown.items():
        typer.echo(f"{key.replace('_', ' '):15} {'' if value is None else value}")
    typer.echo(
        f"\nTo restore it: norn restore {name}\n"
        "By hand, into an empty database of the app's (docs/snapshots.md):\n"
        f'  pg_restore --no-owner --exit-on-error --dbname "$DATABASE_URL" {shown["path"]}'
    )


@snapshot.command("verify")
def verify(name: NameArgument, output_as: OutputOption = Output.TABLE) -> None:
    """Read a snapshot's file whole: it has the recorded checksum, and pg_restore can list it.

    [dim]norn snapshot verify mail_db_1f0c2ab_20260131T080000.dump[/dim]
    """
    found = _one(name)
    try:
        text = asyncio.run(view.verify(found, snapshotting.folder_of(settings())))
    except NornError as fault:
        end(requests.Answer(str(fault), False), output_as, snapshot=name)
    else:
        end(requests.Answer(text, True), output_as, snapshot=name)


@snapshot.command("restore")
def restore(
    name: NameArgument,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="only this table: SCHEMA.NAME, or NAME in public; again for more"
        ),
    ] = None,
    schema: Annotated[
        list[str] | None, typer.Option("--schema", help="only this schema; again for more")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="what is there of these tables or schemas goes first")
    ] = False,
    no_privileges: Annotated[
        bool, typer.Option("--no-privileges", help="without the grants that the copy holds")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    timeout: PatienceOption = 3600.0,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Put an app's database back as a snapshot has it, after showing what that replaces.

    It is made beside and looked at first; then both change places at once, and what was there is
    kept. With --table or --schema only that comes into the live database, all of it or nothing.
    With --output json it only shows, unless --yes.

    [dim]norn snapshot restore mail_db_1f0c2ab_20260131T080000.dump[/dim]
    """
    choice = Choice(tuple(table or ()), tuple(schema or ()), clean, not no_privileges)
    if clean and choice.whole:
        raise typer.BadParameter("--clean is about --table and --schema: a whole one is made anew")
    found = asyncio.run(restoring.look(settings(), name, choice))
    as_json = output_as is Output.JSON
    if not as_json:
        for line in found.lines:
            typer.echo(line)
    elif not yes:
        shown = {"ok": None, "message": "; ".join(found.lines), "operation": None}
        output.as_json({**shown, "digest": found.digest})
        return
    if not yes:
        typer.confirm("Restore it so?", abort=True)
    ended, answer = do_work(replace(found.ask, requested_by=getpass.getuser()), timeout)
    end(answer, output_as, operation=ended.id if ended is not None else None)


assert restore.__doc__ is not None
app.command("restore", help=restore.__doc__.replace("norn snapshot", "norn"))(restore)


@snapshot.command("prune")
def prune(
    name: OneApp = None,
    timeout: PatienceOption = 3600.0,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Delete what is too old or too much by the settings; the last good one of an app stays.

    [dim]norn snapshot prune · norn snapshot prune mail-agent[/dim]
    """
    arguments = {"apps": [name]} if name else {}
    asked = Operation(0, pruning.KIND, None, arguments=arguments, requested_by=getpass.getuser())
    ended, answer = do_work(asked, timeout)
    end(answer, output_as, operation=ended.id if ended is not None else None)
