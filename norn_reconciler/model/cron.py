"""When an app's command is to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from norn_reconciler.model.app import AppName


@dataclass(frozen=True, slots=True)
class CronState:
    """An app's row in cron_states, ours or another Norn tool's. next_run_at: None when nobody
    knows."""

    app: AppName
    schedule: str
    paused: bool = False
    next_run_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What an app with role cron runs. timeout: seconds."""

    command: str
    timeout: int


@dataclass(frozen=True, slots=True)
class Execution:
    """One run, as cron_executions has it; an app has one that began at a moment. status: running |
    succeeded | failed. exit_code: -1 until it has ended, and where nobody knows."""

    app: AppName
    started_at: datetime
    status: str = "running"
    exit_code: int = -1
    output: str = ""
    finished_at: datetime | None = None

    def ended(self, code: int, output: str, *, late: bool = False) -> Execution:
        status = "succeeded" if code == 0 and not late else "failed"
        return replace(
            self, status=status, exit_code=code, output=output, finished_at=datetime.now(UTC)
        )
