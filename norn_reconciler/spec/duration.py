"""Durations in Go's form (`90s`, `5m`, `1h30m`), as Norn's specs have always had them."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # micro sign U+00B5, and below the Greek letter mu U+03BC
    "μs": 1_000,  # both are in use
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_PART = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:ns|us|µs|μs|ms|s|m|h)"
_WHOLE = re.compile(rf"\+?(?:{_PART}){{1,16}}")
_EACH = re.compile(r"([0-9.]+)([^0-9.]+)")
_MAX = 2**63 - 1  # Go's time.Duration


def parse(text: str) -> int:
    """Nanoseconds, above 0. Raises ValueError, with words for a person."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a duration: write it like 90s, 5m or 1h30m")
    total = int(sum(Decimal(number) * _UNITS[unit] for number, unit in _EACH.findall(text)))
    if total > _MAX:
        raise ValueError("too long: 292 years at most")
    if total <= 0:
        raise ValueError("must be longer than 0")
    return total


def text(nanoseconds: int) -> str:
    """One spelling for equal durations, parts of 0 left out: 300 s → `5m`."""
    parts: list[str] = []
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, nanoseconds = divmod(nanoseconds, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
