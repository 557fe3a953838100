"""Values of model.records to rows and back. No SQL and no I/O here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.cron import CronState, Execution
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.migrations import Migrated, MigrationState
from norn_reconciler.model.plan import Step
from norn_reconciler.model.records import (
    AppRecord,
    AppState,
    Deployment,
    ForgeState,
    Generation,
    HealthCheck,
    Operation,
    OperationState,
    ServiceRecord,
    SpecRecord,
)
from norn_reconciler.model.secret import CredentialMark
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.model.status import Condition, Event

Row = Mapping[str, Any]

IN_FLIGHT = frozenset({"queued", "building", "testing", "snapshotting", "migrating", "deploying"})


def dumps(value: object) -> str:
    """JSON that jsonb takes: NUL, lone surrogates and NaN, which it refuses, are replaced.

    They reach us in texts that others wrote (an error message, a file's name); names that decide
    anything are checked long before.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
        text.encode()
    except ValueError:
        text = "\\u0000"
    if "\\u0000" not in text:
        return text
    return json.dumps(_scrubbed(value), ensure_ascii=False, allow_nan=False, default=str)


def _scrubbed(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(_scrubbed(str(key))): _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value - value == 0.0:
        return value
    return clean(str(value))


def clean(text: str) -> str:
    """A text that a column takes: NUL and lone surrogates are replaced."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def app_row(record: AppRecord) -> Row:
    spec = record.spec
    return {
        "app": record.app,
        "file": spec.file,
        "file_digest": spec.file_digest,
        "size": spec.size,
        "mtime_ns": spec.mtime_ns,
        "canonical": spec.canonical,
        "generation": record.generation,
        "observed_generation": record.observed_generation,
        "state": record.state.value,
        "paused": record.paused,
        "removal_confirmed": record.removal_confirmed,
        "pinned": record.pinned.number if record.pinned else None,
        "conditions": [
            {
                "type": c.type,
                "status": c.status,
                "reason": c.reason,
                "message": c.message,
                "last_transition_time": c.last_transition_time.isoformat(),
            }
            for c in record.conditions.values()
        ],
    }


def health_row(check: HealthCheck) -> Row:
    return {
        "app": check.app,
        "service": check.service,
        "healthy": check.healthy,
        "response_ms": check.response_ms,
        "reason": check.reason,
    }


def app_record(row: Row) -> AppRecord:
    return AppRecord(
        app=AppName(row["app"]),
        spec=SpecRecord(
            row["file"], row["file_digest"], row["size"], row["mtime_ns"], row["canonical"]
        ),
        generation=row["generation"],
        observed_generation=row["observed_generation"],
        state=AppState(row["state"]),
        paused=row["paused"],
        removal_confirmed=row["removal_confirmed"],
        pinned=Generation(row["pinned"], row["pinned_canonical"]) if row["pinned"] else None,
        conditions={
            c["type"]: Condition(
                c["type"],
                c["status"],
                c["reason"],
                c["message"],
                datetime.fromisoformat(c["last_transition_time"]),
            )
            for c in row["conditions"]
        },
    )


def held_row(service: str, app: AppName, held: Held) -> Row:
    return {
        "service": service,
        "app": app,
        "kind": held.kind,
        "name": held.name,
        "state": held.state.value,
        "origin": held.origin.value,
        "server_id": held.server_id,
        "settings": dict(held.settings),
    }


def held_value(row: Row) -> Held:
    return Held(
        row["kind"],
        row["name"],
        HeldState(row["state"]),
        Origin(row["origin"]),
        row["server_id"],
        row["settings"],
    )


def service_row(service: str, app: AppName, record: ServiceRecord) -> Row:
    mark = record.mark
    return {
        "service": service,
        "app": app,
        "desired_digest": record.desired_digest,
        "fingerprint": mark.fingerprint if mark else None,
        "generation": mark.generation if mark else None,
        "deletion": record.deletion.value,
    }


def service_record(row: Row) -> ServiceRecord:
    mark = None
    if row["fingerprint"] is not None:
        mark = CredentialMark(row["fingerprint"], row["generation"])
    return ServiceRecord(row["desired_digest"], mark, Deletion(row["deletion"]))


def event_row(n: int, event: Event) -> Row:
    return {
        "n": n,
        "event": event.event,
        "severity": event.severity,
        "app": event.app or "",
        "service": event.service,
        "message": event.message,
        "fields": dict(event.fields),
    }


def deployment_row(value: Deployment, epoch: int) -> Row:
    """Texts are never NULL: the other readers of this table scan them into plain strings."""
    return {
        "id": value.id,
        "app": value.app,
        "commit_sha": "",
        "image_tag": "",
        "status": value.status,
        "steps": [step.as_json() for step in value.steps],
        "error": value.error or "",
        "started_at": value.started_at.isoformat(),
        "finished_at": None if value.status in IN_FLIGHT else value.finished_at.isoformat(),
        "reconciler_epoch": epoch,
        "reconciler_generation": value.generation,
    }


def forge_row(value: ForgeState, epoch: int) -> Row:
    return {
        "app": value.app,
        "status": value.status,
        "steps": [step.as_json() for step in value.steps],
        "resources": dict(value.resources),
        "error": value.error or "",
        "started_at": value.started_at.isoformat(),
        "finished_at": value.finished_at.isoformat() if value.finished_at else None,
        "reconciler_epoch": epoch,
    }


def snapshot_row(value: SnapshotRecord) -> Row:
    return {
        "name": value.name,
        "app": value.app,
        "database": value.database,
        "commit_sha": value.commit,
        "size": value.size,
        "sha256": value.sha256,
        "server_version": value.server_version,
        "client_version": value.client_version,
        "made_at": value.made_at.isoformat(),
    }


def snapshot_record(row: Row) -> SnapshotRecord:
    return SnapshotRecord(
        row["name"],
        AppName(row["app"]),
        row["database"],
        row["commit_sha"],
        row["size"],
        row["sha256"],
        row["server_version"],
        row["client_version"],
        row["made_at"],
    )


def migrated_row(value: Migrated) -> Row:
    return {
        "app": value.app,
        "revision": value.revision,
        "state": value.state.value,
        "at": value.at.isoformat(),
        "done": value.done,
        "snapshot": value.snapshot,
        "error": value.error,
    }


def migrated(row: Row) -> Migrated:
    return Migrated(**{**row, "app": AppName(row["app"]), "state": MigrationState(row["state"])})


def cron_row(value: CronState) -> Row:
    return {
        "app": value.app,
        "schedule": clean(value.schedule),
        "paused": value.paused,
        "next_run_at": value.next_run_at and value.next_run_at.isoformat(),
    }


def execution_row(value: Execution, epoch: int) -> Row:
    return {
        "app": value.app,
        "status": value.status,
        "exit_code": value.exit_code,
        "output": clean(value.output),
        "started_at": value.started_at.isoformat(),
        "finished_at": value.finished_at and value.finished_at.isoformat(),
        "reconciler_epoch": epoch,
    }


def steps_of(value: object) -> tuple[Step, ...]:
    """Steps as a shared table holds them; json in a text column, and foreign keys, are borne."""
    return tuple(
        Step(
            str(step.get("step", "")),
            str(step.get("status", "")),
            int(step.get("durationMs") or 0),
            str(step.get("output") or ""),
        )
        for step in _json_list(value)
        if isinstance(step, Mapping)
    )


def mapping_of(value: object) -> Mapping[str, object]:
    """resources as a shared table holds them."""
    value = _parsed(value)
    return value if isinstance(value, dict) else {}


def _json_list(value: object) -> Iterable[object]:
    value = _parsed(value)
    return value if isinstance(value, list) else ()


def _parsed(value: object) -> object:
    """json in a text column arrives as a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def operation(row: Row) -> Operation:
    return Operation(**{**row, "state": OperationState(row["state"])})
