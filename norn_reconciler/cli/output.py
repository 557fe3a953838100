"""How values are printed: tables by rich, JSON by the standard library."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import typer

COLOURS = {
    "True": "green",
    "False": "red",
    "Unknown": "yellow",
    "ok": "green",
    "error": "red",
    "warning": "yellow",
}


def as_json(value: object) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    # What is no text at all, as in a name out of a server, is escaped as JSON has it.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _plain(value: object) -> str:
    """One form for times everywhere: ISO 8601 with its T."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def count(number: int, noun: str) -> str:
    """`1 app`, `2 apps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A plain table; `empty` is said instead when there are no rows."""
    # Not every command shows a table, and rich takes a while to import.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    sheet = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        sheet.add_column(column, overflow="fold", no_wrap=number == 0)
    count = 0
    for row in rows:
        count += 1
        sheet.add_row(*(_cell(value) for value in row))
    if count == 0:
        typer.echo(empty)
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(sheet)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return ago(value)
    from rich.markup import escape  # noqa: PLC0415

    text = escape("" if value is None else str(value))
    colour = COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else text


def ago(when: datetime) -> str:
    """How long ago, as 12s, 5m, 3h or 9d."""
    seconds = max(0, int((datetime.now(UTC) - when).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
