"""The steps of a plan, each a value that knows its phase and how to show itself. No driver."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from norn_reconciler.model.plan import Action, Effect
from norn_reconciler.model.secret import Credential
from norn_reconciler.providers.events.acl import AclRule, principal
from norn_reconciler.providers.events.state import ITERATIONS, MECHANISM, TOPIC, USER, TopicSpec

ACL = "acl"


class Phase(IntEnum):
    """Order across a batch. ACLs go before their user, so that no session outlives its rights
    (deleting a user ends no session), and every revoke goes before every grant."""

    REVOKE = 0
    DROP_USER = 1
    CREATE_TOPIC = 2
    GROW_TOPIC = 3
    ALTER_TOPIC = 4
    USER = 5
    GRANT = 6


@dataclass(frozen=True, slots=True)
class EventsAction(Action):
    """Base of all actions on this service."""


@dataclass(frozen=True, slots=True)
class CreateTopic(EventsAction):
    """made_before: norn had confirmed such a topic; what was in it is gone."""

    spec: TopicSpec
    made_before: bool = False

    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = Phase.CREATE_TOPIC
    effect: ClassVar[Effect] = Effect.CREATE

    @classmethod
    def of(cls, spec: TopicSpec, made_before: bool) -> CreateTopic:
        return cls(TOPIC, spec.name, spec, made_before)

    def summary(self) -> str:
        words = [f"CREATE TOPIC {self.name}"]
        if self.spec.partitions is not None:
            words.append(f"partitions={self.spec.partitions}")
        if self.spec.replication is not None:
            words.append(f"replication={self.spec.replication}")
        words += [f"{key}={value}" for key, value in self.spec.config]
        return " ".join(words)

    @property
    def expected(self) -> str:
        return "present"

    @property
    def found(self) -> str:
        return "absent"

    @property
    def lost(self) -> bool:
        return self.made_before


@dataclass(frozen=True, slots=True)
class GrowPartitions(EventsAction):
    partitions: int
    before: int

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.GROW_TOPIC

    def summary(self) -> str:
        return f"ALTER TOPIC {self.name} partitions={self.partitions} (from {self.before})"

    @property
    def expected(self) -> str:
        return f"partitions={self.partitions}"

    @property
    def found(self) -> str:
        return f"partitions={self.before}"


@dataclass(frozen=True, slots=True)
class AlterConfig(EventsAction):
    """Set the keys that differ, drop the ones that norn set and the spec no longer names.

    setting, resetting: sorted; before: what was found, key by key, for the drift record.
    """

    setting: tuple[tuple[str, str], ...]
    resetting: tuple[str, ...]
    before: tuple[tuple[str, str], ...]

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.ALTER_TOPIC

    def summary(self) -> str:
        words = [f"{key}={value}" for key, value in self.setting]
        words += [f"{key}=<broker default>" for key in self.resetting]
        return f"ALTER TOPIC {self.name} CONFIG {' '.join(words)}"

    @property
    def expected(self) -> str:
        kept = [f"{key}={value}" for key, value in self.setting]
        return " ".join(kept + [f"{key}=<broker default>" for key in self.resetting])

    @property
    def found(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.before)


@dataclass(frozen=True, slots=True)
class SetPassword(EventsAction):
    """Write the user's SCRAM credential from the derived password. why: what was wrong."""

    credential: Credential
    why: str

    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = Phase.USER
    sets_credential: ClassVar[bool] = True

    def summary(self) -> str:
        return f"ALTER USER {self.name} {MECHANISM} iterations={ITERATIONS} ({self.why})"

    @property
    def expected(self) -> str:
        return f"{MECHANISM} generation {self.credential.mark.generation}"

    @property
    def found(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class CreateUser(SetPassword):
    verb: ClassVar[str] = "create"
    effect: ClassVar[Effect] = Effect.CREATE

    def summary(self) -> str:
        return f"CREATE USER {self.name} {MECHANISM} iterations={ITERATIONS}"


@dataclass(frozen=True, slots=True)
class DropMechanism(EventsAction):
    """A second way in that norn did not make: a credential of another mechanism on its user."""

    mechanism: str

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.DROP_USER

    def summary(self) -> str:
        return f"ALTER USER {self.name} DROP {self.mechanism}"

    @property
    def expected(self) -> str:
        return f"{MECHANISM} only"

    @property
    def found(self) -> str:
        return self.mechanism


@dataclass(frozen=True, slots=True)
class DropUser(EventsAction):
    mechanisms: tuple[str, ...]

    verb: ClassVar[str] = "delete"
    phase: ClassVar[int] = Phase.DROP_USER
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return f"DROP USER {self.name} {', '.join(self.mechanisms)}"

    @property
    def found(self) -> str:
        return "present"

    @property
    def expected(self) -> str:
        return "absent"


@dataclass(frozen=True, slots=True)
class GrantAcl(EventsAction):
    rule: AclRule

    verb: ClassVar[str] = "grant"
    phase: ClassVar[int] = Phase.GRANT

    def summary(self) -> str:
        return str(self.rule)

    @property
    def expected(self) -> str:
        return str(self.rule)

    @property
    def found(self) -> str:
        return "no such ACL"


@dataclass(frozen=True, slots=True)
class TakeOverAcl(GrantAcl):
    """On a topic that came from another app, which can use it still."""

    effect: ClassVar[Effect] = Effect.HANDOVER


@dataclass(frozen=True, slots=True)
class DeleteAcl(EventsAction):
    """Drift: an ACL on norn's principal that no spec ever asked for."""

    rule: AclRule

    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = Phase.REVOKE

    def summary(self) -> str:
        return f"DELETE ACL {self.rule}"

    @property
    def expected(self) -> str:
        return "no such ACL"

    @property
    def found(self) -> str:
        return str(self.rule)


@dataclass(frozen=True, slots=True)
class RevokeAcl(DeleteAcl):
    """Removal: access that the spec no longer asks for."""

    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True


def acl_name(rule: AclRule) -> str:
    """What tells a rule apart in tables: `mail-agent topic literal mail.inbound`."""
    who = rule.principal.removeprefix(principal(""))
    return f"{who} {rule.type.lower()} {rule.pattern.lower()} {rule.name}"


def user_key(app: str) -> tuple[str, str]:
    """The inventory key of an app's SCRAM user."""
    return (USER, app)
