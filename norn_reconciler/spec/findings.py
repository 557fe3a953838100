"""What is wrong, or worth a word, in a spec file, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from norn_reconciler.model.text import printable


class Severity(StrEnum):
    """An ERROR keeps the file from being used; a WARNING and an INFO do not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about one place of one file.

    check: stable id, listed in docs/infraspec.md. field: dotted path without list indexes, "" for
    the file as a whole. line, column: from 1; where a field is missing, those of its nearest
    existing parent. The message never holds a value that may be a secret.
    """

    check: str
    severity: Severity
    message: str
    field: str
    file: str
    line: int = 1
    column: int = 1

    def __post_init__(self) -> None:
        """A name out of a file may hold anything: what steers a terminal is shown escaped."""
        for part in ("message", "field", "file"):
            text: str = getattr(self, part)
            if not text.isprintable():
                object.__setattr__(self, part, printable(text))

    def as_json(self) -> Mapping[str, object]:
        return {
            "check": self.check,
            "severity": self.severity.value,
            "message": self.message,
            "field": self.field,
            "file": self.file,
            "line": self.line,
            "column": self.column,
        }

    def __str__(self) -> str:
        """One line, as compilers print them."""
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.check}]"

    def __lt__(self, other: Finding) -> bool:
        return self._place() < other._place()

    def _place(self) -> tuple[str, int, int, str, str]:
        return (self.file, self.line, self.column, self.check, self.message)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By file, then by place; each once."""
    return tuple(sorted(set(findings)))


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.severity is Severity.ERROR)
