"""Steps on an app's database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from norn_reconciler.model.plan import Effect
from norn_reconciler.model.secret import Credential
from norn_reconciler.providers.postgres.actions import Phase, PostgresAction, grantee_text, quoted
from norn_reconciler.providers.postgres.state import UNLIMITED


@dataclass(frozen=True, slots=True)
class RevokeRight(PostgresAction):
    """Takes one right on a database from PUBLIC or another norn app.

    owner: of the database, as whom it is done: among several roles that norn may act as the server
    would choose the grantor, and revoke nothing where it chose another than who granted.
    via: a foreign role that handed it on; its grant option goes, and with it all it handed on.
    """

    owner: str
    grantee: str
    privilege: str
    via: str | None = None

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.SHUT

    def summary(self) -> str:
        where = f"ON DATABASE {quoted(self.name)} FROM"
        if self.via is not None:
            return f"REVOKE GRANT OPTION FOR {self.privilege} {where} {quoted(self.via)} CASCADE"
        return f"REVOKE {self.privilege} {where} {grantee_text(self.grantee)}"

    @property
    def expected(self) -> str:
        return f"{grantee_text(self.grantee)} has no right"

    @property
    def found(self) -> str:
        return f"{grantee_text(self.grantee)} has {self.privilege}"


@dataclass(frozen=True, slots=True)
class RetainDatabase(PostgresAction):
    """Closes a database that the spec no longer names, while its owner lives on with another."""

    verb: ClassVar[str] = "retain"
    phase: ClassVar[int] = Phase.REVOKE
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} ALLOW_CONNECTIONS false"


@dataclass(frozen=True, slots=True)
class RenameDatabase(PostgresAction):
    """Gives a database the name that the spec has for it: it had another, or was in the trash.

    was: its name until now. oid: as the server has it, so that no other is taken for it. used:
    somebody may be in it, who is sent away."""

    was: str
    oid: int
    used: bool = True

    verb: ClassVar[str] = "rename"
    phase: ClassVar[int] = Phase.RENAME

    def summary(self) -> str:
        ends = ", which ends its sessions" if self.used else ""
        return f"ALTER DATABASE {quoted(self.was)} RENAME TO {quoted(self.name)}{ends}"

    @property
    def expected(self) -> str:
        return self.name

    @property
    def found(self) -> str:
        return self.was


@dataclass(frozen=True, slots=True)
class DropInvalidDatabase(PostgresAction):
    """Clears away what an interrupted DROP left: the server lets nobody in, the data is gone."""

    oid: int

    verb: ClassVar[str] = "delete"
    phase: ClassVar[int] = Phase.DROP
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return f"DROP DATABASE {quoted(self.name)}"

    @property
    def found(self) -> str:
        return "an interrupted DROP left it invalid"


@dataclass(frozen=True, slots=True)
class CreateDatabase(PostgresAction):
    """Makes the database closed to everybody; SealDatabase opens it to its owner."""

    owner: str

    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = Phase.CREATE
    effect: ClassVar[Effect] = Effect.CREATE

    def summary(self) -> str:
        return f"CREATE DATABASE {quoted(self.name)} OWNER {quoted(self.owner)}"


@dataclass(frozen=True, slots=True)
class SetOwner(PostgresAction):
    owner: str
    was: str

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.OWN

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} OWNER TO {quoted(self.owner)}"

    @property
    def expected(self) -> str:
        return self.owner

    @property
    def found(self) -> str:
        return self.was


@dataclass(frozen=True, slots=True)
class SealDatabase(PostgresAction):
    """Shuts PUBLIC out of a database that was just made, then opens it: one transaction."""

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.SEAL

    def summary(self) -> str:
        database = f"DATABASE {quoted(self.name)}"
        return f"REVOKE ALL ON {database} FROM PUBLIC; ALTER {database} ALLOW_CONNECTIONS true"


@dataclass(frozen=True, slots=True)
class GrantOwner(PostgresAction):
    """Gives the owner back a right on its own database."""

    owner: str
    privilege: str

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.SEAL

    def summary(self) -> str:
        return f"GRANT {self.privilege} ON DATABASE {quoted(self.name)} TO {quoted(self.owner)}"

    @property
    def expected(self) -> str:
        return f"the owner has {self.privilege}"

    @property
    def found(self) -> str:
        return "revoked"


@dataclass(frozen=True, slots=True)
class AllowConnections(PostgresAction):
    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.SEAL

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} ALLOW_CONNECTIONS true"

    @property
    def expected(self) -> str:
        return "true"

    @property
    def found(self) -> str:
        return "false"


@dataclass(frozen=True, slots=True)
class LiftDatabaseLimit(PostgresAction):
    was: int

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.SEAL

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} CONNECTION LIMIT {UNLIMITED}"

    @property
    def expected(self) -> str:
        return str(UNLIMITED)

    @property
    def found(self) -> str:
        return str(self.was)


@dataclass(frozen=True, slots=True)
class UnmarkTemplate(PostgresAction):
    """A template may be copied by anybody with CREATEDB."""

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.SHUT

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} IS_TEMPLATE false"

    @property
    def expected(self) -> str:
        return "false"

    @property
    def found(self) -> str:
        return "true"


@dataclass(frozen=True, slots=True)
class ResetSetting(PostgresAction):
    """Takes back a database-level setting: whoever connects would run with it."""

    setting: str
    was: str

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.SHUT

    def summary(self) -> str:
        return f"ALTER DATABASE {quoted(self.name)} RESET {quoted(self.setting)}"

    @property
    def expected(self) -> str:
        return "not set"

    @property
    def found(self) -> str:
        return self.was


@dataclass(frozen=True, slots=True)
class InsideAction(PostgresAction):
    """Done inside the database, logged in as the app: norn's admin never runs anything there."""

    owner: str
    credential: Credential

    def _as_owner(self, statement: str) -> str:
        return f"as {quoted(self.owner)} in {quoted(self.name)}: {statement}"


@dataclass(frozen=True, slots=True)
class HardenSchema(InsideAction):
    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.HARDEN

    def summary(self) -> str:
        return self._as_owner("REVOKE ALL ON SCHEMA public FROM PUBLIC")


@dataclass(frozen=True, slots=True)
class CreateExtension(InsideAction):
    """A trusted extension, which the owner of a database may make."""

    extension: str

    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = Phase.EXTEND

    def summary(self) -> str:
        return self._as_owner(f"CREATE EXTENSION IF NOT EXISTS {quoted(self.extension)}")
