"""Independent of norn and of the floor: does every object of the workload stand as it should?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

from bench.servers import Servers
from bench.workload import App

TOPIC = ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")


def wrong(servers: Servers, apps: Sequence[App]) -> list[str]:
    """One line a fault; empty when all is there and as it should be."""
    return [*_postgres(servers, apps), *_valkey(servers, apps), *_kafka(servers, apps)]


def _postgres(servers: Servers, apps: Sequence[App]) -> list[str]:
    roles = {
        row[0]: row[1:]
        for row in servers.sql.execute(
            "SELECT rolname, rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole"
            " OR rolreplication OR rolbypassrls, coalesce(rolpassword, '') LIKE 'SCRAM-SHA-256$%'"
            " FROM pg_authid"
        )
    }
    databases = {
        row[0]: row[1:]
        for row in servers.sql.execute(
            "SELECT d.datname, r.rolname, d.datallowconn, EXISTS (SELECT 1 FROM aclexplode("
            "coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0)"
            " FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba"
        )
    }
    found = []
    for app in apps:
        if roles.get(app.name) != (True, False, True):
            found.append(f"role {app.name}: {roles.get(app.name)}")
        if databases.get(app.database) != (app.name, True, False):
            found.append(f"database {app.database}: {databases.get(app.database)}")
    return found


def _valkey(servers: Servers, apps: Sequence[App]) -> list[str]:
    lines = {line.split()[1]: line.split() for line in servers.ask("ACL", "LIST")}
    found = []
    present = [app for app in apps if app.name in lines]
    pipe: Any = servers.valkey.pipeline(transaction=False)
    for app in present:
        pipe.execute_command("ACL", "DRYRUN", app.name, "SET", f"{app.name}:k", "v")
        pipe.execute_command("ACL", "DRYRUN", app.name, "GET", "somebody:k")
        pipe.execute_command("ACL", "DRYRUN", app.name, "KEYS", "*")
    tried = pipe.execute()
    able = {
        app: (own == "OK", other == "OK", keys == "OK")
        for app, own, other, keys in zip(present, tried[::3], tried[1::3], tried[2::3], strict=True)
    }
    for app in apps:
        words = lines.get(app.name, [])
        reach = {w for w in words if w[:1] in "~&%("}
        good = (
            "on" in words
            and "nopass" not in words
            and reach == {f"~{app.name}:*", f"&{app.name}:*"}
            and sum(w.startswith("#") for w in words) == 1
            and able[app] == (True, False, False)
        )
        if not good:
            found.append(f"Valkey user {app.name}: {' '.join(sorted(reach)) or 'missing'}")
    return found


def _kafka(servers: Servers, apps: Sequence[App]) -> list[str]:
    partitions = {t["name"]: len(t["partitions"]) for t in servers.kafka.describe_topics()}
    users = servers.kafka.describe_user_scram_credentials()
    granted: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for acl in servers.acls(None):
        at = acl.resource_pattern
        rule = (
            at.resource_type.name,
            at.resource_name,
            at.pattern_type.name,
            acl.operation.name,
            acl.host,
            acl.permission_type.name,
        )
        granted[acl.principal].add(rule)
    found = []
    for app in apps:
        found += [f"topic {t}: {partitions.get(t)}" for t in app.topics if partitions.get(t) != 1]
        if app.name not in users:
            found.append(f"SCRAM user {app.name}: missing")
        if (has := granted[f"User:{app.name}"]) != (should := _acls(app)):
            found.append(f"ACLs of {app.name}: lacks {should - has}, has besides {has - should}")
    return found


def _acls(app: App) -> set[tuple[str, ...]]:
    own = (f"{app.name}.", "PREFIXED")
    rules = {
        ("TOPIC", *where, operation)
        for where, operation in product([*((t, "LITERAL") for t in app.topics), own], TOPIC)
    }
    for kind, first in (("GROUP", "READ"), ("TRANSACTIONAL_ID", "WRITE")):
        where = [(app.name, "LITERAL"), own]
        rules |= {(kind, *at, op) for at, op in product(where, (first, "DESCRIBE"))}
    return {(*rule, "*", "ALLOW") for rule in rules}
