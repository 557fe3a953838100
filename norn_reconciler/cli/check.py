"""Commands about the servers: health, doctor, db upgrade."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from norn_reconciler import doctor as diagnosing
from norn_reconciler import oneshot
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Severity

db = typer.Typer(help="norn_db, where norn keeps its records.", no_args_is_help=True)
app.add_typer(db, name="db")


@app.command()
def health(
    apps: Annotated[
        bool, typer.Option("--apps", help="the last probe of each app instead, logged in as it")
    ] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Ask PostgreSQL, Valkey and Redpanda one thing each. Exit 1 if one fails.

    [dim]norn health · norn health --apps · norn health -o json[/dim]
    """
    if apps:
        _health_of_apps(output_as)
        return
    answers = asyncio.run(diagnosing.health(settings()))
    _print(answers, output_as)
    if not all(a.ok for a in answers):
        raise typer.Exit(1)


@app.command()
def doctor(output_as: OutputOption = Output.TABLE) -> None:
    """Look for what would break later: rights, versions, open doors, persistence, key and files.

    Each finding says what to type. Exit 1 on errors; warnings are no errors.

    [dim]norn doctor · norn doctor -o json[/dim]
    """
    answers = asyncio.run(diagnosing.diagnose(settings()))
    if output_as is Output.JSON:
        _print(answers, output_as)
    else:
        for answer in answers:
            mark = typer.style("ok", "green") if answer.ok else typer.style("FAIL", "red")
            typer.echo(f"{answer.service:<12} {mark:<4}  {answer.detail}")
            for finding in answer.findings:
                colour = "red" if finding.severity is Severity.BLOCKING else "yellow"
                typer.echo(f"  {typer.style(finding.reason, colour)}: {finding.message}")
                if finding.remedy:
                    typer.echo(f"    do: {finding.remedy}")
    failed = any(
        not a.ok or any(f.severity is Severity.BLOCKING for f in a.findings) for a in answers
    )
    if failed:
        raise typer.Exit(1)


def _health_of_apps(output_as: Output) -> None:
    """From norn_db: no server is asked."""
    found = asyncio.run(diagnosing.app_health(settings()))
    if output_as is Output.JSON:
        output.as_json({"apps": [asdict(row) for row in found]})
    else:
        output.table(
            ("APP", "SERVICE", "STATUS", "MS", "AGO", "REASON"),
            (
                (r.app, r.service, "ok" if r.healthy else "error", r.response_ms, r.checked_at,
                 r.reason)
                for r in found
            ),
            empty="No app was probed in the last 24 hours.",
        )  # fmt: skip
    if not all(row.healthy for row in found):
        raise typer.Exit(1)


def _print(answers: list[Health], output_as: Output) -> None:
    if output_as is Output.JSON:
        output.as_json(
            {
                "services": [
                    {
                        "service": a.service,
                        "ok": a.ok,
                        "response_ms": round(a.response_ms, 1),
                        "detail": a.detail,
                        "findings": [
                            {
                                "severity": "error"
                                if f.severity is Severity.BLOCKING
                                else "warning",
                                "reason": f.reason,
                                "message": f.message,
                                "remedy": f.remedy,
                            }
                            for f in a.findings
                        ],
                    }
                    for a in answers
                ]
            }
        )
        return
    output.table(
        ("SERVICE", "STATE", "ROUND TRIP", "DETAIL"),
        (
            (a.service, "ok" if a.ok else "FAIL", f"{a.response_ms:.1f} ms", a.detail)
            for a in answers
        ),
        empty="",
    )


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring norn_db's tables to this version. Safe to run again, and beside a running daemon.

    [dim]norn db upgrade[/dim]
    """
    before, after = oneshot.upgrade(settings())
    typer.echo(
        f"norn_db is at {after}."
        if before == after
        else f"norn_db: {before or 'empty'} -> {after}."
    )
