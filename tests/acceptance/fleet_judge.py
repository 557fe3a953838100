"""What the three servers hold of names with one mark, asked without norn: to be compared with what
the files say, and to be cleaned up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialDeletion,
)
from kafka.admin import ACLResourcePatternType as Pattern

from tests.acceptance.services import Services

Facts = dict[str, Any]

_ROLES = """
SELECT r.rolname, jsonb_build_object(
         'login', rolcanlogin, 'inherit', rolinherit, 'limit', rolconnlimit,
         'powers', array_remove(ARRAY[
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
            CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
            CASE WHEN rolreplication THEN 'REPLICATION' END,
            CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], NULL),
         'expires', CASE WHEN rolvaliduntil < 'infinity' THEN rolvaliduntil::text END,
         'settings', coalesce(rolconfig, '{}'),
         'members', ARRAY(SELECT DISTINCT pg_get_userbyid(member) FROM pg_auth_members
                          WHERE roleid = r.oid ORDER BY 1),
         'member of', ARRAY(SELECT DISTINCT pg_get_userbyid(roleid) FROM pg_auth_members
                            WHERE member = r.oid ORDER BY 1))
  FROM pg_roles r WHERE strpos(r.rolname, %s) > 0
"""
_DATABASES = """
SELECT d.datname, jsonb_build_object(
         'oid', d.oid::int8, 'owner', pg_get_userbyid(datdba), 'open', datallowconn,
         'limit', datconnlimit, 'template', datistemplate,
         'grants', ARRAY(
            SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END
                   || ' ' || privilege_type
              FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) ORDER BY 1),
         'settings', ARRAY(SELECT unnest(setconfig) FROM pg_db_role_setting
                            WHERE setdatabase = d.oid))
  FROM pg_database d WHERE strpos(d.datname, %s) > 0
"""


@dataclass
class Seen:
    """By name, and names as they are. acls: by principal, as sentences. scram: by user."""

    roles: Facts = field(default_factory=dict)
    databases: Facts = field(default_factory=dict)
    users: Facts = field(default_factory=dict)
    topics: Facts = field(default_factory=dict)
    acls: Facts = field(default_factory=dict)
    scram: Facts = field(default_factory=dict)


class Judge:
    """Looks at the servers as their administrators do."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def look(self, mark: str, apps: Iterable[str] = ()) -> Seen:
        """All that bears `mark` in its name. apps: whose ACLs; by default all there are."""
        return Seen(
            dict(self.services.sql(_ROLES, mark)),
            dict(self.services.sql(_DATABASES, mark)),
            self._users(mark),
            self.topics(t for t in self.services.topics() if mark in t),
            self._acls(mark, [f"User:{app}" for app in apps] or [None]),
            self._scram(mark),
        )

    def _users(self, mark: str) -> Facts:
        found = {}
        for line in self.services.valkey.acl_list():
            _, name, rules = line.split(" ", 2)
            if mark in name:
                found[name] = rules
        return found

    def topics(self, names: Iterable[str]) -> Facts:
        wanted = sorted(names)
        if not wanted:
            return {}
        kafka = self.services.kafka
        told = kafka.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t) for t in wanted])
        return {
            topic["name"]: {
                "id": topic["topic_id"],
                "partitions": len(topic["partitions"]),
                "config": {
                    key: entry["value"]
                    for key, entry in told["topic"].get(topic["name"], {}).items()
                    if entry["config_source"] == "DYNAMIC_TOPIC_CONFIG"
                },
            }
            for topic in kafka.describe_topics(wanted)
        }

    def _acls(self, mark: str, principals: Iterable[str | None]) -> Facts:
        found: dict[str, set[str]] = {}
        for acl in (acl for principal in principals for acl in self._bindings(principal)):
            if mark in acl.principal or mark in acl.resource_pattern.resource_name:
                found.setdefault(acl.principal, set()).add(_sentence(acl))
        return dict(found)

    def _bindings(self, principal: str | None) -> list[Any]:
        wanted = ACLFilter(
            principal=principal,
            host=None,
            operation=ACLOperation.ANY,
            permission_type=ACLPermissionType.ANY,
            resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, Pattern.ANY),
        )
        found = self.services.kafka.describe_acls(wanted)
        return list(found[0] if isinstance(found, tuple) else found)

    def _scram(self, mark: str) -> Facts:
        told: Mapping[str, Any] = self.services.kafka.describe_user_scram_credentials()
        return {
            user: {c["mechanism"].name: c["iterations"] for c in entry["credential_infos"]}
            for user, entry in told.items()
            if mark in user
        }

    def clean_up(self, mark: str) -> None:
        """Take away all that bears `mark`."""
        seen = self.look(mark)
        for database in seen.databases:
            self.services.sql(f'ALTER DATABASE "{database}" IS_TEMPLATE false')
            self.services.sql(f'DROP DATABASE "{database}" WITH (FORCE)')
        for role in seen.roles:
            self.services.sql(f'DROP ROLE "{role}"')
        for user in seen.users:
            self.services.valkey.acl_deluser(user)
        for key in self.services.valkey.scan_iter(f"*{mark}*", 1000):
            self.services.valkey.delete(key)
        for principal in seen.acls:
            self.services.delete_acls(principal.removeprefix("User:"))
        gone = [
            UserScramCredentialDeletion(user, mechanism)
            for user, mechanisms in seen.scram.items()
            for mechanism in mechanisms
        ]
        if gone:
            self.services.kafka.alter_user_scram_credentials(gone)
        if seen.topics:
            self.services.kafka.delete_topics(list(seen.topics), raise_errors=False)


def _sentence(acl: Any) -> str:
    at = acl.resource_pattern
    return (
        f"{acl.permission_type.name} {acl.operation.name} ON {at.resource_type.name} "
        f"{at.pattern_type.name} {at.resource_name} FROM {acl.host}"
    )


_TOPIC = ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
_READ = ("READ", "DESCRIBE")
_TRANSACTION = ("WRITE", "DESCRIBE")


def acls_of(app: str, topics: Iterable[str], reads: Iterable[str] = ()) -> set[str]:
    """All that an app may do on the brokers, as the documents say it. reads: others' topics."""
    rows = [("TOPIC", "LITERAL", topic, _TOPIC) for topic in topics]
    rows += [("TOPIC", "LITERAL", topic, _READ) for topic in reads]
    rows.append(("TOPIC", "PREFIXED", f"{app}.", _TOPIC))
    for kind, operations in (("GROUP", _READ), ("TRANSACTIONAL_ID", _TRANSACTION)):
        rows.append((kind, "LITERAL", app, operations))
        rows.append((kind, "PREFIXED", f"{app}.", operations))
    return {
        f"ALLOW {operation} ON {kind} {pattern} {name} FROM *"
        for kind, pattern, name, operations in rows
        for operation in operations
    }


def rules_of(namespace: str, channels: Iterable[str], *, info: bool) -> list[str]:
    """What an app's Valkey user is held to, but for its password, in the form of `rules_in`."""
    own = [f"&{namespace}:*"]
    for pattern in channels:
        database, told, below = pattern.partition("__:")
        keyspace = told and database.startswith("__keyspace@")
        own.append(f"&{database}__:{namespace}:{below}" if keyspace else f"&{namespace}:{pattern}")
    words = ["on", "resetchannels", f"~{namespace}:*", *own]
    return [*sorted(set(words)), *COMMANDS.split(" "), *(["+info"] if info else [])]


def rules_in(shown: str) -> list[str]:
    """The words of a line of ACL LIST: command rules in their order, all else sorted."""
    words = [word for word in shown.split(" ") if not re.fullmatch("#[0-9a-f]{64}", word)]
    first = next((n for n, word in enumerate(words) if word[0] in "+-"), len(words))
    return [*sorted(words[:first]), *words[first:]]


# The rules of an app's Valkey user, as ACL LIST shows them.
COMMANDS = (
    "-@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +pfadd +pfcount +@geo "
    "-georadius -georadiusbymember +@transaction +@pubsub -pubsub +eval +eval_ro +evalsha "
    "+evalsha_ro +fcall +fcall_ro +script|load +script|exists +copy +del +dump +exists +expire "
    "+expireat +expiretime +object +persist +pexpire +pexpireat +pexpiretime +pttl +rename "
    "+renamenx +touch +ttl +type +unlink +memory|usage +auth +hello +ping +echo +quit +reset "
    "+select +time +wait +readonly +readwrite +asking +cluster|slots +cluster|shards "
    "+cluster|keyslot +client|id +client|info +client|getname +client|setname +client|setinfo "
    "+client|no-touch +client|reply +command +acl|whoami"
)
