"""One file's bytes → a document, or all that is wrong with it, each with line and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from norn_reconciler.model.app import App, AppName, Deletion, Section
from norn_reconciler.model.records import SpecRecord
from norn_reconciler.spec.checks import check_envelope, check_services, unknown_in_storage
from norn_reconciler.spec.document import Spec, Storage
from norn_reconciler.spec.findings import Finding, Severity, ordered
from norn_reconciler.spec.read import Content
from norn_reconciler.spec.report import Report
from norn_reconciler.spec.rules import CHECKS, Rules
from norn_reconciler.spec.tree import Path, Place, Tree, TreeError, parse

_BARE = Tree(None, {})
_YES = {"true", "yes", "on", "y", "t", "1"}  # what pydantic takes for true, and Norn always did


@dataclass(frozen=True, slots=True)
class Document:
    """A spec that may be put in force. findings: warnings and infos only; empty when the spec came
    from a record. raw: the file's bytes, to find places in; empty when there is no file."""

    app: App
    spec: Spec
    record: SpecRecord
    findings: tuple[Finding, ...] = ()
    raw: bytes = field(default=b"", repr=False, compare=False)

    def place(self, path: Path) -> Place:
        """Where a field stands in the file, or its nearest parent."""
        try:
            return parse(self.raw.decode("utf-8-sig")).place(path)
        except (TreeError, UnicodeDecodeError):
            return Place(1, 1)

    def finding(self, check: str, path: tuple[str, ...], message: str) -> Finding:
        """One about this file that only shows when all of them are seen."""
        place, severity = self.place(path), CHECKS.get(check, Severity.ERROR)
        file = self.record.file
        return Finding(check, severity, message, ".".join(path), file, place.line, place.column)


@dataclass(frozen=True, slots=True)
class Loaded:
    """document: None when a finding is an error. findings: all, in the file's order."""

    document: Document | None
    findings: tuple[Finding, ...]


def load(content: Content, file: str, rules: Rules) -> Loaded:
    """Check everything. file: path as findings and records shall name it. Never raises for what
    the bytes hold."""
    text, report = _decode(content.raw, file)
    if text is not None:
        try:
            report = Report(file, parse(text))
        except TreeError as error:
            report = Report(file, Tree(None, {(): error.place}))
            report.add(error.check, error.message)
        else:
            spec, sections = _check(report, rules)
            if spec is not None and not report.failed:
                findings = ordered(report.findings)
                app = _app(spec, sections)
                record = SpecRecord(
                    file,
                    content.digest,
                    content.stamp.size,
                    content.stamp.mtime_ns,
                    spec.canonical(),
                )
                return Loaded(Document(app, spec, record, findings, content.raw), findings)
    return Loaded(None, ordered(report.findings))


def restore(record: SpecRecord, rules: Rules, raw: bytes = b"") -> Document | None:
    """The document that `record` was made of, without reading any YAML. None when it does not pass
    the checks of today (a newer version, a name that settings now reserve)."""
    try:
        spec = Spec.from_canonical(record.canonical)
    except ValidationError:
        return None
    sections: dict[str, Section] = {}
    for key, kept in spec.services.items():
        if key in rules.sections:
            try:
                sections[key] = _section(rules, key, kept, spec.app, spec.core)
            except ValidationError:
                if not spec.core:  # of Norn itself, reserved names are kept without a section
                    return None
    if not spec.core and any(rules.refusal(key, spec.app) for key in sections):
        return None
    if "@" in record.canonical:  # of a version that kept the user and password of a URL
        record = replace(record, canonical=spec.canonical())
    return Document(_app(spec, sections), spec, record, (), raw)


def _app(spec: Spec, sections: Mapping[str, Section]) -> App:
    deletion = {key: Deletion(s.deletion or spec.deletion) for key, s in sections.items()}
    return App(AppName(spec.app), sections, deletion=deletion)


def _decode(raw: bytes, file: str) -> tuple[str | None, Report]:
    try:
        return raw.decode("utf-8-sig"), Report(file, _BARE)
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        report = Report(file, Tree(None, {(): Place(line, column)}))
        report.add("spec.file.encoding", "not UTF-8: save the file as UTF-8")
        return None, report


def _check(report: Report, rules: Rules) -> tuple[Spec | None, dict[str, Section]]:
    for path in report.tree.duplicates:
        report.add("spec.yaml.duplicate", f"{path[-1]} is given twice: remove one", path)
    data = report.tree.data
    if data is None:
        report.add("spec.empty", "the file is empty: a spec needs at least app and role")
        return None, {}
    if not isinstance(data, dict):
        report.add("spec.type", "a spec is a map (app: …, role: …)")
        return None, {}
    if "services" in data and data["services"] is None:
        report.add(
            "services.empty",
            "services has nothing under it, so the app is given none; say so by removing the key",
            ("services",),
        )
    data = _without_nulls(data)
    check_envelope(report, data, rules)
    check_services(report, data.get("services"), rules)
    core = str(data.get("core")).lower() in _YES
    app = data.get("app")
    sections, kept = _sections(report, data.get("services"), app, core, rules)
    try:
        spec = Spec.model_validate({**data, "services": kept} if "services" in data else data)
    except ValidationError as error:
        # The plain checks have already named these two in the words of the list.
        known = {f.check for f in report.findings}
        report.pydantic(error, (), Spec.model_fields)
        report.findings = _once(report.findings, known)
        return None, {}
    return spec, sections


def _sections(
    report: Report, services: object, app: object, core: bool, rules: Rules
) -> tuple[dict[str, Section], Any]:
    """The sections that hold, and what stands for `services` in the canonical form."""
    if not isinstance(services, dict):
        return {}, services
    sections: dict[str, Section] = {}
    kept: dict[str, Any] = {}
    for key, raw in services.items():
        path: Path = ("services", key)
        if key == "storage":
            kept[key] = _storage(report, raw)
        if key not in rules.sections:
            continue
        _refuse_app(report, key, app, core, rules)
        bare = _given(raw)
        try:
            section = sections[key] = _section(rules, key, bare, app, core)
        except ValidationError as error:
            report.pydantic(error, path, _names(rules.model(key)), reserved_ok=core)
            kept[key] = bare
        else:
            kept[key] = cast(BaseModel, section).model_dump(
                mode="json", by_alias=True, exclude_defaults=True
            )
    return sections, kept


def _section(rules: Rules, key: str, raw: object, app: object, core: bool) -> Section:
    model = rules.model(key)
    return cast(Section, model.model_validate(raw, context={"app": app, "core": core}))


def _refuse_app(report: Report, key: str, app: object, core: bool, rules: Rules) -> None:
    refusal = rules.refusal(key, app) if isinstance(app, str) and app and not core else None
    if refusal is not None:
        report.add("spec.app.reserved", f"app can't use services.{key}: {refusal}", ("app",))


def _storage(report: Report, raw: object) -> Any:
    data = _given(raw)
    try:
        storage = Storage.model_validate(data)
    except ValidationError as error:
        report.pydantic(error, ("services", "storage"), Storage.model_fields)
        return {}
    if isinstance(data, dict):
        unknown_in_storage(report, data)
    return storage.model_dump(mode="json", exclude_defaults=True)


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """`key:` with nothing behind it means its default, as it always has, but for maps whose keys
    are names (services, env), where it says that the name is there."""
    return {
        key: value
        if key in {"services", "env"}
        else _without_nulls(value)
        if isinstance(value, dict)
        else [_without_nulls(v) if isinstance(v, dict) else v for v in value]
        if isinstance(value, list)
        else value
        for key, value in data.items()
        if value is not None
    }


def _given(raw: object) -> Any:
    """A section as its model takes it: what has no value was not given."""
    if raw is None:
        return {}
    bare = _bare(raw)
    return {k: v for k, v in bare.items() if v is not None} if isinstance(bare, dict) else bare


def _bare(value: Any) -> Any:
    """Plain ints and floats: sections need not know ours."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value


@cache  # the models are few, and files may be wrong by the thousand
def _names(model: type[BaseModel]) -> frozenset[str]:
    """Every key that a section may hold, at any depth, for "did you mean"."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for part in parts for name in part.get("properties", {}))


def _once(findings: list[Finding], known: set[str]) -> list[Finding]:
    """Without a second finding of the same check at the same place."""
    seen: set[tuple[str, int, int]] = set()
    kept = []
    for finding in findings:
        key = (finding.check, finding.line, finding.column)
        if finding.check in known and key in seen:
            continue
        seen.add(key)
        kept.append(finding)
    return kept
