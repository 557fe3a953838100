"""The steps of a plan, each a value that knows its phase and how to show itself. No driver."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from norn_reconciler.model.plan import Action, Effect
from norn_reconciler.providers.kv.rules import Difference, Rules
from norn_reconciler.providers.kv.state import USER


class Phase(IntEnum):
    """Order across a batch. Sessions end after the rules changed, or they would come back."""

    REVOKE = 0
    USER = 1
    SESSIONS = 2
    SAVE = 3


@dataclass(frozen=True, slots=True)
class KvAction(Action):
    """Base of all actions on this service. changes: whether users are altered by it, so that they
    must be saved afterwards."""

    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SetUser(KvAction):
    """Make the user exactly `rules`, in one command that begins with `reset`."""

    rules: Rules
    differs: tuple[Difference, ...] = ()

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.USER

    def summary(self) -> str:
        shown = " ".join((*sorted(self.rules.keys), *sorted(self.rules.channels)))
        why = "; ".join(f"{d.aspect}: {d.found}" for d in self.differs)
        return f"ACL SETUSER {self.name} reset on {shown} …" + (f" ({why})" if why else "")

    @property
    def expected(self) -> str:
        return "; ".join(f"{d.aspect}: {d.expected}" for d in self.differs)

    @property
    def found(self) -> str:
        return "; ".join(f"{d.aspect}: {d.found}" for d in self.differs)


@dataclass(frozen=True, slots=True)
class SetPassword(SetUser):
    """The same command, where the password is not the one that is recorded as proven."""

    sets_credential: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CreateUser(SetPassword):
    verb: ClassVar[str] = "create"
    effect: ClassVar[Effect] = Effect.CREATE

    @property
    def expected(self) -> str:
        return "present"

    @property
    def found(self) -> str:
        return "absent"


@dataclass(frozen=True, slots=True)
class EndSessions(KvAction):
    """Sessions that were opened, or gained something, while the user was wider than it should be:
    new rules and a new password leave them alive."""

    verb: ClassVar[str] = "end"
    phase: ClassVar[int] = Phase.SESSIONS
    changes: ClassVar[bool] = False

    @classmethod
    def of(cls, user: str) -> EndSessions:
        return cls(USER, user)

    def summary(self) -> str:
        return f"CLIENT KILL USER {self.name}"


@dataclass(frozen=True, slots=True)
class SaveUsers(KvAction):
    """The user is as it should be in memory only: what the server would load again is older."""

    verb: ClassVar[str] = "save"
    phase: ClassVar[int] = Phase.SAVE

    @classmethod
    def of(cls, user: str) -> SaveUsers:
        return cls(USER, user)

    def summary(self) -> str:
        return f"save the ACL users, {self.name} among them"

    @property
    def expected(self) -> str:
        return "saved"

    @property
    def found(self) -> str:
        return "in memory only"


@dataclass(frozen=True, slots=True)
class DeleteUser(KvAction):
    """Ends its sessions, too. Its keys stay."""

    verb: ClassVar[str] = "delete"
    phase: ClassVar[int] = Phase.REVOKE
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    @classmethod
    def of(cls, user: str) -> DeleteUser:
        return cls(USER, user)

    def summary(self) -> str:
        return f"ACL DELUSER {self.name}"

    @property
    def expected(self) -> str:
        return "absent"

    @property
    def found(self) -> str:
        return "present"


@dataclass(frozen=True, slots=True)
class DisableUser(KvAction):
    """For an adopted user, which is never deleted."""

    verb: ClassVar[str] = "disable"
    phase: ClassVar[int] = Phase.REVOKE
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    @classmethod
    def of(cls, user: str) -> DisableUser:
        return cls(USER, user)

    def summary(self) -> str:
        return f"ACL SETUSER {self.name} off"

    @property
    def expected(self) -> str:
        return "off"

    @property
    def found(self) -> str:
        return "on"
