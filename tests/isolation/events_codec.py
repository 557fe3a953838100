"""Kafka's binary format, written and read by the protocol's own message descriptions.

A body is a dict with Kafka's own field names (`{"Topics": [{"Name": "x"}]}`), so that any request
can be put together, sensible or not; what is left out has its default. The descriptions come with
kafka-python; those of requests that it does not know are in `events_schemas`.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from kafka.protocol.api_key import ApiKey
from kafka.protocol.schemas import load_json

from tests.isolation.events_schemas import SCHEMAS

Body = dict[str, Any]

_FIXED = {
    "bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "int64": "q",
    "float64": "d",
}  # fmt: skip
_NOBODY = uuid.UUID(int=0)
_API_VERSIONS = 18  # its replies never have the newer header


class Reader:
    """Takes one value after the other from a reply."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        if len(found) < size:
            raise EOFError("the reply ends too early")
        self.at += size
        return found

    def fixed(self, code: str) -> Any:
        (value,) = struct.unpack(">" + code, self.take(struct.calcsize(">" + code)))
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def covers(versions: str | None, version: int) -> bool:
    """Whether `versions`, as in "3", "1-5", "2+" or "none", holds `version`."""
    if versions in {None, "", "none"}:
        return False
    assert versions is not None
    low, dash, high = versions.removesuffix("+").partition("-")
    last = int(high) if dash else 32767 if versions.endswith("+") else int(low)
    return int(low) <= version <= last


class Message:
    """One request or reply in one version."""

    def __init__(self, schema: Mapping[str, Any], version: int) -> None:
        self._schema = schema
        self._version = version
        self.flexible = covers(schema["flexibleVersions"], version)
        self._of_version: dict[int, list[Any]] = {}

    def encode(self, body: Body) -> bytes:
        return self._struct(self._schema["fields"], body)

    def decode(self, reader: Reader) -> Body:
        return self._read_struct(self._schema["fields"], reader)

    def _tagged(self, field: Mapping[str, Any]) -> bool:
        return "tag" in field and covers(field.get("taggedVersions"), self._version)

    def _nullable(self, field: Mapping[str, Any]) -> bool:
        return covers(field.get("nullableVersions"), self._version)

    def _fields(self, fields: list[Any]) -> list[Any]:
        """Those that the version has, worked out once for each list in the schema."""
        if id(fields) not in self._of_version:
            here = [f for f in fields if covers(f["versions"], self._version)]
            self._of_version[id(fields)] = here
        return self._of_version[id(fields)]

    def _struct(self, fields: list[Any], body: Body) -> bytes:
        unknown = body.keys() - {field["name"] for field in fields}
        assert not unknown, f"no such fields: {unknown}"
        out, tags = [], []
        for field in self._fields(fields):
            value = body.get(field["name"], self._default(field))
            if not self._tagged(field):
                out.append(self._value(field, field["type"], value))
            elif field["name"] in body:
                tags.append((field["tag"], self._value(field, field["type"], value)))
        if self.flexible:
            out.append(varint(len(tags)))
            out += [varint(t) + varint(len(v)) + v for t, v in sorted(tags)]
        return b"".join(out)

    def _default(self, field: Mapping[str, Any]) -> Any:
        kind, given = field["type"], field.get("default", "")
        if given == "null":
            return None
        if kind.startswith("[]"):
            return []
        if kind in _FIXED:
            return given in {True, "true"} if kind == "bool" else int(str(given or 0), 0)
        simple = {"string": given, "bytes": b"", "records": None, "uuid": _NOBODY}
        return simple.get(kind, {})

    def _value(self, field: Mapping[str, Any], kind: str, value: Any) -> bytes:
        if kind.startswith("[]"):
            items = [self._value(field, kind[2:], one) for one in value or ()]
            return self._size(value, "i") + b"".join(items)
        if kind in _FIXED:
            return struct.pack(">" + _FIXED[kind], value)
        if kind == "uuid":
            return bytes(value.bytes)
        if kind == "string":
            raw = None if value is None else value.encode()
            return self._size(raw, "h") + (raw or b"")
        if kind in {"bytes", "records"}:
            return self._size(value, "i") + (value or b"")
        if self._nullable(field) and kind == field["type"]:
            return b"\xff" if value is None else b"\x01" + self._struct(field["fields"], value)
        return self._struct(field["fields"], value)

    def _size(self, value: Any, code: str) -> bytes:
        if self.flexible:
            return varint(0 if value is None else len(value) + 1)
        return struct.pack(">" + code, -1 if value is None else len(value))

    def _read_struct(self, fields: list[Any], reader: Reader) -> Body:
        known = self._fields(fields)
        body = {f["name"]: self._read(f, f["type"], reader) for f in known if not self._tagged(f)}
        if self.flexible:
            tags = {f["tag"]: f for f in known if self._tagged(f)}
            for _ in range(reader.varint()):
                tag, size = reader.varint(), reader.varint()
                part = Reader(reader.take(size))
                if tag in tags:
                    body[tags[tag]["name"]] = self._read(tags[tag], tags[tag]["type"], part)
        return body

    def _read(self, field: Mapping[str, Any], kind: str, reader: Reader) -> Any:
        if kind.startswith("[]"):
            count = self._read_size(reader, "i")
            return [self._read(field, kind[2:], reader) for _ in range(max(count, 0))]
        if kind in _FIXED:
            return reader.fixed(_FIXED[kind])
        if kind == "uuid":
            return uuid.UUID(bytes=reader.take(16))
        if kind in {"string", "bytes", "records"}:
            size = self._read_size(reader, "h" if kind == "string" else "i")
            raw = None if size < 0 else reader.take(size)
            return raw.decode() if raw is not None and kind == "string" else raw
        if self._nullable(field) and kind == field["type"] and reader.fixed("b") < 0:
            return None
        return self._read_struct(field["fields"], reader)

    def _read_size(self, reader: Reader, code: str) -> int:
        return reader.varint() - 1 if self.flexible else int(reader.fixed(code))


@cache
def schema(api: str, side: str) -> Mapping[str, Any]:
    """api: such as "Fetch". side: "Request" or "Response". Raises KeyError when none knows it."""
    try:
        return load_json(api + side)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return SCHEMAS[api + side]


@cache
def message(api: str, side: str, version: int) -> Message:
    return Message(schema(api, side), version)


def key_of(api: str) -> int:
    return int(schema(api, "Request")["apiKey"])


def name_of(key: int) -> str:
    """The name of an api key; its number when kafka-python has never heard of it."""
    return ApiKey(key).name if key in set(ApiKey) else str(key)


def known_versions(api: str) -> range:
    """The versions that both descriptions of an API have."""
    last = min(
        int(
            schema(api, side)["validVersions"].partition("-")[2]
            or schema(api, side)["validVersions"]
        )
        for side in ("Request", "Response")
    )
    return range(int(schema(api, "Request")["validVersions"].partition("-")[0]), last + 1)


def request(api: str, version: int, number: int, client: str, body: Body) -> bytes:
    """A whole frame. number: comes back with the reply."""
    kind = message(api, "Request", version)
    name = client.encode()
    head = struct.pack(">hhih", key_of(api), version, number, len(name)) + name
    payload = head + (b"\0" if kind.flexible else b"") + kind.encode(body)
    return struct.pack(">i", len(payload)) + payload


def reply(api: str, version: int, frame: bytes) -> tuple[int, Body]:
    """The number of the request and the reply's body."""
    kind = message(api, "Response", version)
    reader = Reader(frame)
    number = reader.fixed("i")
    if kind.flexible and key_of(api) != _API_VERSIONS:
        for _ in range(reader.varint()):
            reader.varint()
            reader.take(reader.varint())
    return number, kind.decode(reader)
