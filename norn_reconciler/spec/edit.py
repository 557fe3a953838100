"""A spec's text with single fields changed, and nothing else of it: comments, order and layout are
their author's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from norn_reconciler.model.errors import NornError
from norn_reconciler.spec.tree import TreeError, parse

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_BY_HAND = "the file is written in a way that is better changed by hand"
Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The text at `path` becomes `value`. after: where there is no such field yet, the one of the
    same map that it follows; "": it has to be there."""

    path: Keys
    value: str
    after: str = ""


def changed(text: str, changes: Iterable[Change]) -> str:
    """Raises NornError where that takes more than changing, or adding, words: an alias, a merged
    map, a text over several lines."""
    wanted = _data(text)
    for change in changes:
        _put(wanted, change)
        text = _changed(text, change)
    if _data(text) != wanted:
        raise NornError(_BY_HAND)
    return text


def _changed(text: str, change: Change) -> str:
    found = _find(text, change.path)
    if found is not None:
        _, value = found
        start, end = value.start_mark.index, value.end_mark.index
        return text[:start] + _scalar(change.value) + text[end:]
    before = (*change.path[:-1], change.after)
    found = _find(text, before) if change.after else None
    if found is None:
        raise NornError(f"{'.'.join(change.path)} is not written as a field of its own")
    key, value = found
    words = f"{change.path[-1]}: {_scalar(change.value)}"
    end = value.end_mark.index
    if _is_flow(text, before[:-1]):
        return f"{text[:end]}, {words}{text[end:]}"
    line = text.find("\n", end)
    at = len(text) if line < 0 else line
    newline = "\r\n" if text[at - 1 : at] == "\r" else "\n"
    at -= len(newline) - 1
    return f"{text[:at]}{newline}{' ' * key.start_mark.column}{words}{text[at:]}"


def _find(text: str, path: Keys) -> tuple[Any, Any] | None:
    """The nodes of the field's key and of its text; None where it is not there. Raises NornError
    where the text stands elsewhere, or on several lines."""
    node: Any = _root(text)
    key: Any = None
    for name in path:
        pairs = node.value if isinstance(node.value, list) else []
        found = next(((k, v) for k, v in pairs if k.value == name), None)
        if found is None:
            return None
        key, node = found
    marks = key.end_mark, node.start_mark, node.end_mark
    if not isinstance(node.value, str) or len({mark.line for mark in marks}) > 1:
        raise NornError(f"{'.'.join(path)} is not one word beside its key: change it by hand")
    return key, node


def _is_flow(text: str, path: Keys) -> bool:
    node = _root(text)
    for name in path:
        node = next(value for key, value in node.value if key.value == name)
    return bool(node.flow_style)


def _root(text: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- as in tree.parse
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        return YAML(typ="rt", pure=True).compose(text)
    except YAMLError as fault:  # the change before this one took an anchor away
        raise NornError(_BY_HAND) from fault


def _data(text: str) -> Any:
    try:
        return parse(text).data
    except TreeError as fault:
        raise NornError(f"line {fault.place.line}: {fault.message}") from fault


def _put(data: Any, change: Change) -> None:
    for key in change.path[:-1]:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise NornError(f"{'.'.join(change.path)}: there is no such part of the file")
    data[change.path[-1]] = change.value


def _scalar(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else f'"{value}"'
