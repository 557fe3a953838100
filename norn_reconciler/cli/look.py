"""Reading commands: status, describe, events, env. They ask norn_db and write nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

import typer

from norn_reconciler import compose, key_at_hand, oneshot
from norn_reconciler.cli import output
from norn_reconciler.cli.app import AppArgument, Output, OutputOption, app, settings
from norn_reconciler.engine.status import READY
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import KeyMismatch, NornError
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.records import AppRecord, AppState, Operation
from norn_reconciler.model.status import Condition, Event
from norn_reconciler.store.store import PostgresStore
from norn_reconciler.store.views import LeaseState, PastDeployment, RecordedEvent, Standing

T = TypeVar("T")


def ask(question: Callable[[PostgresStore], Awaitable[T]]) -> T:
    """Ask norn_db one thing."""

    async def run() -> T:
        async with compose.open_store(settings(), role="cli") as store:
            return await question(store)

    return asyncio.run(run())


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="APP", help="only this app")] = None,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show every app: what it is at, and what it waits for.

    [dim]norn status · norn status mail-agent · norn status -o json[/dim]
    """
    found = ask(_shown)
    records, pending = found.records, found.pending
    if name is not None:
        records = [r for r in records if r.app == name]
        pending = [o for o in pending if o.app in {name, None}]
        if not records:
            raise NornError(f"no app {name} is known: is its file in the specs folder?")
    if output_as is Output.JSON:
        output.as_json(
            {
                "apps": [_app_json(r) for r in records],
                "held": found.standing.held or None,
                "doomed": found.standing.doomed or None,
                "refused": found.standing.refused,
                "key": found.key,
                "leader": found.lease.holder if found.lease.held else None,
                "operations": [_operation_json(o) for o in pending],
            }
        )
        return
    output.table(
        ("APP", "READY", "GENERATION", "SINCE", "MESSAGE"),
        (_row(r) for r in records),
        empty="No app is known yet. Put a file into the specs folder, and start `norn run`.",
    )
    if found.standing.refused:
        typer.secho("\nFiles that can't be used:", fg="red")
        for text in found.standing.refused:
            typer.echo(f"  {text}")
    for held in filter(None, (found.standing.held, found.standing.doomed)):
        typer.secho(f"\n{held}", fg="red")
    if found.key:
        typer.secho(f"\n{found.key}", fg="red")
    if pending:
        typer.echo()
        _operation_table(pending)
    if not found.lease.held:
        typer.echo("\nNo daemon holds the lease: this is what was true when the last one stopped.")


@dataclass(frozen=True, slots=True)
class Shown:
    """What `norn status` reads. key: why the master key does not fit while nobody is at work."""

    records: Sequence[AppRecord]
    standing: Standing
    lease: LeaseState
    pending: Sequence[Operation]
    key: str | None


async def _shown(store: PostgresStore) -> Shown:
    lease, why = await store.lease_holder(), ""
    if not lease.held:
        with suppress(KeyMismatch):  # not this user's to read
            why = key_at_hand.held(settings(), await store.key_fingerprint())
    return Shown(
        await store.apps(),
        await store.standing(),
        lease,
        await store.pending_operations(),
        f"Everything is held: {why}; {key_at_hand.LOST_FOR_GOOD}" if why else None,
    )


def _row(record: AppRecord) -> tuple[object, ...]:
    ready = record.conditions.get(READY)
    generation = f"{record.observed_generation}/{record.generation}"
    if record.paused:
        return (record.app, "Paused", generation, None, f"norn resume {record.app}")
    if ready is None:
        return (record.app, "Unknown", generation, None, "not looked at yet")
    state = "Removed" if record.state is AppState.REMOVED else ready.status
    torn = record.conditions.get(trash.CONDITION)
    message = "; ".join(filter(None, (ready.message, torn.message if torn is not None else "")))
    return (record.app, state, generation, ready.last_transition_time, message)


def _app_json(record: AppRecord) -> dict[str, object]:
    ready = record.conditions.get(READY)
    return {
        "app": record.app,
        "generation": record.generation,
        "observed_generation": record.observed_generation,
        "ready": ready is not None and ready.status == "True",
        "state": record.state.value,
        "paused": record.paused,
        "file": record.spec.file,
        "conditions": [_condition_json(c) for c in _ordered(record)],
    }


def _ordered(record: AppRecord) -> Sequence[Condition]:
    """Ready first, the others by name."""
    return sorted(record.conditions.values(), key=lambda c: (c.type != READY, c.type))


def _condition_json(condition: Condition) -> dict[str, object]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "last_transition_time": condition.last_transition_time,
    }


@dataclass(frozen=True, slots=True)
class Described:
    """What `norn describe` reads in one go."""

    record: AppRecord | None
    inventory: Mapping[str, Owned]
    deployments: Sequence[PastDeployment]
    operations: Sequence[Operation]
    events: Sequence[RecordedEvent]


@app.command()
def describe(name: AppArgument, output_as: OutputOption = Output.TABLE) -> None:
    """Show one app whole: conditions, what it has on each service, last rollouts, requests, events.

    [dim]norn describe mail-agent · norn describe mail-agent -o json[/dim]
    """

    async def read(store: PostgresStore) -> Described:
        return Described(
            await store.app(AppName(name)),
            await store.inventory_of(AppName(name)),
            await store.deployments(AppName(name), 5),
            await store.recent_operations(AppName(name), 5),
            await store.events(AppName(name), 10),
        )

    found = ask(read)
    record = found.record
    if record is None:
        raise NornError(f"no app {name} is known: is its file in the specs folder?")
    rows = [
        (service, held.kind, held.name, held.state.value, held.origin.value)
        for service, owned in sorted(found.inventory.items())
        for held in owned.values()
    ]
    if output_as is Output.JSON:
        output.as_json(
            {
                **_app_json(record),
                "spec": json.loads(record.spec.canonical),
                "objects": [
                    dict(zip(("service", "kind", "name", "state", "origin"), r, strict=True))
                    for r in rows
                ],
                "deployments": [
                    {**asdict(d), "steps": [s.as_json() for s in d.steps]}
                    for d in found.deployments
                ],
                "operations": [_operation_json(o) for o in found.operations],
                "events": [_event_json(e) for e in found.events],
            }
        )
        return
    typer.echo(
        f"{record.app}  generation {record.generation} (observed {record.observed_generation})"
        f"  from {record.spec.file}  {record.state.value}{'  paused' if record.paused else ''}\n"
    )
    output.table(
        ("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"),
        ((c.type, c.status, c.reason, c.last_transition_time, c.message) for c in _ordered(record)),
        empty="no condition yet",
    )
    typer.echo()
    output.table(("SERVICE", "KIND", "NAME", "STATE", "ORIGIN"), rows, empty="has nothing yet")
    typer.echo()
    output.table(
        ("ROLLOUT", "STATUS", "FINISHED", "ERROR"),
        ((d.id[:8], d.status, d.finished_at, d.error) for d in found.deployments),
        empty="no rollout yet",
    )
    typer.echo()
    _operation_table(found.operations)
    typer.echo()
    _event_table(found.events)


def _operation_table(operations: Sequence[Operation]) -> None:
    output.table(
        ("OPERATION", "KIND", "APP", "STATE", "ASKED", "BY", "RESULT"),
        (
            (o.id, o.kind, o.app, o.state.value, o.created_at, o.requested_by, o.result or o.step)
            for o in operations
        ),
        empty="no operation yet",
    )


def _operation_json(operation: Operation) -> dict[str, object]:
    return {
        "id": operation.id,
        "kind": operation.kind,
        "app": operation.app,
        "state": operation.state.value,
        "digest": operation.digest,
        "step": operation.step,
        "result": operation.result,
        "requested_by": operation.requested_by,
        "created_at": operation.created_at,
        "finished_at": operation.finished_at,
    }


def _event_table(events: Sequence[RecordedEvent]) -> None:
    output.table(
        ("AGO", "SEVERITY", "EVENT", "APP", "SERVICE", "MESSAGE"),
        (
            (
                e.at,
                e.event.severity,
                e.event.event,
                e.event.app,
                e.event.service,
                _event_words(e.event),
            )
            for e in events
        ),
        empty="no event yet",
    )


def _event_words(event: Event) -> str:
    expected, found = event.fields.get("expected"), event.fields.get("found")
    if expected or found:
        return f"{event.message}  (expected {expected}, found {found})"
    return event.message


def _event_json(recorded: RecordedEvent) -> dict[str, object]:
    return {"id": recorded.id, "at": recorded.at, **asdict(recorded.event)}


@app.command()
def events(
    name: Annotated[str | None, typer.Argument(metavar="APP", help="only this app's")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=1000, help="how many at most")
    ] = 50,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Show what happened, newest first: drift with what was expected and found, holds, losses.

    [dim]norn events · norn events mail-agent -n 200 · norn events -o json[/dim]
    """

    async def read(store: PostgresStore) -> Sequence[RecordedEvent]:
        app = AppName(name) if name else None
        rows = await store.events(app, limit)
        if app is not None and not rows and await store.app(app) is None:
            raise NornError(f"no app {app} is known: is its file in the specs folder?")
        return rows

    rows = ask(read)
    if output_as is Output.JSON:
        output.as_json({"events": [_event_json(e) for e in rows]})
        return
    _event_table(rows)


@app.command()
def env(
    name: AppArgument,
    reveal: Annotated[bool, typer.Option("--reveal", help="show the secrets")] = False,
    output_as: OutputOption = Output.TABLE,
) -> None:
    """Print the variables that an app is given; secrets as *** unless --reveal.

    [dim]norn env mail-agent · norn env mail-agent --reveal -o json[/dim]
    """
    variables = asyncio.run(oneshot.variables(settings(), AppName(name), reveal=reveal))
    if output_as is Output.JSON:
        output.as_json(variables)
        return
    for key, value in variables.items():
        typer.echo(f"{key}={value}")
