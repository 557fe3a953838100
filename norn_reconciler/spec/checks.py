"""What a spec must say beyond types: needs of its role, parts that need a field, keys nobody knows.

The checks look at the plain data, not at the model, so that one wrong field hides no other.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from norn_reconciler import schedules
from norn_reconciler.spec.document import Part, Spec, Storage, as_text, valid_app_name
from norn_reconciler.spec.report import Report, nearest
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.tree import Path

_ROLES = ("webserver", "worker", "cron", "function")


def check_envelope(report: Report, data: dict[str, Any], rules: Rules) -> None:
    """Everything but the sections. data: the whole document, nulls dropped."""
    _identity(report, data)
    _role(report, data)
    _parts(report, data)
    _alerts(report, data)
    _migrations(report, data)
    _unknown(report, Spec, data, (), rules)


def check_services(report: Report, services: object, rules: Rules) -> None:
    """The keys under `services`; the sections themselves are checked by their models."""
    if not isinstance(services, dict):
        return
    known = (*rules.sections, "storage")
    for key in services:
        if key not in known and not _private(key):
            report.unknown(("services", key), known, strict=True)
    if "storage" in services:
        report.add(
            "services.storage.unprovisioned",
            "services.storage is kept, but norn makes no bucket: make it yourself",
            ("services", "storage"),
        )


def _identity(report: Report, data: dict[str, Any]) -> None:
    if _blank(data, "app"):
        near = next((k for k in data if nearest(k, ("app",))), None)
        hint = f"; did you mean app by {near}?" if near else ""
        report.add("spec.app.required", f"app is required: the app's unique id{hint}", ("app",))
    elif (name := as_text(data["app"])) is not None and not valid_app_name(name):
        report.add(
            "spec.app.format",
            "app must be lower-case letters, digits and hyphens, begin with a letter or digit, and "
            "have at most 200 characters",
            ("app",),
        )

    former = as_text(data.get("renamedFrom"))
    if former is not None and not valid_app_name(former):
        report.add(
            "renamedFrom.format",
            "renamedFrom is what the app was called before: lower-case letters, digits and hyphens",
            ("renamedFrom",),
        )


def _role(report: Report, data: dict[str, Any]) -> None:
    role = data.get("role")
    if _blank(data, "role"):
        report.add("spec.role.required", f"role is required: one of {', '.join(_ROLES)}", ("role",))
    elif role not in _ROLES:
        report.add("spec.role.invalid", f"role must be one of {', '.join(_ROLES)}", ("role",))
    port = data.get("port")
    number = port if isinstance(port, int) and not isinstance(port, bool) else None
    if role == "webserver":
        if port in (None, 0, ""):
            report.add("webserver.port.required", "role webserver needs a port", ("port",))
        if _blank(data, "healthcheck"):
            report.add(
                "webserver.healthcheck.recommended",
                "a webserver should name a healthcheck path such as /health",
                ("healthcheck",),
            )
    if number is not None and not 0 <= number <= 65535:
        report.add("port.range", "port must be between 1 and 65535", ("port",))
    if role == "cron":
        for name in ("schedule", "command"):
            if _blank(data, name):
                report.add(f"cron.{name}.required", f"role cron needs a {name}", (name,))
        _schedule(report, data.get("schedule"))
    if role == "function":
        function = data.get("function")
        if not isinstance(function, dict) or _blank(function, "trigger"):
            report.add(
                "function.trigger.recommended",
                "a function should name its trigger; without one it is http",
                ("function", "trigger"),
            )


def _schedule(report: Report, value: object) -> None:
    """A warning: whoever runs the commands may read what norn can't."""
    text = as_text(value)
    if text is None or not text.strip():
        return
    try:
        schedules.parse(text)
    except ValueError as fault:
        report.add("cron.schedule.format", f"schedule: {fault}", ("schedule",))


def _parts(report: Report, data: dict[str, Any]) -> None:
    """Fields that a part cannot do without."""
    for part, name in (
        ("build", "dockerfile"),
        ("repo", "url"),
        ("migrations", "command"),
        ("migrations", "database"),
    ):
        fields = data.get(part)
        if isinstance(fields, dict) and _blank(fields, name):
            report.add(f"{part}.{name}.required", f"{part} needs {part}.{name}", (part, name))
    volumes = data.get("volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        for name in ("name", "mountPath"):
            if isinstance(volume, dict) and _blank(volume, name):
                report.add(
                    f"volumes.{name}.required",
                    f"volume {index + 1} of the list needs a {name}",
                    ("volumes", index, name),
                )


def _alerts(report: Report, data: dict[str, Any]) -> None:
    alerts = data.get("alerts")
    threshold = alerts.get("threshold") if isinstance(alerts, dict) else None
    if isinstance(threshold, int) and not isinstance(threshold, bool) and threshold <= 0:
        report.add(
            "alerts.threshold.positive",
            "alerts.threshold must be 1 or more",
            ("alerts", "threshold"),
        )


def _migrations(report: Report, data: dict[str, Any]) -> None:
    migrations = data.get("migrations")
    timeout = migrations.get("timeout") if isinstance(migrations, dict) else None
    if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout <= 0:
        report.add(
            "migrations.timeout.positive",
            "migrations.timeout must be 1 or more: seconds that the command may take",
            ("migrations", "timeout"),
        )


def _unknown(
    report: Report, model: type[Part], data: dict[str, Any], path: Path, rules: Rules
) -> None:
    """Keys that `model` and the models inside it do not have."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    for key, value in data.items():
        here = (*path, key)
        if key in fields:
            part = _part_in(fields[key].annotation)
            if part is not None:
                for inner, at in _maps(value, here):
                    _unknown(report, part, inner, at, rules)
        elif not path and key in (*rules.sections, "storage"):
            report.unknown(here, (), strict=True, instead=f"services.{key} (indent it)")
        elif _like_services(key, value, rules):
            # Read as "no services", it would take away all that the app has.
            where = " (at the left margin)" if path else ""
            report.unknown(here, (), strict=True, instead=f"services{where}")
        elif not _private(key):
            report.unknown(here, fields, strict=False)


def unknown_in_storage(report: Report, data: dict[str, Any]) -> None:
    for key in data:
        if key not in Storage.model_fields and not _private(key):
            report.unknown(("services", "storage", key), Storage.model_fields, strict=True)


def _like_services(key: str, value: object, rules: Rules) -> bool:
    """By its name, or by what is in it."""
    return key == "services" or (
        isinstance(value, dict) and any(inner in rules.sections for inner in value)
    )


def _maps(value: object, path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    if isinstance(value, dict):
        yield value, path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _maps(item, (*path, index))


def _part_in(annotation: Any) -> type[Part] | None:
    """The Part that a field's type is about: `Build | None` → Build."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    found = (_part_in(inner) for inner in typing.get_args(annotation))
    return next((part for part in found if part is not None), None)


def _private(key: str) -> bool:
    """Keys that people keep for other tools."""
    return key.startswith("x-") or key == "$schema"


def _blank(data: dict[str, Any], key: str) -> bool:
    value = data.get(key)
    return value is None or (isinstance(value, str) and not value.strip())
