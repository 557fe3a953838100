"""A rollout: from the first write for an app until every service has had its say. It becomes one
row in deployments and the app's row in forge_states."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from norn_reconciler.model.app import AppName
from norn_reconciler.model.plan import Step
from norn_reconciler.model.records import Deployment, ForgeState


@dataclass(frozen=True, slots=True)
class Rollout:
    """waiting: services that have not reported since it began. error: the last fault, in words."""

    app: AppName
    started_at: datetime
    began: float  # monotonic seconds
    waiting: frozenset[str]
    generation: int | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    steps: tuple[Step, ...] = ()
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    acted: bool = False
    error: str | None = None

    def heard(
        self,
        service: str,
        steps: Collection[Step],
        changes: Collection[str],
        error: str | None,
        *,
        final: bool,
    ) -> Rollout:
        """After one service's report. error: None when it has none. final: it will not go on by
        itself in a moment."""
        told = {**self.changes, service: (*self.changes.get(service, ()), *changes)}
        return replace(
            self,
            waiting=self.waiting - {service} if final else self.waiting,
            steps=(*self.steps, *steps),
            changes=told if changes else self.changes,
            acted=self.acted or bool(changes),
            error=error or self.error,
        )

    @property
    def over(self) -> bool:
        return not self.waiting

    def deployment(self, now: datetime, ok: bool) -> Deployment:
        status = "deploying" if not self.over else "deployed" if ok else "failed"
        return Deployment(
            self.id,
            self.app,
            status,
            self.steps,
            self.error,
            self.started_at,
            now,
            self.generation,
        )

    def forge_state(
        self, now: datetime, ok: bool, leaving: bool, resources: Mapping[str, object]
    ) -> ForgeState:
        if not self.over:
            status = "tearing_down" if leaving else "forging"
        elif leaving:
            status = "unforged" if ok else "forge_failed"
        else:
            status = "forged" if ok else "forge_failed"
        return ForgeState(
            self.app,
            status,
            self.steps,
            resources,
            self.error,
            self.started_at,
            now if self.over else None,
        )
