"""YAML text → plain data that remembers where each field stands. Knows nothing of specs.

YAML 1.2: the scanner and parser are ruamel.yaml's (pure Python, nothing is constructed); events are
taken one by one, so that a hostile file is given up at the first bound it breaks. Scalars are
resolved by the core schema (YAML 1.2.2, chapter 10.3.2): `yes` and dates are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]

MAX_DEPTH = 24
MAX_NODES = 20_000  # aliases count as what they expand to
MAX_ALIASES = 50

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"(?=.*[.eE])[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,2})?"
)
# Nothing that a spec says holds them, and PostgreSQL, environments and UTF-8 refuse some.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Place:
    """line, column: from 1."""

    line: int
    column: int


class TreeError(Exception):
    """The text is no tree: check id, message, and where."""

    def __init__(self, check: str, message: str, place: Place) -> None:
        super().__init__(message)
        self.check = check
        self.message = message
        self.place = place


class SourcedInt(int):
    """An int that remembers how it was written, for fields that are texts: `branch: 010`."""

    source: str


class SourcedFloat(float):
    """See SourcedInt: `version: 1.10`."""

    source: str


@dataclass(frozen=True, slots=True)
class Tree:
    """data: dicts with text keys, lists, texts, ints, floats, bools, None. places: of each node, by
    its path; for a mapping's value, the place of its key. duplicates: keys given twice."""

    data: Any
    places: Mapping[Path, Place]
    duplicates: tuple[Path, ...] = ()

    def place(self, path: Path) -> Place:
        """Where `path` stands, or its nearest existing parent."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))


@dataclass(slots=True)
class _Node:
    """children: of a mapping by key, of a list by index; each with the place to report for it."""

    kind: str  # "scalar" | "list" | "map"
    place: Place
    value: Any = None
    items: list[tuple[str | int, Place, _Node]] | None = None
    weight: int = 1
    depth: int = 1
    text: str = ""  # of a scalar, as written


def parse(text: str) -> Tree:
    """One document as a tree. An empty text is a tree of None.

    Raises TreeError when the text is no YAML, or uses what a spec may not."""
    # Imported here: a run in which no file changed never pays for it.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    builder = _Builder()
    try:
        root = builder.document(iter(YAML(typ="safe", pure=True).parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        words = " ".join(str(error.problem or error.context or "not YAML").split())
        raise TreeError("spec.yaml.syntax", f"not YAML: {words}", place) from error
    except YAMLError as error:  # a character that YAML does not allow
        reason = getattr(error, "reason", None) or "not YAML"
        offset = getattr(error, "position", 0)
        raise TreeError("spec.yaml.character", str(reason), _place_at(text, offset)) from error
    except TreeError:
        raise
    except Exception as error:
        # The scanner itself trips over some malformed directives and escapes, in its own ways
        # (AssertionError, ValueError, IndexError); no file may take the daemon down.
        raise TreeError("spec.yaml.syntax", "not YAML", Place(1, 1)) from error
    places: dict[Path, Place] = {}
    duplicates: list[Path] = []
    data = _plain(root, (), places, duplicates) if root else None
    return Tree(data, places, tuple(duplicates))


class _Builder:
    """Takes parser events, hands out nodes, and keeps count."""

    def __init__(self) -> None:
        self._nodes = 0
        self._aliases = 0
        self._anchors: dict[str, _Node | None] = {}

    def document(self, events: Iterator[Any]) -> _Node | None:
        root: _Node | None = None
        documents = 0
        for event in events:
            match type(event).__name__:
                case "DocumentStartEvent":
                    documents += 1
                    if documents > 1:
                        raise TreeError(
                            "spec.yaml.documents",
                            "more than one YAML document: one app a file",
                            _start(event),
                        )
                    if event.version is not None and tuple(event.version) != (1, 2):
                        raise TreeError(
                            "spec.yaml.version",
                            "specs are YAML 1.2: drop the directive",
                            _start(event),
                        )
                case "StreamStartEvent" | "StreamEndEvent" | "DocumentEndEvent":
                    pass
                case _:
                    root = self._node(event, events, 1)
        return root

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        place = _start(event)
        name = type(event).__name__
        if name == "AliasEvent":
            return self._alias(str(event.anchor), place, depth)
        self._count(1, place)
        if depth > MAX_DEPTH:
            raise TreeError("spec.yaml.depth", f"nested deeper than {MAX_DEPTH} levels", place)
        if event.tag is not None:
            raise TreeError(
                "spec.yaml.tag", "tags (!…) are not allowed: write the value itself", place
            )
        anchor = None if event.anchor is None else str(event.anchor)
        if anchor is not None:
            self._anchors[anchor] = None  # not to be used inside of itself
        if name == "ScalarEvent":
            node = _scalar(event, place)
        elif name == "SequenceStartEvent":
            node = self._list(events, place, depth)
        else:
            node = self._map(events, place, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, anchor: str, place: Place, depth: int) -> _Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise TreeError("spec.yaml.alias", f"more than {MAX_ALIASES} aliases (*…)", place)
        node = self._anchors.get(anchor)
        if node is None:
            raise TreeError("spec.yaml.alias", "an alias (*…) to nothing, or to itself", place)
        self._count(node.weight, place)
        if depth + node.depth - 1 > MAX_DEPTH:
            raise TreeError("spec.yaml.depth", f"nested deeper than {MAX_DEPTH} levels", place)
        return node

    def _list(self, events: Iterator[Any], place: Place, depth: int) -> _Node:
        items: list[tuple[str | int, Place, _Node]] = []
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            node = self._node(event, events, depth + 1)
            items.append((len(items), _start(event), node))
        return _collection("list", place, items)

    def _map(self, events: Iterator[Any], place: Place, depth: int) -> _Node:
        items: list[tuple[str | int, Place, _Node]] = []
        merged: list[tuple[str | int, Place, _Node]] = []
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                break
            at = _start(event)
            key = self._node(event, events, depth + 1)
            if key.kind != "scalar":
                raise TreeError("spec.yaml.key", "a key must be a text", at)
            node = self._node(next(events), events, depth + 1)
            if key.text == "<<":
                merged += _merge(node, at)
            else:
                items.append((key.text, at, node))
        own = {key for key, _, _ in items}
        for item in merged:  # the mapping's own keys win, then the first one merged
            if item[0] not in own:
                own.add(item[0])
                items.append(item)
        return _collection("map", place, items)

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TreeError("spec.yaml.size", f"more than {MAX_NODES} values", place)


def _merge(node: _Node, at: Place) -> list[tuple[str | int, Place, _Node]]:
    """`<<: *defaults`, which YAML 1.2 dropped and people still write."""
    if node.kind == "map":
        return [(key, at, child) for key, _, child in node.items or ()]
    if node.kind == "list":
        return [item for _, _, child in node.items or () for item in _merge(child, at)]
    raise TreeError("spec.yaml.key", "<< takes a map, or a list of maps", at)


def _collection(kind: str, place: Place, items: list[tuple[str | int, Place, _Node]]) -> _Node:
    return _Node(
        kind,
        place,
        items=items,
        weight=1 + sum(node.weight for _, _, node in items),
        depth=1 + max((node.depth for _, _, node in items), default=0),
    )


def _scalar(event: Any, place: Place) -> _Node:
    text = str(event.value)
    if _UNFIT.search(text):
        raise TreeError("spec.yaml.character", "holds a control character", place)
    plain = event.implicit[0] and event.style in (None, "")
    return _Node("scalar", place, value=_resolve(text) if plain else text, text=text)


def _resolve(text: str) -> Any:
    """A plain scalar by the core schema. Numbers that no field could hold stay texts."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = SourcedInt(text, base)
        number.source = text
        return number
    if _FLOAT.fullmatch(text):
        real = SourcedFloat(text)
        real.source = text
        return real
    return text


def _plain(node: _Node, path: Path, places: dict[Path, Place], duplicates: list[Path]) -> Any:
    places.setdefault(path, node.place)
    if node.items is None:
        return node.value
    if node.kind == "list":
        values = []
        for index, at, child in node.items:
            places[(*path, index)] = at
            values.append(_plain(child, (*path, index), places, duplicates))
        return values
    data: dict[str, Any] = {}
    for key, at, child in node.items:
        name = str(key)
        places[(*path, name)] = at
        if name in data:
            duplicates.append((*path, name))
        data[name] = _plain(child, (*path, name), places, duplicates)
    return data


def _start(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _place_at(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
