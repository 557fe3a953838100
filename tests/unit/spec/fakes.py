"""A service of our own, so that these tests depend on no provider."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from norn_reconciler.model.app import AppName, Claim, DeletionText
from norn_reconciler.model.inventory import Held, ObjectKey
from norn_reconciler.spec.load import Document, Loaded, load
from norn_reconciler.spec.read import Content, Stamp
from norn_reconciler.spec.rules import Rules


def _name(value: str) -> str:
    if value == "norn_db":
        raise PydanticCustomError("services.db.name.reserved", "norn_db is norn's own")
    if value == "odd":
        raise PydanticCustomError("odd", "that is odd")
    return value


class DbSection(BaseModel):
    """`services.db`: one name, and any number of shared ones."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_name)]
    size: int = 1
    also: list[str] = []
    readers: list[str] = []
    deletion: DeletionText | None = None

    def claims(self, app: AppName) -> frozenset[Claim]:
        return frozenset({Claim("db.name", self.name), *(Claim("db.name", n) for n in self.also)})

    def formerly(self, app: AppName) -> frozenset[Claim]:
        return frozenset()

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return {AppName(reader): frozenset({("db", self.name)}) for reader in self.readers}

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        return (renamed and held.kind != "user") or "passes" in held.settings

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        return frozenset({Claim("db.name", held.name)})


class SpaceSection(BaseModel):
    """`services.space`: every name that begins with a prefix."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prefix: str
    deletion: DeletionText | None = None

    def claims(self, app: AppName) -> frozenset[Claim]:
        return frozenset({Claim("space", self.prefix, prefix=True)})

    def formerly(self, app: AppName) -> frozenset[Claim]:
        return frozenset()

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return {}

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        return renamed or "passes" in held.settings

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        return frozenset({Claim("space", held.name, prefix=True)})


RULES = Rules(
    {"db": DbSection, "space": SpaceSection},
    {"db": lambda app: "the server's own user" if app == "root" else None},
)


def content(text: str | bytes, *, mtime_ns: int = 1) -> Content:
    raw = text.encode() if isinstance(text, str) else text
    stamp = Stamp(len(raw), mtime_ns, 1, 1, 1)
    return Content(stamp, raw, hashlib.sha256(raw).hexdigest())


def loaded(text: str | bytes, file: str = "a.yaml", rules: Rules = RULES) -> Loaded:
    return load(content(text), file, rules)


def document(text: str, file: str = "a.yaml") -> Document:
    found = loaded(text, file)
    assert found.document is not None, found.findings
    return found.document


def places(found: Loaded) -> dict[str, tuple[int, int]]:
    return {f.check: (f.line, f.column) for f in found.findings}
