"""What a person with the administrators' passwords does to an app's objects behind norn's back;
each change is waited for until the server shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
)

from tests.acceptance.fleet_wishes import LETTERS, Names, Wish
from tests.acceptance.harness import until
from tests.acceptance.services import Services

FOREIGN_KEY = "segment.bytes"  # a config that no spec names
ROGUE = "rogue.topic"


@dataclass(frozen=True)
class Target:
    """One app in force. neighbour: another one that has a role, or None."""

    services: Services
    names: Names
    wish: Wish
    neighbour: str | None

    @property
    def app(self) -> str:
        return self.names.app

    @property
    def topics(self) -> list[str]:
        return [self.names.topic(pattern) for pattern, _ in self.wish.topics or ()]

    @property
    def configured(self) -> tuple[str, str] | None:
        """A topic with a config that its spec names."""
        for pattern, topic in self.wish.topics or ():
            for key, _ in topic.config:
                return self.names.topic(pattern), key
        return None


Change = Callable[[Target], bool]  # False when the app has nothing of the kind


def _role(clause: str) -> Change:
    def change(to: Target) -> bool:
        if to.wish.database is None:
            return False
        to.services.sql(f'ALTER ROLE "{to.app}" {clause}')
        return True

    return change


def _database(statement: str) -> Change:
    def change(to: Target) -> bool:
        if to.wish.database is None or ("{neighbour}" in statement and to.neighbour is None):
            return False
        name = to.names.database(to.wish.database)
        to.services.sql(statement.format(database=name, app=to.app, neighbour=to.neighbour))
        return True

    return change


def _valkey(*rules: str) -> Change:
    def change(to: Target) -> bool:
        if to.wish.namespace is None:
            return False
        to.services.valkey.execute_command("ACL", "SETUSER", to.app, *rules)
        return True

    return change


def _delete_user(to: Target) -> bool:
    return to.wish.namespace is not None and bool(to.services.valkey.acl_deluser(to.app))


def _drop_acls(to: Target) -> bool:
    if to.wish.topics is None:
        return False
    to.services.delete_acls(to.app)
    until(lambda: not to.services.acls(to.app))
    return True


def _grant_topic(to: Target) -> bool:
    if to.wish.topics is None:
        return False
    at = ResourcePattern(ResourceType.TOPIC, f"{ROGUE}-{to.names.mark}")
    grant = ACL(f"User:{to.app}", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, at)
    to.services.kafka.create_acls([grant])
    until(lambda: any(ROGUE in str(acl) for acl in to.services.acls(to.app)))
    return True


def _delete_scram(to: Target) -> bool:
    if to.wish.topics is None:
        return False
    gone = UserScramCredentialDeletion(to.app, ScramMechanism.SCRAM_SHA_256)
    to.services.kafka.alter_user_scram_credentials([gone])
    until(lambda: to.app not in to.services.scram_users())
    return True


def _delete_topic(to: Target) -> bool:
    if not to.topics:
        return False
    to.services.kafka.delete_topics([to.topics[0]])
    until(lambda: to.topics[0] not in to.services.topics())
    return True


def configure(services: Services, topic: str, key: str, value: str) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {key: value})
    services.kafka.alter_configs([resource])

    def shown() -> bool:
        told = services.kafka.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return bool(told["topic"][topic].get(key, {}).get("value") == value)

    until(shown)


_OTHER = {"retention.ms": "4242", "max.message.bytes": "4242", "cleanup.policy": "compact,delete"}


def _bend_config(to: Target) -> bool:
    if to.configured is None:
        return False
    topic, key = to.configured
    configure(to.services, topic, key, _OTHER[key])
    return True


def _foreign_config(to: Target) -> bool:
    if not to.topics:
        return False
    configure(to.services, to.topics[0], FOREIGN_KEY, "2000000")
    return True


DRIFT: Mapping[str, Change] = {
    "CREATEDB": _role("CREATEDB"),
    "CREATEROLE": _role("CREATEROLE"),
    "NOINHERIT": _role("NOINHERIT"),
    "NOLOGIN": _role("NOLOGIN"),
    "expires": _role("VALID UNTIL '2001-01-01'"),
    "role's limit": _role("CONNECTION LIMIT 77"),
    "PUBLIC may connect": _database('GRANT CONNECT ON DATABASE "{database}" TO PUBLIC'),
    "a neighbour may connect": _database(
        'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{neighbour}"'
    ),
    "the owner may not": _database('REVOKE CREATE ON DATABASE "{database}" FROM "{app}"'),
    "another owner": _database('ALTER DATABASE "{database}" OWNER TO norn_admin'),
    "database's limit": _database('ALTER DATABASE "{database}" CONNECTION LIMIT 1'),
    "a template": _database('ALTER DATABASE "{database}" IS_TEMPLATE true'),
    "shut": _database('ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'),
    "search_path": _database('ALTER DATABASE "{database}" SET search_path = evil'),
    "a wide user": _valkey("~*", "&*", "+@all"),
    "no password": _valkey("nopass"),
    "a second password": _valkey(">another"),
    "off": _valkey("off"),
    "one more command": _valkey("+keys"),
    "a selector": _valkey("(+get ~*)"),
    "no user": _delete_user,
    "no ACLs": _drop_acls,
    "one ACL more": _grant_topic,
    "no SCRAM user": _delete_scram,
    "no topic": _delete_topic,
    "another config": _bend_config,
}
NO_DRIFT: Mapping[str, Change] = {"a config that no spec names": _foreign_config}


@dataclass(frozen=True)
class Meddle:
    """kind: a key of DRIFT or of NO_DRIFT. letter: whom it is tried on first."""

    letter: str
    kind: str

    def __call__(self, target: Target) -> bool:
        return {**DRIFT, **NO_DRIFT}[self.kind](target)


meddling = st.builds(Meddle, st.sampled_from(LETTERS), st.sampled_from([*DRIFT, *NO_DRIFT]))
