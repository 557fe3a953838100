"""norn history: who, when, what; and in what two versions of a spec differ."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from norn_reconciler import compose, logs
from norn_reconciler.cli import output
from norn_reconciler.cli.app import Output, OutputOption, app, settings
from norn_reconciler.model.app import AppName
from norn_reconciler.model.difference import ABSENT, Difference, differences
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.records import Generation
from norn_reconciler.store.views import Happening

# What nobody asked for by name, and no rollout says.
_EVENTS = (
    logs.SPEC_ACCEPTED,
    logs.DRIFT_DETECTED,
    logs.DATA_MISSING,
    logs.APP_REMOVED,
    logs.APP_RENAMED,
    logs.OBJECT_MOVED,
    logs.OBJECT_TRASHED,
    logs.OBJECT_DESTROYED,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def since(text: str, now: datetime) -> datetime:
    """`90m`, `12h`, `7d`: so long before now; or a date, or a time in ISO 8601 (UTC unless it says
    otherwise)."""
    try:
        if found := re.fullmatch(r"(\d+)([smhdw])", text, re.ASCII):
            return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        when = datetime.fromisoformat(text)
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise NornError(
            f"no time is known as {text!r}: 90m, 12h, 7d, or 2026-01-31T08:00"
        ) from None


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="APP", help="only this app's")] = None,
    since_text: Annotated[
        str | None, typer.Option("--since", help="not before: 90m, 12h, 7d, 2026-01-31")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=10_000, help="how many at most")
    ] = 50,
    generation: Annotated[
        int | None,
        typer.Option("--generation", min=1, help="what this version of the app's spec changed"),
    ] = None,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show who did what and when, newest first: requests, rollouts, and what norn found or let go.

    [dim]norn history · norn history mail-agent --since 7d · norn history a --generation 3[/dim]
    """
    if generation is not None:
        if name is None:
            raise NornError("a generation is one app's: norn history APP --generation N")
        _compare(AppName(name), generation, output_as)
        return
    start = since(since_text, datetime.now(UTC)) if since_text else None

    rows = asyncio.run(_happenings(AppName(name) if name else None, start, limit))
    if output_as is Output.JSON:
        found = [{**asdict(r), "steps": [s.as_json() for s in r.steps]} for r in rows]
        output.as_json({"history": found})
        return
    output.table(
        ("ID", "WHEN (UTC)", "WHAT", "APP", "BY", "STATE", "MESSAGE"),
        (
            (
                _id(r),
                r.at and f"{r.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
                f"{r.what} of generation {r.generation}" if r.generation else r.what,
                r.app,
                r.by,
                r.state,
                r.words or ", ".join(step.step for step in r.steps),
            )
            for r in rows
        ),
        empty="Nothing has happened yet.",
    )


async def _happenings(
    app: AppName | None, start: datetime | None, limit: int
) -> Sequence[Happening]:
    async with compose.open_store(settings(), role="cli") as store:
        rows = await store.history(app, _EVENTS, start, limit)
        if app is not None and not rows and await store.app(app) is None:
            raise NornError(f"no app {app} is known: is its file in the specs folder?")
        return rows


def _id(row: Happening) -> str:
    """As other commands take it. Of a rollout so much that it is not read as a number."""
    if row.source == "event":
        return ""
    if row.source == "operation":
        return row.id
    return next((row.id[:n] for n in range(8, len(row.id)) if not row.id[:n].isdigit()), row.id)


def _compare(app: AppName, number: int, output_as: Output) -> None:
    async def read() -> Sequence[Generation]:
        async with compose.open_store(settings(), role="cli") as store:
            return await store.generations(app)

    kept = {g.number: g for g in asyncio.run(read())}
    if number not in kept:
        known = f"{min(kept)} to {max(kept)} are kept" if kept else "none is kept"
        raise NornError(f"generation {number} of {app} is not known: {known}")
    before = max((n for n in kept if n < number), default=None)
    old = json.loads(kept[before].canonical) if before is not None else {}
    found = list(differences(old, json.loads(kept[number].canonical)))
    if output_as is Output.JSON:
        told = {"app": app, "generation": number, "before": before, "at": kept[number].at}
        output.as_json({**told, "changes": [_json(d) for d in found]})
        return
    output.table(
        ("FIELD", f"GENERATION {before or '-'}", f"GENERATION {number}"),
        ((d.field, _text(d.before), _text(d.after)) for d in found),
        empty="Nothing differs.",
    )


def _json(difference: Difference) -> dict[str, object]:
    """before or after is not there where the field was not."""
    sides = {"before": difference.before, "after": difference.after}
    return {"field": difference.field} | {k: v for k, v in sides.items() if v is not ABSENT}


def _text(value: object) -> str:
    return "-" if value is ABSENT else json.dumps(value, ensure_ascii=False)
