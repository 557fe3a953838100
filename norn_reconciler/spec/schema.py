"""JSON Schema of a spec, for editors, generated from the models that check it."""

from __future__ import annotations

from typing import Any

from norn_reconciler.spec.document import Spec, Storage
from norn_reconciler.spec.rules import Rules

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# What the checks require though the models have a default, so that all findings come at once.
_REQUIRED = {
    "Build": ["dockerfile"],
    "Repo": ["url"],
    "Migrations": ["command", "database"],
    "Volume": ["name", "mountPath"],
}
_PRIVATE = {"^x-": True}


def schema(rules: Rules) -> dict[str, Any]:
    """The schema, sections in their place under `services`. Stricter than the checks in one way: a
    key that no model has is marked, where the checks may only warn."""
    whole = Spec.model_json_schema(by_alias=True)
    parts: dict[str, Any] = whole.pop("$defs", {})
    for name, required in _REQUIRED.items():
        parts[name]["required"] = required
    sections: dict[str, Any] = {}
    for key in rules.sections:
        section = rules.model(key).model_json_schema(by_alias=True, mode="validation")
        for name, part in section.pop("$defs", {}).items():
            parts[f"{key}.{name}"] = part
        sections[key] = _renamed(section, key)
        for name in [n for n in parts if n.startswith(f"{key}.")]:
            parts[name] = _renamed(parts[name], key)
    storage = Storage.model_json_schema(by_alias=True)
    parts["Storage"] = storage
    sections["storage"] = {"$ref": "#/$defs/Storage"}
    whole["properties"]["services"] = {
        "description": Spec.model_fields["services"].description,
        "type": "object",
        "properties": sections,
        "patternProperties": _PRIVATE,
        "additionalProperties": False,
    }
    for part in (whole, *(parts[name] for name in (*_REQUIRED, *_plain_parts(parts)))):
        part["additionalProperties"] = False
        part["patternProperties"] = _PRIVATE
    whole["properties"]["$schema"] = {"type": "string"}
    return {
        "$schema": _DRAFT,
        "title": "infraspec",
        "description": "What one app needs: checked and kept true by norn",
        "type": "object",
        "required": ["app", "role"],
        **{k: v for k, v in whole.items() if k not in {"title", "description", "type"}},
        "allOf": _by_role(),
        "$defs": dict(sorted(parts.items())),
    }


def _by_role() -> list[dict[str, Any]]:
    """What each role needs."""
    needs = {"webserver": ["port"], "cron": ["schedule", "command"]}
    return [
        {
            "if": {"properties": {"role": {"const": role}}, "required": ["role"]},
            "then": {"required": required},
        }
        for role, required in needs.items()
    ]


def _plain_parts(parts: dict[str, Any]) -> list[str]:
    """Names of the envelope's own models; the sections' say for themselves what they forbid."""
    return [name for name in parts if "." not in name and name not in _REQUIRED]


def _renamed(node: Any, key: str) -> Any:
    """References to a section's own parts, moved to where they stand now."""
    if isinstance(node, dict):
        return {
            k: f"#/$defs/{key}.{v.removeprefix('#/$defs/')}"
            if k == "$ref" and isinstance(v, str) and not v.startswith(f"#/$defs/{key}.")
            else _renamed(v, key)
            for k, v in node.items()
        }
    if isinstance(node, list):
        return [_renamed(item, key) for item in node]
    return node
