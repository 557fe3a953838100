"""norn recover: norn_db or the master key was lost. Shows each step, asks, and has it done."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer

from norn_reconciler import logs, oneshot, requests
from norn_reconciler import recover as recovering
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, WaitOption, app, settings
from norn_reconciler.engine.recovery import Recovery, counted
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseHeld
from norn_reconciler.model.inventory import Origin
from norn_reconciler.model.records import Operation
from norn_reconciler.specs_folder import Specs

COLUMNS = ("app", "service", "object", "action", "what happens")
UNTOUCHED = (
    "Untouched: bears norn's mark, and no file asks for it. To take it up, put its file back and "
    "type: norn recover"
)


@app.command()
def recover(
    apps: Annotated[list[str] | None, typer.Argument(metavar="APP", help="only these apps")] = None,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="the master key is lost for good: every app gets passwords of another one",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    output_as: OutputOption = Output.TABLE,
    timeout: WaitOption = 300.0,
) -> None:
    """norn_db was lost or is older than the servers, or the master key is gone: put it right.

    Bare, it finds norn's own on the servers and gives norn_db its records back: passwords that fit
    stay, nothing is dropped. Shown first.

    [dim]norn recover · norn recover mail-agent · norn recover --new-key[/dim]
    """
    if new_key:
        if apps:
            raise typer.BadParameter("a new key is for every app: name none")
        _new_key(yes, output_as)
        return
    names = [AppName(a) for a in apps or []]
    found = asyncio.run(recovering.look_for_recovery(settings(), names))
    _show(found, output_as)
    if found.parts:
        if not yes:
            typer.confirm(f"Recover {counted(found.parts)} so?", abort=True, err=True)
        _have_it_done(found, names, timeout, aside=output_as is Output.JSON)
    if found.faults:
        raise typer.Exit(1)


def _have_it_done(found: Recovery, names: list[AppName], timeout: float, *, aside: bool) -> None:
    """By the daemon, or here and now where none is at work."""
    asyncio.run(oneshot.ready(settings()))
    asked = Operation(
        0,
        "recover",
        None,
        arguments={"apps": names},
        digest=found.digest,
        requested_by=getpass.getuser(),
    )
    number, holder = asyncio.run(requests.put(settings(), asked))
    if holder is None:
        with suppress(LeaseHeld):  # a daemon has begun meanwhile
            _apply(sorted(found.parts), aside=aside)
    answer = asyncio.run(requests.follow(settings(), number, timeout))
    typer.echo(answer.text, err=aside or not answer.ok)
    if not answer.ok:
        raise typer.Exit(1)


def _apply(names: list[AppName], *, aside: bool) -> None:
    read = settings()
    logs.configure(read.log_format)
    specs = Specs(read)
    specs.glance()
    _say(asyncio.run(oneshot.apply(read, specs, names, wait=False)), aside=aside)


def _say(result: oneshot.Applied, *, aside: bool) -> None:
    for name, ok, text in result.apps:
        if not ok:
            typer.echo(f"{name}: {text}", err=True)
    good = sum(ok for _, ok, _ in result.apps)
    text = f"{good} of {len(result.apps)} apps converged, {result.changes} changes made"
    typer.echo(text, err=aside)


def _new_key(yes: bool, output_as: Output) -> None:
    read = settings()
    found = asyncio.run(recovering.look_for_new_key(read))
    if output_as is Output.JSON:
        output.as_json(
            {
                "digest": found.digest,
                "key": found.fingerprint,
                "before": found.known,
                "apps": found.apps,
            }
        )
    else:
        output.table(
            ("APP", "SERVICES", "WHAT HAPPENS"),
            (
                (name, ", ".join(services), "new passwords; restart it when its env file changed")
                for name, services in found.apps.items()
            ),
            empty="No app has a password yet.",
        )
        new = f"{found.fingerprint}, which is there" if found.fingerprint else "made now"
        typer.echo(f"\nThe master key {found.known} is given up. The new one: {new}.")
    if not yes:
        typer.confirm(f"Give {counted(found.apps)} new passwords?", abort=True, err=True)
    logs.configure(read.log_format)
    specs = Specs(read)
    specs.glance()
    result = asyncio.run(recovering.new_key(read, specs, found.digest))
    aside = output_as is Output.JSON
    _say(result, aside=aside)
    names = ", ".join(found.apps) or "nothing"
    typer.echo(f"Back the new master key up. Restart: {names}", err=aside)
    if not result.ok:
        raise typer.Exit(1)


def _show(found: Recovery, output_as: Output) -> None:
    if output_as is Output.JSON:
        output.as_json(
            {
                "digest": found.digest,
                "steps": [dict(zip(COLUMNS, row, strict=True)) for row in _steps(found)],
                "problems": [
                    {"app": a, "service": s, "message": p.message, "remedy": p.remedy}
                    for a, by in found.problems.items()
                    for s, p in by.items()
                ],
                "faults": [
                    {"app": a, "service": s, "message": str(fault)}
                    for a, by in found.faults.items()
                    for s, fault in by.items()
                ],
                "untouched": [
                    {"app": a, "service": s, "kind": kind, "name": name}
                    for s, by in found.untouched.items()
                    for a, keys in by.items()
                    for kind, name in sorted(keys)
                ],
            }
        )
        return
    output.table(
        tuple(c.upper() for c in COLUMNS),
        _steps(found),
        empty="Nothing to recover: norn_db knows all that bears norn's mark and that files ask for."
        if not found.faults
        else "Nothing to recover on what answered.",
    )
    for name, by in found.problems.items():
        for service, problem in by.items():
            typer.echo(f"stays blocked: {name} {service}: {problem.message}")
            if problem.remedy:
                typer.echo(f"  do: {problem.remedy}")
    for name, by_fault in found.faults.items():
        for service, fault in by_fault.items():
            typer.echo(f"error: {name} {service}: {fault}; not looked at", err=True)
    if found.untouched:
        typer.echo(f"\n{UNTOUCHED}")
        for service, marked in found.untouched.items():
            for name, keys in sorted(marked.items()):
                objects = ", ".join(" ".join(key) for key in sorted(keys))
                typer.echo(f"  {name} {service}: {objects}")


def _steps(found: Recovery) -> Iterator[tuple[str, str, str, str, str]]:
    for name, by in found.parts.items():
        for service, part in by.items():
            for held in part.rows.values():
                how = (
                    "as made by norn: its password is one that only norn derives"
                    if held.origin is Origin.MADE
                    else "as adopted: norn never drops it"
                )
                yield name, service, f"{held.kind} {held.name}", "record", how
            if said := part.password():
                yield name, service, "password", "record" if "stays" in said else "set", said
            for action in part.plan.actions:
                verb = f"{action.verb}{' !' if action.destructive else ''}"
                yield name, service, action.name, verb, action.summary()
