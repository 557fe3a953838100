"""`services.postgres` of a spec: its checks and the names it claims. No driver, no I/O."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from norn_reconciler import schedules
from norn_reconciler.model.app import AppName, Claim, DeletionText
from norn_reconciler.model.inventory import Held, ObjectKey
from norn_reconciler.model.snapshots import Habit
from norn_reconciler.providers.postgres.state import DATABASE, MAX_NAME, group_name

_CHECK = "services.postgres.database"
_RENAMED = "services.postgres.renamedFrom"
_READERS = "services.postgres.readers"
_SNAPSHOTS = "services.postgres.snapshots"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_RESERVED_DATABASES = frozenset({"postgres", "template0", "template1", "norn_db"})
_RESERVED_ROLES = frozenset({"postgres", "public", "none", "norn", "norn_admin", "norn_keeper"})
_KEYWORD_ROLES = frozenset({"current_role", "current_user", "session_user", "user"})
_APP = re.compile(r"[a-z0-9][a-z0-9-]*")
_EXTENSION = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_MOST_EXTENSIONS = 32
_MOST_READERS = 1000
_MAX_CONNECTIONS = 262_143  # the server's own bound of max_connections


def refused_app_name(app: str, reserved: frozenset[str]) -> str | None:
    """Why no login role may bear this name, or None.

    reserved: user names that norn's own settings use.
    """
    if len(app.encode()) > MAX_NAME:
        return f"{app} is longer than the {MAX_NAME} bytes of a PostgreSQL role name"
    if app in reserved or app.casefold() in _RESERVED_ROLES:
        return f"{app} is the name of a role that norn or the server needs for itself"
    if app.casefold().startswith("pg_"):
        return f"{app}: PostgreSQL keeps role names that begin with pg_ for itself"
    if app.casefold() in _KEYWORD_ROLES:
        return f"{app} is a word that PostgreSQL reads as something else than a role"
    return None


def refused_database(name: str, reserved: frozenset[str] = frozenset()) -> str | None:
    """Why no app may have a database of this name, or None. reserved: norn's own databases."""
    if name in reserved or name.casefold() in _RESERVED_DATABASES:
        return f"{name} is a database that norn or the server needs for itself"
    if name.casefold().startswith("pg_"):
        return f"{name}: names that begin with pg_ are PostgreSQL's own"
    return None


def read_variables(databases: Iterable[str]) -> Mapping[str, str]:
    """Database → the variable that carries its URL to a reader: `mail_db` →
    `DATABASE_READ_URL_MAIL_DB`. Where names fall together, each of them gets a mark of its own, so
    that no variable ever changes its meaning."""
    plain = {name: re.sub(r"[^A-Z0-9]", "_", name.upper()) for name in sorted(set(databases))}
    count = Counter(plain.values())
    return {
        name: f"DATABASE_READ_URL_{text}" + ("" if count[text] == 1 else f"_{_mark(name)}")
        for name, text in plain.items()
    }


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def _database_name(name: object) -> object:
    if name is None:
        raise PydanticCustomError(
            f"{_CHECK}.required", "postgres needs a database: write `database: <name>`"
        )
    if not isinstance(name, str):
        return name  # the type check that follows has the word
    if not _NAME.fullmatch(name):
        raise PydanticCustomError(
            f"{_CHECK}.format",
            "a database name has letters, digits, _ and -, and does not begin with -",
        )
    if len(name) > MAX_NAME:
        raise PydanticCustomError(
            f"{_CHECK}.length",
            "PostgreSQL cuts names after {limit} bytes; this one has {length}",
            {"limit": MAX_NAME, "length": len(name)},
        )
    if (why := refused_database(name)) is not None:
        raise PydanticCustomError(f"{_CHECK}.reserved", "{why}: choose another name", {"why": why})
    return name


def _former_name(name: object) -> object:
    if not isinstance(name, str):
        return name  # the type check that follows has the word
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME or refused_database(name) is not None:
        raise PydanticCustomError(
            f"{_RENAMED}.format", "{name} is no name that a database of this app can have had",
            {"name": name},
        )  # fmt: skip
    return name


def _extensions(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        return value  # the type check that follows has the word
    for name in value:
        if not _EXTENSION.fullmatch(name) or len(name) > MAX_NAME:
            raise PydanticCustomError(
                "services.postgres.extensions.format",
                "an extension's name has small letters, digits, _ and -: citext, uuid-ossp",
            )
    return tuple(sorted(set(value)))


def _readers(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        return value  # the type check that follows has the word
    for reader in value:
        if not _APP.fullmatch(reader):
            raise PydanticCustomError(
                f"{_READERS}.format", "a reader is an app's name: small letters, digits and -"
            )
    app = (info.context or {}).get("app")
    if value and isinstance(app, str) and len(group := group_name(app)) > MAX_NAME:
        raise PydanticCustomError(
            f"{_READERS}.length",
            "its readers would be role {group}, and PostgreSQL cuts names after {limit} bytes: "
            "an app with readers has a name of at most {most}",
            {"group": group, "limit": MAX_NAME, "most": MAX_NAME - len(group) + len(app)},
        )
    return tuple(sorted(set(value)))


def _schedule(value: object) -> object:
    if not isinstance(value, str):
        return value  # the type check that follows has the word
    try:
        schedules.parse(value)
    except ValueError as fault:
        raise PydanticCustomError(
            f"{_SNAPSHOTS}.schedule.format", "schedule: {why}", {"why": str(fault)}
        ) from fault
    return value


class Snapshots(BaseModel):
    """`services.postgres.snapshots`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schedule: Annotated[str, BeforeValidator(_schedule)] = Field(
        description="cron expression in UTC: when the database is copied"
    )
    keep: int | None = Field(
        None, ge=1, le=10_000, description="how many good copies of it are kept"
    )


def _require_database(schema: dict[str, Any]) -> None:
    schema["required"] = ["database"]
    schema["properties"]["database"].pop("default", None)


class PostgresSection(BaseModel):
    """`services.postgres`."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra=_require_database
    )

    database: Annotated[str, BeforeValidator(_database_name)] = Field(
        default=None,  # refused by the validator, with a word why
        validate_default=True,
        description="name of the app's own database",
        json_schema_extra={"pattern": f"^{_NAME.pattern}$", "maxLength": MAX_NAME},
    )
    renamed_from: Annotated[str | None, BeforeValidator(_former_name)] = Field(
        None,
        alias="renamedFrom",
        description="what the database was called before: it is renamed, with all that is in it",
        json_schema_extra={"pattern": f"^{_NAME.pattern}$", "maxLength": MAX_NAME},
    )
    migrations: str | None = Field(None, description="folder of the app's migrations")
    connections: int = Field(
        50, ge=1, le=_MAX_CONNECTIONS, description="how many connections the app may hold at once"
    )

    extensions: Annotated[tuple[str, ...], BeforeValidator(_extensions)] = Field(
        (),
        max_length=_MOST_EXTENSIONS,
        description="trusted extensions, made as the app in its own database; never dropped",
    )

    readers: Annotated[tuple[str, ...], BeforeValidator(_readers)] = Field(
        (),
        max_length=_MOST_READERS,
        description="other apps that may read all of the database, and write nothing there",
    )

    deletion: DeletionText | None = Field(
        None,
        alias="deletionPolicy",
        description="what becomes of the data when nobody asks for them any more",
    )

    snapshots: Snapshots | None = Field(
        None, description="copies of the database that are made by the clock"
    )

    def habit(self) -> Habit | None:
        found = self.snapshots
        return Habit(found.schedule, found.keep) if found is not None else None

    def claims(self, app: AppName) -> frozenset[Claim]:
        return frozenset({Claim("postgres.database", self.database)})

    def formerly(self, app: AppName) -> frozenset[Claim]:
        source = self.renamed_from
        return frozenset() if source is None else frozenset({Claim("postgres.database", source)})

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return {AppName(r): frozenset({(DATABASE, self.database)}) for r in self.readers}

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        """A database's name, for as long as its row is there: also while it is only retained."""
        if held.kind == DATABASE:
            return frozenset({Claim("postgres.database", held.name)})
        return frozenset()

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        """What is inside is owned by the app's role, which can have another name."""
        return renamed
