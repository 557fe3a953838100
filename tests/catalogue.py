"""docs/logs.md as a program reads it: which fields each event has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "logs.md"
_ROW = re.compile(r"^\| `([a-z.]+)` \|.*\|\s*([^|]*?)\s*\|$", re.M)
# Beside any event, as the page says.
ANYWHERE = frozenset({"event", "level", "timestamp", "exception", "app", "service"})


@dataclass(frozen=True, slots=True)
class Fields:
    """always: in every line. sometimes: in brackets on the page."""

    always: frozenset[str]
    sometimes: frozenset[str]

    def fault(self, sure: Iterable[str], perhaps: Iterable[str] = ()) -> str | None:
        """What is wrong with a line that has the fields `sure`, and may have `perhaps`."""
        has, may = frozenset(sure) - ANYWHERE, frozenset(perhaps)
        if undocumented := has - self.always - self.sometimes:
            return f"not on the page: {sorted(undocumented)}"
        if missing := self.always - has - may - ANYWHERE:
            return f"on the page, not in the line: {sorted(missing)}"
        return None


@cache
def catalogue() -> Mapping[str, Fields]:
    """By event."""
    return {
        event: Fields(
            frozenset(re.findall(r"\w+", re.sub(r"\[.*?\]", "", fields))),
            frozenset(re.findall(r"\w+", " ".join(re.findall(r"\[(.*?)\]", fields)))),
        )
        for event, fields in _ROW.findall(PAGE.read_text())
    }


def faults(lines: Iterable[Mapping[str, object]]) -> list[str]:
    """What log lines have that the page does not say, or the other way round."""
    known = catalogue()
    found = ((str(line["event"]), known[str(line["event"])].fault(line)) for line in lines)
    return sorted({f"{event}: {fault}" for event, fault in found if fault})
