"""docs/infraspec.md lists every check id that norn can report, and no other; and every field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from norn_reconciler.providers import REGISTRY
from norn_reconciler.spec.document import Part, Spec
from norn_reconciler.spec.rules import CHECKS

PAGE = (Path(__file__).parents[3] / "docs" / "infraspec.md").read_text()


def documented() -> dict[str, str]:
    """Check id → severity, from the tables of the page's "Findings"."""
    part = PAGE.split("\n## Findings\n")[1]
    rows = re.findall(r"^\| `([a-zA-Z.]+)` \| (\w+) \|", part, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "an id is listed twice"
    return dict(rows)


def own_ids(key: str) -> Iterator[str]:
    """Ids that a section's module raises: first arguments of PydanticCustomError with a dot."""
    path = Path(str(import_module(f"norn_reconciler.providers.{key}.section").__file__))
    source = ast.parse(path.read_text())
    constants = {
        target.id: node.value.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(source):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id == "_Clash":  # the events section's clashes, under its own prefix
            name = ast.literal_eval(node.args[0])
            yield f"{constants['_CHECK']}.{name}"
        if node.func.id != "PydanticCustomError":
            continue
        first = node.args[0]
        parts = first.values if isinstance(first, ast.JoinedStr) else [first]
        text = ""
        for part in parts:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
                text += str(constants[part.value.id])
            else:
                break  # made at run time: covered by what it is made of
        else:
            if "." in text:
                yield text


def test_check_ids_are_those_of_the_code() -> None:
    expected = {check: severity.value for check, severity in CHECKS.items()}
    for key in REGISTRY:
        expected |= dict.fromkeys(own_ids(key), "error")
    assert documented() == expected


def fields(model: type[Part], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        if path == "services":
            continue
        inner = _part(info.annotation)
        if inner is None:
            yield path
        else:
            yield from fields(inner, f"{path}{'[]' if path == 'volumes' else ''}.")


def _part(annotation: object) -> type[Part] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Part):
            return candidate
    return None


def test_every_field_is_explained() -> None:
    wanted = set(fields(Spec)) | {"services.storage.bucket", "services.storage.provider"}
    for key, registration in REGISTRY.items():
        model = registration.section()
        parts = model.model_fields.items()  # type: ignore[attr-defined]
        wanted |= {f"services.{key}.{info.alias or name}" for name, info in parts}
    rows = set(re.findall(r"^\| `([^`]+)` \|", PAGE.split("\n## Findings\n")[0], re.MULTILINE))
    assert wanted - rows == set()
    assert {r for r in rows - wanted if not r.startswith("services.events.topics[]")} == set()
