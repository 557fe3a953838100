"""Short, stable digests of values: what a person agrees to, and what was converged last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache

from norn_reconciler.model.secret import Secret

_SCALARS = frozenset({str, int, bool, float, type(None)})


@cache
def _compared(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.compare)


def plain(value: object) -> object:
    """`value` as JSON-ready data that is the same in every process: sets sorted, secrets `***`."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, tuple | list):
        # Most are of texts alone, thousands in a fleet's ACLs: JSON has them as they are.
        return value if _SCALARS.issuperset(map(type, value)) else [plain(v) for v in value]
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(kind):
        return {name: plain(getattr(value, name)) for name in _compared(kind)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, set | frozenset):
        return sorted((plain(v) for v in value), key=_as_json)
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def digest(*values: object) -> str:
    """SHA-256 hex (64 characters) over the plain form of `values`."""
    text = json.dumps([plain(v) for v in values], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(*values: object) -> str:
    """Twelve hex characters: enough to type, too many to hit by chance."""
    return digest(*values)[:12]
