"""What the checks are given from outside, and the list of check ids. The section models and the
names they refuse come from the providers; this room knows them by key only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel

from norn_reconciler.model.app import Section
from norn_reconciler.spec.findings import Severity

Refusal = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """sections: key under `services` → pydantic model that implements Section.

    A section model forbids unknown keys, and validates back to an equal value from its
    `model_dump(mode="json", by_alias=True, exclude_defaults=True)`. It is validated with the
    context {"app": name, "core": bool}. A PydanticCustomError whose type holds a dot is a check id
    as it stands; any other error becomes `services.<key>.<field>.<required|type|invalid|unknown>`.

    refused: key → why an app of this name can't use that service, or None.
    """

    sections: Mapping[str, type[Section]]
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    def model(self, key: str) -> type[BaseModel]:
        """The section's model as pydantic sees it."""
        return cast(type[BaseModel], self.sections[key])

    def refusal(self, key: str, app: str) -> str | None:
        refused = self.refused.get(key)
        return None if refused is None else refused(app)


E, W, I = Severity.ERROR, Severity.WARNING, Severity.INFO  # noqa: E741

# Ids never change: people filter on them. docs/infraspec.md lists them, and a test compares.
CHECKS: Mapping[str, Severity] = {
    "spec.app.required": E,
    "spec.app.format": E,
    "spec.app.reserved": E,
    "spec.app.duplicate": W,
    "spec.app.conflict": E,
    "renamedFrom.format": E,
    "renamedFrom.unfollowed": W,
    "renamedFrom.waits": E,
    "spec.role.required": E,
    "spec.role.invalid": E,
    "spec.claim.conflict": E,
    "spec.reader.unknown": W,
    "spec.empty": E,
    "spec.type": E,
    "spec.file.encoding": E,
    "spec.file.size": E,
    "spec.file.type": E,
    "spec.file.unreadable": E,
    "spec.folder.empty": W,
    "spec.record.unusable": E,
    "spec.yaml.alias": E,
    "spec.yaml.character": E,
    "spec.yaml.depth": E,
    "spec.yaml.documents": E,
    "spec.yaml.duplicate": E,
    "spec.yaml.key": E,
    "spec.yaml.size": E,
    "spec.yaml.syntax": E,
    "spec.yaml.tag": E,
    "spec.yaml.version": E,
    "webserver.port.required": E,
    "webserver.healthcheck.recommended": W,
    "port.range": E,
    "cron.schedule.required": E,
    "cron.schedule.format": W,
    "cron.command.required": E,
    "function.trigger.recommended": W,
    "build.dockerfile.required": E,
    "repo.url.required": E,
    "migrations.command.required": E,
    "migrations.database.required": E,
    "migrations.timeout.positive": E,
    "services.empty": W,
    "services.storage.unprovisioned": I,
    "volumes.name.required": E,
    "volumes.mountPath.required": E,
    "alerts.window.invalid": E,
    "alerts.threshold.positive": E,
}
# Beside these: `<field>.type`, `<field>.invalid`, `<field>.required` (errors), `<field>.unknown`
# (an error under `services` and near a known key, else a warning), and the sections' own.
