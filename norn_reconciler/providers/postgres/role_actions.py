"""Steps on an app's login role and its sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from norn_reconciler.model.plan import Effect
from norn_reconciler.model.secret import Credential
from norn_reconciler.providers.postgres.actions import (
    Phase,
    PostgresAction,
    quoted,
    revoke_membership,
)


@dataclass(frozen=True, slots=True)
class RenameRole(PostgresAction):
    """Gives a role, and the comment that tells whose it is, the app's new name. Whatever it owns
    and may do stays its own, and who is logged in as it stays so.

    was: its name until now."""

    was: str
    comment: str

    verb: ClassVar[str] = "rename"
    phase: ClassVar[int] = Phase.RENAME_ROLE

    def summary(self) -> str:
        return f"ALTER ROLE {quoted(self.was)} RENAME TO {quoted(self.name)}"

    @property
    def expected(self) -> str:
        return self.name

    @property
    def found(self) -> str:
        return self.was


@dataclass(frozen=True, slots=True)
class RevokeMembership(PostgresAction):
    """Takes one norn app's role out of another's."""

    member: str
    grantor: str

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.REVOKE

    def summary(self) -> str:
        return revoke_membership(self.name, self.member, self.grantor)

    @property
    def expected(self) -> str:
        return "no other app is a member"

    @property
    def found(self) -> str:
        return f"{self.member} is a member"


@dataclass(frozen=True, slots=True)
class DisableLogin(PostgresAction):
    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.REVOKE
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return f"ALTER ROLE {quoted(self.name)} NOLOGIN"


@dataclass(frozen=True, slots=True)
class EndSessions(PostgresAction):
    """Ends the role's sessions: all of them, or those in one database."""

    role: str
    database: str | None = None

    verb: ClassVar[str] = "end"
    phase: ClassVar[int] = Phase.END_SESSIONS
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        where = "" if self.database is None else f" in {quoted(self.database)}"
        return f"pg_terminate_backend: sessions of {quoted(self.role)}{where}"


@dataclass(frozen=True, slots=True)
class CreateRole(PostgresAction):
    """Makes the role whole, with its password and its witness, in one transaction."""

    connections: int
    credential: Credential
    comment: str

    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = Phase.ROLE
    effect: ClassVar[Effect] = Effect.CREATE
    sets_credential: ClassVar[bool] = True

    def summary(self) -> str:
        limit = f"CONNECTION LIMIT {self.connections}"
        return f"CREATE ROLE {quoted(self.name)} LOGIN {limit} PASSWORD ***"


@dataclass(frozen=True, slots=True)
class SetAttribute(PostgresAction):
    """One attribute of the role: `LOGIN`, `NOSUPERUSER`, `CONNECTION LIMIT 50`, …"""

    clause: str
    was: str

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.ROLE

    def summary(self) -> str:
        return f"ALTER ROLE {quoted(self.name)} {self.clause}"

    @property
    def expected(self) -> str:
        return self.clause

    @property
    def found(self) -> str:
        return self.was


@dataclass(frozen=True, slots=True)
class DropPower(SetAttribute):
    """`NOSUPERUSER`, `NOCREATEDB`, …: an app's role has no powers."""

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.POWERS


@dataclass(frozen=True, slots=True)
class SetPassword(PostgresAction):
    """reason: why it is set again, for drift records."""

    credential: Credential
    reason: str

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.ROLE
    sets_credential: ClassVar[bool] = True

    def summary(self) -> str:
        return f"ALTER ROLE {quoted(self.name)} PASSWORD ***"

    @property
    def expected(self) -> str:
        return f"the password of generation {self.credential.mark.generation}"

    @property
    def found(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class JoinRole(PostgresAction):
    """Lets the admin act as the role, so that it may make and mend databases for it."""

    admin: str
    version: int

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.JOIN

    def summary(self) -> str:
        options = " WITH INHERIT TRUE, SET TRUE" if self.version >= 160000 else ""
        return f"GRANT {quoted(self.name)} TO {quoted(self.admin)}{options}"


@dataclass(frozen=True, slots=True)
class SetRoleSetting(PostgresAction):
    setting: str
    value: str
    was: str | None = None

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.ROLE

    def summary(self) -> str:
        return f"ALTER ROLE {quoted(self.name)} SET {self.setting} = '{self.value}'"

    @property
    def expected(self) -> str:
        return self.value

    @property
    def found(self) -> str:
        return self.was or "not set"


@dataclass(frozen=True, slots=True)
class CommentRole(PostgresAction):
    comment: str
    was: str | None = None

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.ROLE

    def summary(self) -> str:
        return f"COMMENT ON ROLE {quoted(self.name)} IS '{self.comment}'"

    @property
    def expected(self) -> str:
        return self.comment

    @property
    def found(self) -> str:
        return self.was or "no comment"
