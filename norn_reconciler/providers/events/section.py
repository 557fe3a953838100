"""`services.events` of a spec: its checks and the names it claims. No driver, no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from norn_reconciler.model.app import AppName, Claim, DeletionText
from norn_reconciler.model.inventory import Held, ObjectKey
from norn_reconciler.providers.events.acl import own_prefix
from norn_reconciler.providers.events.state import TOPIC, USER

_CHECK = "services.events.topics"
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_APP = re.compile(r"[a-z0-9][a-z0-9-]*")
_MOST_READERS = 1000
_CONFIG_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,248}")
_USER = re.compile(r"[A-Za-z0-9._-]{1,200}")
_MAX_INT16 = 2**15 - 1
_MOST_PARTITIONS = 1000  # of one topic: each costs every broker files, memory and elections
_MOST_PARTITIONS_OF_AN_APP = 10_000


def refused_app_name(app: str, reserved: frozenset[str]) -> str | None:
    """Why no SCRAM user may bear this name, or None.

    reserved: the user names that the settings name (the admin's).
    """
    if app in reserved:
        return f"{app} is a user name that norn's own settings use"
    if app.upper() == "ANONYMOUS":
        return f"{app} is the name that brokers give to clients that have not logged in"
    if not _USER.fullmatch(app):
        return f"{app!r} is no Kafka user name: 1 to 200 of A-Z a-z 0-9 . _ -"
    return None


def may_be_app(user: str) -> bool:
    """Whether an app may bear the name, as one of a topic's readers has to."""
    return _APP.fullmatch(user) is not None


def variable(topic: str) -> str:
    """The environment variable that carries a topic's name: `mail.in` → `KAFKA_TOPIC_MAIL_IN`."""
    return "KAFKA_TOPIC_" + re.sub(r"[^A-Z0-9]", "_", topic.upper())


def _topic_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PydanticCustomError(
            f"{_CHECK}.format",
            "a topic name has 1 to 249 of the characters A-Z a-z 0-9 . _ -",
        )
    if name in {".", ".."} or name.startswith("__") or name == "_schemas":
        raise PydanticCustomError(
            f"{_CHECK}.reserved",
            "{name} is a name that brokers keep for themselves: choose another",
            {"name": name},
        )
    return name


def _config_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, str) and value.isprintable():
        return str(value)
    raise PydanticCustomError(
        f"{_CHECK}.config", "a config value is a text of one line, a number, true or false"
    )


def _config_key(key: str) -> str:
    if not _CONFIG_KEY.fullmatch(key):
        raise PydanticCustomError(
            f"{_CHECK}.config", "a config key is lower case with dots, such as retention.ms"
        )
    return key


ConfigText = Annotated[
    str,
    BeforeValidator(_config_value),
    WithJsonSchema({"type": ["string", "integer", "number", "boolean"]}),
]


def _readers(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        return value  # the type check that follows has the word
    for app in value:
        if not may_be_app(app):
            raise PydanticCustomError(
                f"{_CHECK}.readers", "a reader is an app's name: small letters, digits and -"
            )
    return tuple(sorted(set(value)))


class Topic(BaseModel):
    """One topic. What is left out is the broker's default and is not compared."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_topic_name)] = Field(
        description="name, taken as it is", json_schema_extra={"pattern": f"^{_NAME.pattern}$"}
    )
    partitions: int | None = Field(
        None,
        ge=1,
        le=_MOST_PARTITIONS,
        description="number of partitions; may grow, cannot shrink",
    )
    replication: int | None = Field(
        None, ge=1, le=_MAX_INT16, description="replication factor; set at creation only"
    )
    readers: Annotated[tuple[str, ...], BeforeValidator(_readers)] = Field(
        (),
        max_length=_MOST_READERS,
        description="other apps that may read this topic: READ and DESCRIBE, nothing else",
    )
    config: dict[Annotated[str, AfterValidator(_config_key)], ConfigText] = Field(
        default_factory=dict, description="topic configuration, e.g. retention.ms"
    )


@dataclass(frozen=True, slots=True)
class _Clash:
    """An item of the list that clashes with another, on its way to the check that reports it."""

    check: str
    message: str
    name: str
    other: str


def _one_topic(item: object) -> object:
    if isinstance(item, _Clash):
        raise PydanticCustomError(
            f"{_CHECK}.{item.check}",
            item.message,
            {"name": item.name, "other": item.other},
        )
    if isinstance(item, str):
        return {"name": str(item)}
    if isinstance(item, Mapping | Topic):
        return item
    raise PydanticCustomError(
        f"{_CHECK}.type", "a topic is a name, or a map with name, partitions, replication, config"
    )


def _name_of(item: object) -> str | None:
    name = item.get("name") if isinstance(item, Mapping) else getattr(item, "name", item)
    return name if isinstance(name, str) else None


def _clashes(items: list[object]) -> list[object]:
    """Each item that clashes with an earlier one, replaced by its clash: so every clash is found
    at once, at its own place."""
    seen: dict[tuple[str, str], str] = {}
    checked: list[object] = []
    for item in items:
        name = _name_of(item)
        checked.append(item if name is None else _clash(name, seen) or item)
    return checked


def _clash(name: str, seen: dict[tuple[str, str], str]) -> _Clash | None:
    """seen: (what it is about, spelling that must be unique) → the topic that has it."""
    spelled, delivered = ("broker", name.replace(".", "_")), ("variable", variable(name))
    other = seen.get(spelled)
    if other == name:
        return _Clash("duplicate", "{name} is listed twice: remove one", name, name)
    if other is not None:
        return _Clash(
            "collision",
            "brokers cannot tell {name} from {other}: . and _ count as the same; rename one",
            name,
            other,
        )
    by_variable = seen.get(delivered)
    seen[spelled] = name
    seen.setdefault(delivered, name)
    if by_variable is not None:
        return _Clash(
            "variable",
            "{name} and {other} would both be given to the app as "
            + variable(name)
            + ": rename one",
            name,
            by_variable,
        )
    return None


def _topic_list(topics: object) -> object:
    if topics is None:
        raise PydanticCustomError(
            f"{_CHECK}.required",
            "events needs topics: write `topics: []` for an app that only uses names that begin "
            "with its own name and a dot, or remove the events section",
        )
    if not isinstance(topics, list | tuple):
        raise PydanticCustomError(f"{_CHECK}.type", "topics is a list of topics")
    return _clashes(list(topics))


def _not_too_many(topics: tuple[Topic, ...]) -> tuple[Topic, ...]:
    partitions = sum(topic.partitions or 1 for topic in topics)
    if partitions > _MOST_PARTITIONS_OF_AN_APP:
        raise PydanticCustomError(
            f"{_CHECK}.partitions",
            "{asked} partitions in all: an app may have {most}",
            {"asked": partitions, "most": _MOST_PARTITIONS_OF_AN_APP},
        )
    return topics


def _require_topics(schema: dict[str, Any]) -> None:
    schema["required"] = ["topics"]
    schema["properties"]["topics"].pop("default", None)


class EventsSection(BaseModel):
    """`services.events`."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra=_require_topics
    )

    topics: Annotated[
        tuple[
            Annotated[Topic, BeforeValidator(_one_topic, json_schema_input_type=str | Topic)], ...
        ],
        Field(strict=False),
        BeforeValidator(_topic_list),
        AfterValidator(_not_too_many),
    ] = Field(
        default=None,  # refused by the validator, with a word why
        validate_default=True,
        description="topics that the app may read and write; an empty list is a user of its own",
    )

    deletion: DeletionText | None = Field(
        None,
        alias="deletionPolicy",
        description="what becomes of the data when nobody asks for them any more",
    )

    def claims(self, app: AppName) -> frozenset[Claim]:
        """Each topic by name and by the name brokers tell apart, and the app's own prefix."""
        return _topic_claims(*(topic.name for topic in self.topics)) | _prefix_claim(app)

    def formerly(self, app: AppName) -> frozenset[Claim]:
        return frozenset()

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        found: dict[AppName, set[ObjectKey]] = {}
        for topic in self.topics:
            for reader in topic.readers:
                found.setdefault(AppName(reader), set()).add((TOPIC, topic.name))
        return {reader: frozenset(names) for reader, names in found.items()}

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        """A topic's names while its row is there; the prefix while the user's is."""
        if held.kind == TOPIC:
            return _topic_claims(held.name)
        return _prefix_claim(app) if held.kind == USER else frozenset()

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        return held.kind == TOPIC


def _topic_claims(*names: str) -> frozenset[Claim]:
    return frozenset(
        claim
        for name in names
        for claim in (
            Claim("events.topic", name.replace(".", "_")),
            Claim("events.name", name),
        )
    )


def _prefix_claim(app: AppName) -> frozenset[Claim]:
    return frozenset({Claim("events.name", own_prefix(app), prefix=True)})
