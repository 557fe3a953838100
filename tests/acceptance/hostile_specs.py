"""Spec files that mean harm: hostile texts in every place that the schema knows of, in file names,
and YAML that is hostile by itself."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

from tests.acceptance.hostile_texts import NUMBERS, RAW, STRINGS

Path = tuple[str | int, ...]
KEY = "<key>"  # in a path: the key of a map whose keys are free


@dataclass(frozen=True)
class Case:
    """One file. data: what it says; None where that is to be read from it."""

    file: str
    raw: bytes = field(repr=False)
    data: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def services(self) -> Mapping[str, Any]:
        """Of a file that was taken: the sections that are provisioned."""
        data = YAML(typ="safe", pure=True).load(self.raw) if self.data is None else self.data
        if str(data.get("core")).lower() in {"true", "1", "on"}:
            return {}
        return {k: v for k, v in (data.get("services") or {}).items() if k != "storage"}

    @property
    def topics(self) -> list[str]:
        topics = self.services.get("events", {}).get("topics", [])
        return [str(t["name"] if isinstance(t, dict) else t) for t in topics]


def places(schema: Mapping[str, Any]) -> list[Path]:
    """Every place of a spec, parts and lists as a whole included, and the keys of free maps."""
    return list(dict.fromkeys(_places(schema, schema, ())))


def _places(schema: Mapping[str, Any], node: Any, path: Path) -> Iterator[Path]:
    node = _resolved(schema, node)
    if path:
        yield path
    for choice in node.get("anyOf", ()):
        yield from _places(schema, choice, path)
    for name, child in node.get("properties", {}).items():
        yield from _places(schema, child, (*path, name))
    if isinstance(node.get("additionalProperties"), dict):
        yield from _places(schema, node["additionalProperties"], (*path, "x"))
        yield (*path, KEY)
    elif "properties" in node:
        yield (*path, KEY)
    if "items" in node:
        yield from _places(schema, node["items"], (*path, 0))


def _resolved(schema: Mapping[str, Any], node: Any) -> dict[str, Any]:
    found = node
    while "$ref" in found:
        found = schema["$defs"][found["$ref"].rpartition("/")[2]]
    return dict(found)


class Cases:
    """Makes the files of one run. canary: as in the texts."""

    def __init__(self, schema: Mapping[str, Any], canary: str) -> None:
        self.schema = schema
        self.strings = [text.format(canary=canary) if "{" in text else text for text in STRINGS]
        self._count = 0

    def elsewhere(self) -> list[Case]:
        """Each text, and some numbers, in each place that `for_servers` leaves out: too many to
        converge them all."""
        near = self._near()
        return [c for p in places(self.schema) if p not in near for c in self._at(p)]

    def _near(self) -> set[Path]:
        """The places that are about the services or may name an app."""
        # A topic's name stands in its map: the same as a plain item would be another app's. And a
        # database for each text that a folder of migrations may bear takes minutes. What one was
        # called before may be what another of these apps has: that waits for a person.
        left_out = {
            ("services", "events", "topics", 0),
            ("services", "postgres", "migrations"),
            ("services", "postgres", "renamedFrom"),
        }
        known = set(places(self.schema))
        parts = {p[:n] for p in known for n in range(1, len(p))}  # whole ones are refused anyway
        return {p for p in known if p == ("app",) or p[0] == "services"} - parts - left_out

    def for_servers(self) -> list[Case]:
        """Each text in each place near the services; in the rest of a spec all in one go."""
        matrix = [case for p in sorted(self._near(), key=str) for case in self._at(p)]
        cases = [*matrix, *self._everywhere(), *self._doubled(), *self._raw(), *self._files()]
        assert len({case.file for case in cases}) == len(cases)
        return cases

    def _app(self) -> str:
        self._count += 1
        return f"h{self._count}"

    def _case(self, data: Mapping[str, Any], file: str = "") -> Case:
        return Case(file or f"file-{self._count}.yaml", yaml(data).encode(), data)

    def _at(self, path: Path) -> Iterator[Case]:
        for value in (*self.strings, *(NUMBERS if path[-1] != KEY else ())):
            data: dict[str, Any] = {"app": self._app(), "role": "worker"}
            if path == ("app",):
                data["services"] = _services(data["app"])
            self._put(data, path, value)
            yield self._case(data)

    def _everywhere(self) -> Iterator[Case]:
        """Each text wherever a spec takes any text, at once."""
        texts = [p for p in places(self.schema) if self._takes_text(p)]
        for number, value in enumerate(self.strings):
            app = self._app()
            services: dict[str, Any] = {"kv": {"namespace": app}}
            if number % 10 == 0:
                services["postgres"] = {"database": f"{app}_db", "migrations": value}
            data = {"app": app, "role": "worker", "services": services}
            for path in texts:
                self._put(data, path, value)
            yield self._case(data)

    def _takes_text(self, path: Path) -> bool:
        known: Any = self.schema
        for step in path:
            known = self._below(known, step)
        known = _resolved(self.schema, known)
        free = "string" in known.get("type", ()) and not known.keys() & {"enum", "pattern"}
        return (
            path[0] not in {"services", "app"}
            and path != ("alerts", "window")
            and (free or path in {("env", KEY), (KEY,)})
        )

    def _put(self, data: Any, path: Path, value: Any) -> None:
        """`value` at `path`, and around it what a spec cannot do without."""
        app, node, known = str(data["app"]), data, dict(self.schema)
        for step, then in zip(path, [*path[1:], None], strict=True):
            known = self._below(known, step)
            if then is not None and (step in node if isinstance(node, dict) else node):
                node = node[step]
                continue
            found = value if then is None else self._minimal(known, app)
            if step == KEY:
                node[value] = "x"
            elif isinstance(node, list):
                node.append(found)
            else:
                node[step] = found
            node = found

    def _below(self, known: Any, step: str | int) -> Any:
        known = _resolved(self.schema, known)
        for choice in (known, *(_resolved(self.schema, c) for c in known.get("anyOf", ()))):
            if step == 0 and "items" in choice:
                return choice["items"]
            if step in choice.get("properties", {}):
                return choice["properties"][step]
            if isinstance(choice.get("additionalProperties"), dict):
                return choice["additionalProperties"]
        return {}

    def _minimal(self, known: Any, app: str) -> Any:
        """The least that is right for a place: a list or a map to put something into."""
        known = _resolved(self.schema, known)
        choices = [known, *(_resolved(self.schema, c) for c in known.get("anyOf", ()))]
        if any("items" in c for c in choices):
            return []
        required: list[str] = next((c["required"] for c in choices if "required" in c), [])
        return {name: [] if name == "topics" else f"{app}x" for name in required}

    def _doubled(self) -> Iterator[Case]:
        """Keys and topics that are given twice are named in the finding; so are long app names."""
        taken = {"kv": {"namespace": "x"}, "postgres": {"database": "x"}}
        for text in self.strings:
            app = self._app()
            twice = f"app: {app}\nrole: worker\n{_scalar(text)}: 1\n{_scalar(text)}: 2\n"
            yield Case(f"file-{self._count}.yaml", twice.encode())
            events = {"topics": [text, text, text.replace(".", "_")]}
            yield self._case({"app": self._app(), "role": "worker", "services": {"events": events}})
            for name, services in (("y", {}), ("x" * 64, taken), ("pg_", taken)):
                self._app()
                yield self._case({"app": name + text, "role": "worker", "services": services})

    def _raw(self) -> Iterator[Case]:
        for template in RAW:
            app = self._app()
            text = string.Template(template).safe_substitute(app=app)
            yield Case(f"file-{self._count}.yaml", text.encode("utf-8", "surrogateescape"))

    def _files(self) -> Iterator[Case]:
        """Hostile file and folder names around a good spec with a key space."""
        for text in self.strings:
            name = text.replace("/", "\u2215").replace("\0", "")
            if name in {"", ".", ".."} or len(name.encode()) > 250:
                continue
            nested = self._count % 2
            app = self._app()
            file = f"{name}/infraspec.yaml" if nested else f"{name}.yaml"
            yield self._case({"app": app, "role": "worker"}, file)


def _services(app: str) -> dict[str, Any]:
    return {
        "postgres": {"database": f"{app}_db"},
        "kv": {"namespace": app},
        "events": {"topics": [f"{app}.in"]},
    }


def yaml(data: Mapping[str, Any]) -> str:
    """As flow YAML, every text in double quotes with escapes for what does not print."""
    return _flow(copy.deepcopy(dict(data))) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value) if isinstance(value, str) else json.dumps(value)


def _scalar(text: str) -> str:
    def shown(char: str) -> str:
        if char in '"\\':
            return f"\\{char}"
        code = ord(char)
        if char.isprintable():
            return char
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(map(shown, text)) + '"'
