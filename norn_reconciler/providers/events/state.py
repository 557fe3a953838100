"""What an app should have on the Kafka API, and what it has: values, no driver, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from norn_reconciler.model.secret import Credential
from norn_reconciler.providers.events.acl import AclBinding

SERVICE = "events"
TOPIC = "topic"
USER = "scram-user"
MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096  # Kafka's own minimum and default for SCRAM-SHA-256


@dataclass(frozen=True, slots=True, order=True)
class TopicSpec:
    """One declared topic. None: the broker's default, not compared. config: sorted pairs."""

    name: str
    partitions: int | None = None
    replication: int | None = None
    config: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """What an app should have. declared: whether the spec has an events section at all; without
    one no access is wanted. topics, acls and withheld are sorted. withheld: (owner, topic) of what
    it was promised and may not read, since norn_db does not call it the owner's. readable_by: what
    others are given to read its topics; their own plans see to it, so it is no part of what is
    compared here."""

    app: str
    declared: bool
    topics: tuple[TopicSpec, ...]
    acls: tuple[AclBinding, ...]
    credential: Credential
    withheld: tuple[tuple[str, str], ...] = ()
    readable_by: frozenset[AclBinding] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One config entry as the broker describes it. own: set on this topic itself, not inherited
    from the broker's defaults."""

    value: str
    own: bool


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as the broker describes it.

    topic_id: None where the broker's API has no topic ids. replication: of partition 0.
    config: only the keys that norn declared or once set.
    """

    topic_id: str | None
    partitions: int
    replication: int
    config: Mapping[str, ConfigValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the service holds for one app.

    topics: those of its declared and owned ones that exist; before it has a user of norn's, also
    all that begin with its prefix. mechanisms: its SCRAM user's credentials, mechanism →
    iterations; empty when there is no such user. acls: all of its
    principal. foreign: bindings of others that reach its names. strangers: those of the withheld
    topics that exist and that no app has an inventory row for. late: topics that came from another
    app, which can use them still by more than this one's spec lets it.
    """

    topics: Mapping[str, TopicState] = field(default_factory=dict)
    mechanisms: Mapping[str, int] = field(default_factory=dict)
    acls: frozenset[AclBinding] = frozenset()
    foreign: frozenset[AclBinding] = frozenset()
    strangers: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


def same_value(wanted: str, found: str) -> bool:
    """Whether two texts of a config value mean the same to a broker, which hands back a canonical
    form: `0.50` as `0.5`, `compact, delete` as `compact,delete`, `TRUE` as `true`."""
    if wanted == found:
        return True
    try:
        return float(wanted) == float(found)
    except ValueError:
        pass
    if {wanted.lower(), found.lower()} <= {"true", "false"}:
        return wanted.lower() == found.lower()
    return [part.strip() for part in wanted.split(",")] == [
        part.strip() for part in found.split(",")
    ]
