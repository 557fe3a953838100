"""`services.kv` of a spec: its checks and the names it claims. No driver, no I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from norn_reconciler.model.app import AppName, Claim, DeletionText
from norn_reconciler.model.inventory import Held, ObjectKey
from norn_reconciler.providers.kv.rules import KEYSPACE

NAMESPACE = "namespace"  # kind of its inventory row
KEYS = "kv.keys"  # claim space
_CHECK = "services.kv.namespace"
# Globs would make the prefix a pattern. Quotes would break the server's own configuration file when
# the users are written to it (CONFIG REWRITE does not quote them), and it would not start again.
_GLOB = frozenset("*?[]\\")
_QUOTES = frozenset("\"'")
_CHANNELS = "services.kv.channels"
_MOST_CHANNELS = 32
_LONGEST = 200  # bytes: it is a part of every key


def refused_app_name(app: str, reserved: frozenset[str]) -> str | None:
    """Why no ACL user may bear this name, or None.

    reserved: the user names that the settings name (the admin's).
    """
    if app == "default":
        return "default is the user of connections that have not logged in"
    if app in reserved:
        return f"{app} is a user name that norn's own settings use"
    if not app or any(_unusable(char) for char in app):
        return f"{app!r} is no Valkey user name: it is empty or holds blanks or control characters"
    return None


def _unusable(char: str) -> bool:
    """Blanks, control characters, surrogates and characters that Unicode has not assigned."""
    return unicodedata.category(char)[0] in "CZ"


def _required(value: object) -> object:
    if value is None or value == "":
        raise PydanticCustomError(
            f"{_CHECK}.required",
            "kv needs a namespace: the prefix of the app's keys, for example its own name",
        )
    return value


def _namespace(value: str) -> str:
    wrong = sorted({c for c in value if c in _GLOB or c in _QUOTES or _unusable(c)})
    if wrong:
        raise PydanticCustomError(
            f"{_CHECK}.format",
            "a namespace may not hold {characters}: it is taken literally, so no * ? [ ] \\ "
            "\" ' , no blanks and no control characters",
            {"characters": " ".join(repr(c) for c in wrong)},
        )
    if value.startswith("__"):
        # Its channels would be those of keyspace notifications, which tell every app's key names.
        raise PydanticCustomError(
            f"{_CHECK}.reserved",
            "names that begin with __ are the server's own (__keyspace@0__): choose another",
        )
    if len(value.encode()) > _LONGEST:
        raise PydanticCustomError(
            f"{_CHECK}.length", "a namespace has at most {longest} bytes", {"longest": _LONGEST}
        )
    return value


def _channels(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        return value  # the type check that follows has the word
    for pattern in value:
        wrong = sorted({c for c in pattern if c in _QUOTES or c == "\\" or _unusable(c)})
        if not pattern or wrong:
            raise PydanticCustomError(
                f"{_CHANNELS}.format",
                "a channel pattern is not empty and holds no quotes, no \\, no blanks and no "
                "control characters",
            )
        if len(pattern.encode()) > _LONGEST:
            raise PydanticCustomError(
                f"{_CHANNELS}.length",
                "a channel pattern has at most {longest} bytes",
                {"longest": _LONGEST},
            )
        if pattern.startswith("__") and not KEYSPACE.match(pattern):
            raise PydanticCustomError(
                f"{_CHANNELS}.reserved",
                "of the server's own channels only __keyspace@<db>__:<pattern> can be held to a "
                "namespace",
            )
    return tuple(sorted(set(value)))


def _require_namespace(schema: dict[str, Any]) -> None:
    schema["required"] = ["namespace"]
    schema["properties"]["namespace"].pop("default", None)


class KvSection(BaseModel):
    """`services.kv`."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra=_require_namespace,
    )

    namespace: Annotated[str, BeforeValidator(_required), AfterValidator(_namespace)] = Field(
        default=None,  # refused by the validator, with a word why
        validate_default=True,
        description="prefix of the app's keys and channels: it may use <namespace>:* and no other",
        json_schema_extra={
            "pattern": r"^(?!__)[^*?\[\]\\\"'\s]+$",
            "minLength": 1,
            "maxLength": _LONGEST,
        },
    )

    info: bool = Field(
        False,
        description="also allow INFO, which job queues ask for: numbers about the whole server",
    )
    channels: Annotated[tuple[str, ...], BeforeValidator(_channels)] = Field(
        (),
        max_length=_MOST_CHANNELS,
        description="patterns for PSUBSCRIBE below the namespace: jobs.* is <namespace>:jobs.*; "
        "__keyspace@0__:* tells of changes to the app's own keys",
    )

    deletion: DeletionText | None = Field(
        None,
        alias="deletionPolicy",
        description="what becomes of the data when nobody asks for them any more",
    )

    def claims(self, app: AppName) -> frozenset[Claim]:
        """Every key below the namespace."""
        return frozenset({_keys(self.namespace)})

    def formerly(self, app: AppName) -> frozenset[Claim]:
        return frozenset()

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return {}

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        """A namespace's keys stay the app's for as long as its row is there, retained or not."""
        return frozenset({_keys(held.name)}) if held.kind == NAMESPACE else frozenset()

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        """Nobody else could tell whose the values in it were."""
        return renamed and held.kind == NAMESPACE


def _keys(namespace: str) -> Claim:
    return Claim(KEYS, f"{namespace}:", prefix=True)
