"""Random fleets: what an app may ask for, how that is written as a file, and what people do to
files. Apps are letters here; a mark makes their names, and those of all they have, unique."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

LETTERS = "abcdef"
PLACES = ("{}.yaml", "zz-{}.yml", "{}/infraspec.yaml")
# All of the same app: one inside its prefix, two outside, one of them with capitals.
TOPICS = ("{}.in", "audit-{}", "Feed_{}")
CHANNELS = ("jobs.*", "__keyspace@0__:*", "x")
CONFIGS: Mapping[str, tuple[object, ...]] = {
    "retention.ms": (60000, 86400000, -1),
    "max.message.bytes": (1000, 2000000),
    "cleanup.policy": ("compact", "delete"),
}


@dataclass(frozen=True)
class Topic:
    """partitions: None leaves them to the broker. readers: letters."""

    partitions: int | None = None
    config: tuple[tuple[str, object], ...] = ()
    readers: tuple[str, ...] = ()

    def data(self, names: Names, pattern: str) -> object:
        whole: dict[str, object] = {"name": names.topic(pattern)}
        readers = [Names(letter, names.mark).app for letter in self.readers]
        if self == Topic():
            return whole["name"]
        if self.partitions is not None:
            whole["partitions"] = self.partitions
        if readers:
            whole["readers"] = readers
        if self.config:
            whole["config"] = dict(self.config)
        return whole


@dataclass(frozen=True)
class Wish:
    """What one file asks for. database, namespace: which of two names; None is no section.
    topics: pairs of a pattern out of TOPICS and the topic. info, channels: of the key space."""

    database: int | None = None
    connections: int | None = None
    namespace: int | None = None
    topics: tuple[tuple[str, Topic], ...] | None = None
    info: bool = False
    channels: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """No section at all."""
        return self.database is None and self.namespace is None and self.topics is None


@dataclass(frozen=True)
class Names:
    """The names of one app's objects."""

    letter: str
    mark: str

    @property
    def app(self) -> str:
        return f"{self.letter}-{self.mark}"

    def database(self, which: int) -> str:
        return f"{self.letter}{which}_{self.mark}"

    def namespace(self, which: int) -> str:
        return self.app if which == 0 else f"ns{which}-{self.app}"

    def topic(self, pattern: str) -> str:
        return pattern.format(self.app)


def data(names: Names, wish: Wish) -> dict[str, Any]:
    """The file's content, as it would be written by hand."""
    services: dict[str, Any] = {}
    if wish.database is not None:
        services["postgres"] = {"database": names.database(wish.database)}
        if wish.connections is not None:
            services["postgres"]["connections"] = wish.connections
    if wish.namespace is not None:
        services["kv"] = {"namespace": names.namespace(wish.namespace)}
        services["kv"] |= {"info": True} if wish.info else {}
        services["kv"] |= {"channels": list(wish.channels)} if wish.channels else {}
    if wish.topics is not None:
        services["events"] = {"topics": [t.data(names, p) for p, t in wish.topics]}
    whole: dict[str, Any] = {"app": names.app, "role": "worker"}
    return {**whole, "services": services} if services else whole


def text(names: Names, wish: Wish, *, mirrored: bool = False) -> str:
    """mirrored: the same said in another order of keys and topics, with a comment."""
    whole = data(names, wish)
    if not mirrored:
        return json.dumps(whole, indent=1)
    return "# the same\n" + json.dumps(_reversed(whole), indent=1)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reversed(v) for k, v in reversed(value.items())}
    return [_reversed(v) for v in reversed(value)] if isinstance(value, list) else value


# Ways to spoil a file that still shows which app it is about.
BREAKS: Mapping[str, bytes] = {
    "an unclosed bracket": b"\n[",
    "a second document": b"\n---\napp: other\n",
    "no UTF-8": b"\n# \xff\xfe\n",
    "a control character": b"\n# \x1b[31m\n",
    "a tag": b"\n--- !!python/object:os.system {}\n",
}


@dataclass(frozen=True)
class File:
    """One app's file. broken: what was appended to it, or b""."""

    wish: Wish
    place: str = PLACES[0]
    broken: bytes = b""
    mirrored: bool = False


Folder = dict[str, File]  # by letter


@dataclass(frozen=True)
class Edit:
    """One thing that a person does to the files. letter: whom it is about; where it needs a file
    that this app does not have, some other app's."""

    kind: str
    letter: str
    value: Any = None

    def __call__(self, folder: Folder) -> None:
        letter, old = self.letter, folder.get(self.letter)
        if self.kind == "write":
            folder[letter] = replace(old or File(self.value), wish=self.value, broken=b"")
            return
        if old is None:
            if not folder:
                return
            letter = sorted(folder)[LETTERS.index(letter) % len(folder)]
            old = folder[letter]
        if self.kind == "remove":
            del folder[letter]
        elif self.kind == "move":
            folder[letter] = replace(old, place=self.value)
        elif self.kind == "break":
            folder[letter] = replace(old, broken=BREAKS[self.value])
        else:
            changed = _CHANGES[self.kind](old.wish, self.value)
            folder[letter] = replace(old, wish=changed, broken=b"")


def _rename_database(wish: Wish, _: object) -> Wish:
    return wish if wish.database is None else replace(wish, database=1 - wish.database)


def _grow(wish: Wish, by: Any) -> Wish:
    if wish.topics is None:
        return wish
    grown = [(p, replace(t, partitions=(t.partitions or 1) + by)) for p, t in wish.topics]
    return replace(wish, topics=tuple(grown))


_CHANGES = {
    "rename its database": _rename_database,
    "grow its topics": _grow,
    "connections": lambda w, v: replace(w, connections=v) if w.database is not None else w,
    "postgres": lambda w, v: replace(w, database=v, connections=None),
    "kv": lambda w, v: replace(w, namespace=v, info=not w.info),
    "topics": lambda w, v: replace(w, topics=v),
}

_letters = st.sampled_from(LETTERS)
_one_of_two = st.none() | st.integers(0, 1)
_connections = st.none() | st.integers(1, 20)
_config = st.fixed_dictionaries(
    {}, optional={key: st.sampled_from(values) for key, values in CONFIGS.items()}
).map(lambda found: tuple(sorted(found.items())))
_readers = st.lists(_letters, max_size=2, unique=True).map(tuple)
_channels = st.lists(st.sampled_from(CHANNELS), max_size=2, unique=True).map(tuple)
_topic = st.builds(Topic, st.none() | st.integers(1, 3), _config, _readers)
_topics = st.none() | st.dictionaries(st.sampled_from(TOPICS), _topic, max_size=3).map(
    lambda found: tuple(found.items())
)
wishes = st.builds(Wish, _one_of_two, _connections, _one_of_two, _topics, st.booleans(), _channels)
fleets = st.dictionaries(_letters, wishes, min_size=1, max_size=len(LETTERS))
edits = st.one_of(
    st.builds(Edit, st.just("write"), _letters, wishes),
    st.builds(Edit, st.just("remove"), _letters),
    st.builds(Edit, st.just("move"), _letters, st.sampled_from(PLACES)),
    st.builds(Edit, st.just("break"), _letters, st.sampled_from(sorted(BREAKS))),
    st.builds(Edit, st.just("rename its database"), _letters),
    st.builds(Edit, st.just("grow its topics"), _letters, st.integers(1, 2)),
    st.builds(Edit, st.just("connections"), _letters, _connections),
    st.builds(Edit, st.just("postgres"), _letters, _one_of_two),
    st.builds(Edit, st.just("kv"), _letters, _one_of_two),
    st.builds(Edit, st.just("topics"), _letters, _topics),
)
