"""The command's frame: groups, the shared options, how settings are read."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import ValidationError

from norn_reconciler import journal, logs
from norn_reconciler.settings import Settings

# Module → the commands it registers.
GROUPS: Mapping[str, frozenset[str]] = {
    "act": frozenset({"run", "plan", "apply"}),
    "ask": frozenset({"reconcile", "confirm", "adopt", "rotate", "forget", "pause", "resume"}),
    "recover": frozenset({"recover"}),
    "undo": frozenset({"undo"}),
    "rename": frozenset({"rename"}),
    "explain": frozenset({"explain"}),
    "look": frozenset({"status", "describe", "events", "env"}),
    "history": frozenset({"history"}),
    "migrate": frozenset({"migrate"}),
    "snapshot": frozenset({"snapshot", "restore"}),
    "cron": frozenset({"cron"}),
    "specs": frozenset({"validate", "schema"}),
    "survey": frozenset({"import"}),
    "check": frozenset({"health", "doctor", "db"}),
    "key": frozenset({"key"}),
}

app = typer.Typer(
    name="norn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show locals, and locals hold secrets
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _frame() -> None:
    """Keeps shared PostgreSQL, Valkey and Redpanda as the files in specs/ describe."""
    logs.configure(None)  # to standard error: what a command prints is for programs, too


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="table for people, json for programs")
]
WaitOption = Annotated[
    float, typer.Option("--timeout", help="seconds to wait for the daemon's answer")
]
AppArgument = Annotated[str, typer.Argument(metavar="APP", help="the app's name, as in its file")]


def settings() -> Settings:
    """Read the settings; a bad one ends the command with its name and what is wrong."""
    try:
        return Settings()
    except ValidationError as fault:
        lines = [
            f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}"
            for e in fault.errors(include_url=False, include_input=False)
        ]
    except (ValueError, OSError) as fault:  # norn.toml itself; its text may hold a password
        lines = [f"  norn.toml: {_why(fault)}"]
    text = "norn: settings (environment NORN_…, or norn.toml) are not usable:\n"
    typer.echo(journal.failure(text + "\n".join(lines)), err=True)
    raise typer.Exit(2)


def _why(fault: Exception) -> str:
    """Of a settings file that can't be read: where, and nothing of what stands there."""
    if isinstance(fault, OSError):
        return fault.strerror or type(fault).__name__
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(fault))
    return "no TOML" + (f", {place[1]}" if place else "")


def load(command: str = "") -> None:
    """Register `command` alone, where it is known: the others need not be imported to run it."""
    home = next((group for group, has in GROUPS.items() if command in has), None)
    for group in [home] if home else GROUPS:
        importlib.import_module(f"norn_reconciler.cli.{group}")
