"""Every way to say a command that the server's own documentation allows: `COMMAND DOCS` turned into
forms, lists of words in which the places that name something are left open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import valkey

Docs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name belongs. kind: key, pattern, channel or user."""

    kind: str


@dataclass(frozen=True, slots=True)
class Live:
    """A value that the stage knows when the command is sent, such as the id of a connection."""

    name: str


@dataclass(frozen=True, slots=True)
class Keys:
    """How many keys follow."""


Piece = str | Place | Live | Keys
Form = tuple[Piece, ...]

PLACES = {
    "channel": "channel", "shardchannel": "channel", "username": "user", "prefix": "pattern",
    "not-username": "user",
}  # fmt: skip
LIVE = {
    "client-id": "client", "addr": "address", "old-format": "address", "laddr": "server",
    "sha1": "script", "serialized-value": "dump", "name": "client-name",
}  # fmt: skip
WORDS = {
    "script": "return 1", "function": "relay", "function-code": "#!lua name=own\n"
    "server.register_function('own', function() return 1 end)", "library-name": "shared",
    "library-name-pattern": "*", "parameter": "maxmemory-samples", "section": "everything",
    "host": "127.0.0.1", "ip": "127.0.0.1", "port": "1", "path": "/nowhere.so", "rule": "+@all",
    "replicationid": "?", "event": "command", "command": "get", "command-name": "get",
    "category": "keyspace", "message": "hello", "group": "group", "consumer": "consumer",
    "id": "9-1", "start": "0", "end": "9", "stop": "9", "last-id": "9-1", "lastid": "9-1",
    "max-deleted-id": "0-1", "min-idle-time": "0", "threshold": "9", "encoding": "u8",
    "protover": "3", "type": "string", "flags": "P", "db": "1", "destination-db": "1",
    "index1": "0", "index2": "1", "index": "1", "cursor": "0", "count": "100", "bits": "64",
    "offset": "0", "timeout": "300", "milliseconds": "5", "ttl": "0", "limit": "9", "len": "9",
    "min": "-", "max": "+", "maxage": "0", "numlocal": "0", "numreplicas": "1", "subcommand": "x",
    "version": "5", "engine": "lua", "node-id": "0" * 40, "slot": "1", "start-slot": "0",
    "end-slot": "16383", "prefix": "mail", "member": "str", "member1": "str", "member2": "hash",
    "field": "str", "element": "1", "pivot": "1", "unix-time-seconds": "4102444800",
    "unix-time-milliseconds": "4102444800000", "seconds": "1000", "numfields": "1",
    "arg": "x", "password": "wrong",
}  # fmt: skip
DOUBLES = {"timeout": "0.01", "min": "0", "max": "9"}


@dataclass(frozen=True)
class Spoken:
    """A command or subcommand. name: as the server lists it, `client|kill`. base: the forms of its
    necessary words alone; options: with one more option or another alternative each."""

    name: str
    traits: frozenset[str]
    base: tuple[Form, ...]
    options: tuple[Form, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.name.upper().split("|"))

    @property
    def type(self) -> str:
        """The kind of value it works on; plain strings where it does not matter."""
        kinds = {
            "@hyperloglog": "hll", "@geo": "geo", "@bitmap": "bits", "@stream": "stream",
            "@hash": "hash", "@list": "list", "@set": "set", "@sortedset": "zset",
        }  # fmt: skip
        return next((kind for trait, kind in kinds.items() if trait in self.traits), "str")


def vocabulary(client: valkey.Valkey) -> list[Spoken]:
    """Everything the server lists. client: speaks RESP3, replies as they come."""
    docs = client.execute_command("COMMAND", "DOCS")
    spoken = []
    for info in client.execute_command("COMMAND"):
        known = docs.get(info[0], {})
        spoken.append(_spoken(info, known))
        inner = known.get("subcommands", {})
        spoken += [_spoken(sub, inner.get(sub[0], {})) for sub in info[9]]
    return sorted(spoken, key=lambda one: one.name)


def _spoken(info: Sequence[Any], docs: Docs) -> Spoken:
    arguments = docs.get("arguments", [])
    once, twice = _sequence(arguments, 1), _sequence(arguments, 2)
    base = dict.fromkeys((once[0], twice[0]))
    places = _places(once[0])
    more = dict.fromkeys([*once[1:], *(form for form in twice if _places(form) > places)])
    options = [form for form in more if form not in base]
    return Spoken(info[0], frozenset([*info[2], *info[6]]), tuple(base), tuple(options))


def _places(form: Form) -> int:
    return sum(isinstance(piece, Place) for piece in form)


def _sequence(arguments: Sequence[Docs], repeat: int) -> list[Form]:
    """The form with nothing optional, then one for each alternative of each argument."""
    ways = [list(_ways(argument, repeat)) for argument in arguments]
    forms = [_joined(way[0] for way in ways)]
    for place, way in enumerate(ways):
        for other in way[1:]:
            chosen = [other if i == place else w[0] for i, w in enumerate(ways)]
            forms.append(_joined(chosen))
    return forms


def _joined(forms: Any) -> Form:
    return tuple(piece for form in forms for piece in form)


def _ways(argument: Docs, repeat: int) -> Iterator[Form]:
    # GEOSEARCH can do without `from` for polygons alone.
    if "optional" not in argument.get("flags", ()) or argument["name"] == "from":
        yield from _present(argument, repeat)
        return
    yield ()
    for form in _present(argument, repeat):
        yield form
        if _places(form) and isinstance(form[0], str) and form[0].isupper():
            yield form + form  # said twice, a server may check the one and use the other


def _present(argument: Docs, repeat: int) -> Iterator[Form]:
    """The argument's forms when it is there."""
    flags = argument.get("flags", ())
    token = tuple(argument["token"].split()) if argument.get("token") else ()
    times = repeat if "multiple" in flags else 1
    for form in _bodies(argument, repeat):
        if "multiple_token" in flags:
            yield (token + form) * times
        else:
            yield token + form * times


def _bodies(argument: Docs, repeat: int) -> Iterator[Form]:
    kind, name = argument["type"], argument["name"]
    inner = argument.get("arguments", [])
    if kind == "pure-token":
        yield ()
    elif kind == "oneof":
        for alternative in inner:
            yield from _present(alternative, repeat)
    elif kind == "block":
        yield from _sequence(inner, repeat)
    else:
        yield (_piece(kind, name, repeat),)


def _piece(kind: str, name: str, repeat: int) -> Piece:
    if kind in ("key", "pattern"):
        return Place(kind)
    if kind == "string" and name in PLACES:
        return Place(PLACES[name])
    if name == "numkeys":
        return Keys()
    if name in ("numfields", "num-vertices"):
        return str(repeat)
    if name in LIVE:
        return Live(LIVE[name])
    if kind == "double":
        return DOUBLES.get(name, "1")
    return WORDS.get(name, "1" if kind == "integer" else "value")
