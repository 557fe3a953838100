"""In what two canonical specs differ. Pure; secrets are digests there already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """field: where, as `validate` writes it: `services.events.topics[mail.in].partitions`. before,
    after: JSON values, ABSENT where there is none."""

    field: str
    before: object
    after: object


class Absent:
    """No value at all; null is one."""

    def __repr__(self) -> str:
        return "-"


ABSENT = Absent()


def differences(before: object, after: object, field: str = "") -> Iterator[Difference]:
    """By field. Items of a list that have names are compared by these, other lists whole: their
    order means nothing, or everything."""
    old, new = _parts(before), _parts(after)
    if old is None or new is None:
        if not _same(before, after):
            yield Difference(field, before, after)
        return
    for part in sorted(old.keys() | new.keys()):
        where = part if part.startswith("[") or not field else f".{part}"
        yield from differences(old.get(part, ABSENT), new.get(part, ABSENT), field + where)


def _same(before: object, after: object) -> bool:
    """As JSON: true is not 1 there."""
    if before is ABSENT or after is ABSENT:
        return before is after
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _parts(value: object) -> Mapping[str, object] | None:
    """What is compared part by part; None: the value is compared whole."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and value:
        names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
        if len({n for n in names if isinstance(n, str)}) == len(value):
            return {f"[{name}]": item for name, item in zip(names, value, strict=True)}
    return None
