"""When an app's command is to run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from norn_reconciler.model.app import AppName


@dataclass(frozen=True, slots=True)
class CronState:
    """An app's row in cron_states, ours or another Norn tool's. next_run_at: None when nobody
    knows."""

    app: AppName
    schedule: str
    paused: bool = False
    next_run_at: datetime | None = None
