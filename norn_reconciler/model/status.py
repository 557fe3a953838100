"""What is reported about an app: conditions and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from norn_reconciler.model.app import AppName


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an app's state. `status` is "True", "False" or "Unknown".

    last_transition_time moves only when status flips (with_transition keeps it so).
    """

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: datetime

    def with_transition(self, before: Condition | None) -> Condition:
        """This condition, carrying the older transition time when the status did not flip."""
        if before is None or before.status != self.status:
            return self
        return Condition(
            self.type, self.status, self.reason, self.message, before.last_transition_time
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, once. event: a log constant. severity: info | warning | error."""

    event: str
    severity: str
    app: AppName | None
    message: str
    fields: Mapping[str, object] = field(default_factory=dict)
    service: str | None = None
