"""Short, stable digests of values: what a person agrees to, and what was converged last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from norn_reconciler.model.secret import Secret


def plain(value: object) -> object:
    """`value` as JSON-ready data that is the same in every process: sets sorted, secrets `***`."""
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, set | frozenset):
        return sorted((plain(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def digest(*values: object) -> str:
    """SHA-256 hex (64 characters) over the plain form of `values`."""
    text = json.dumps([plain(v) for v in values], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(*values: object) -> str:
    """Twelve hex characters: enough to type, too many to hit by chance."""
    return digest(*values)[:12]
