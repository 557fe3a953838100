"""Collects the findings of one file, each with the place of its field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from norn_reconciler.spec.findings import Finding, Severity
from norn_reconciler.spec.rules import CHECKS
from norn_reconciler.spec.tree import Path, Tree

_KINDS = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "literal_error": "invalid",
    "enum": "invalid",
    "int_parsing": "type",
    "int_from_float": "type",
    "bool_parsing": "type",
    "float_parsing": "type",
}
_WANTED = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a map (key: value)",
    "mapping_type": "must be a map (key: value)",
    "model_type": "must be a map (key: value)",
    "model_attributes_type": "must be a map (key: value)",
}
_LONGEST = 60  # characters of a key that are shown


class Report:
    """tree: of the file's text; an empty one when there is none."""

    def __init__(self, file: str, tree: Tree) -> None:
        self.file = file
        self.tree = tree
        self.findings: list[Finding] = []

    @property
    def failed(self) -> bool:
        return any(f.severity is Severity.ERROR for f in self.findings)

    def add(self, check: str, message: str, path: Path = ()) -> None:
        """A check of the list. path: the field, or where it should be."""
        self.add_as(check, CHECKS[check], message, path)

    def add_as(self, check: str, severity: Severity, message: str, path: Path) -> None:
        """A check whose id is made of a field's name, or is a section's own."""
        place = self.tree.place(path)
        self.findings.append(
            Finding(check, severity, message, field_of(path), self.file, place.line, place.column)
        )

    def unknown(self, path: Path, known: Iterable[str], *, strict: bool, instead: str = "") -> None:
        """A key that no model has. strict: an error even when it is near to nothing.

        instead: where the key belongs, when that is clear."""
        name = field_of(path)
        near = instead or nearest(str(path[-1]), known)
        severity = Severity.ERROR if strict or near else Severity.WARNING
        hint = f"; did you mean {near}?" if near else ""
        self.add_as(f"{name}.unknown", severity, f"{name} is not a field{hint}", path)

    def pydantic(
        self,
        error: ValidationError,
        prefix: Path,
        known: Iterable[str],
        *,
        reserved_ok: bool = False,
    ) -> None:
        """Every error that a model raised, once a place. reserved_ok: reserved names are no fault
        here (a spec of Norn itself)."""
        names = tuple(known)
        seen: set[tuple[str, str, Path]] = set()
        for details in error.errors(include_url=False, include_input=False, include_context=False):
            path = self._real(prefix, details["loc"])
            check, message = _worded(details, path)
            if (check, message, path) in seen:
                continue
            seen.add((check, message, path))
            if details["type"] == "extra_forbidden":
                self.unknown(path, names, strict=True)
            elif reserved_ok and check.endswith(".reserved"):
                self.add_as(check, Severity.INFO, message, path)
            else:
                self.add_as(check, Severity.ERROR, message, path)

    def _real(self, prefix: Path, location: tuple[int | str, ...]) -> Path:
        """`location` without the parts that only pydantic knows (union members, `[key]`)."""
        path = prefix
        for index, part in enumerate(location):
            last = index == len(location) - 1
            if (*path, part) in self.tree.places or (last and part != "[key]"):
                path = (*path, part)
        return path


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that `key` is probably a typo of, or ""."""
    by_form = {_form(name): name for name in known}
    close = difflib.get_close_matches(_form(key[:_LONGEST]), by_form, n=1, cutoff=0.75)
    return by_form[close[0]] if close else ""


def field_of(path: Path) -> str:
    """`("volumes", 0, "name")` → `volumes.name`. Keys of any shape are made fit for one line."""
    return ".".join(_shown(part) for part in path if isinstance(part, str))


def _shown(key: str) -> str:
    short = key if len(key) <= _LONGEST else key[:_LONGEST] + "…"
    return "".join(c if c.isprintable() else "?" for c in short)


def _form(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "").replace(" ", "")


def _worded(details: ErrorDetails, path: Path) -> tuple[str, str]:
    """Check id and message of one pydantic error."""
    kind = details["type"]
    name = field_of(path)
    if "." in kind:
        return kind, details["msg"]
    suffix = _KINDS.get(kind, "type" if kind.endswith("_type") else "invalid")
    check = f"spec.{name}.{suffix}" if name in {"app", "role"} else f"{name}.{suffix}"
    if suffix == "required":
        return check, f"{name} is required"
    if kind in _WANTED:
        return check, f"{name} {_WANTED[kind]}"
    words = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return check, f"{name}: {words}"
