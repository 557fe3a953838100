"""Steps that let other apps read an app's database, and that shut them out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from norn_reconciler.model.plan import Effect
from norn_reconciler.providers.postgres.actions import (
    Phase,
    PostgresAction,
    quoted,
    revoke_membership,
)
from norn_reconciler.providers.postgres.database_actions import InsideAction


@dataclass(frozen=True, slots=True)
class CreateGroup(PostgresAction):
    """Makes the role that stands for all readers of one app, with its witness, in one
    transaction. Nobody can log in as it."""

    comment: str

    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = Phase.ROLE
    effect: ClassVar[Effect] = Effect.CREATE

    def summary(self) -> str:
        return f"CREATE ROLE {quoted(self.name)} NOLOGIN"


@dataclass(frozen=True, slots=True)
class OpenToReaders(InsideAction):
    """Lets the group read all schemas, tables and sequences, of now and to come."""

    group: str
    promised: int | None = None

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.OPEN

    def summary(self) -> str:
        return self._as_owner(f"GRANT SELECT, of now and by default, TO {quoted(self.group)}")

    @property
    def expected(self) -> str:
        return "schemas, tables and sequences to come are promised to its readers"

    @property
    def found(self) -> str:
        return "" if self.promised is None else f"{self.promised} of these three are"


@dataclass(frozen=True, slots=True)
class LetGroupConnect(PostgresAction):
    owner: str
    group: str

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.ADMIT

    def summary(self) -> str:
        return f"GRANT CONNECT ON DATABASE {quoted(self.name)} TO {quoted(self.group)}"

    @property
    def expected(self) -> str:
        return "its readers have CONNECT"

    @property
    def found(self) -> str:
        return "revoked"


@dataclass(frozen=True, slots=True)
class AdmitReader(PostgresAction):
    """was: how it was a member before, "" where it was not."""

    reader: str
    version: int
    was: str = ""

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.ADMIT

    def summary(self) -> str:
        options = " WITH ADMIN FALSE, INHERIT TRUE, SET FALSE" if self.version >= 160000 else ""
        return f"GRANT {quoted(self.name)} TO {quoted(self.reader)}{options}"

    @property
    def expected(self) -> str:
        return f"{self.reader} is a member, and only reads"

    @property
    def found(self) -> str:
        return self.was or "no member"


@dataclass(frozen=True, slots=True)
class DismissReader(PostgresAction):
    """Shuts an app out that the spec no longer lets in."""

    reader: str
    grantor: str

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.REVOKE
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return revoke_membership(self.name, self.reader, self.grantor)
