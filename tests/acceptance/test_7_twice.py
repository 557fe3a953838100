"""`norn apply` twice: the second one writes nothing. Proven by what the servers say themselves:
PostgreSQL's log of every statement, Valkey's commandstats, Kafka's descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from infra.stack import Stack
from tests.acceptance.harness import Norn, database, spec
from tests.acceptance.services import Services

MARK = "twice"
_LINE = re.compile(
    rf"^{MARK} (\S+) .*?LOG:  (?:statement|execute [^:]*): (.*?)(?=^{MARK} |\Z)", re.M | re.S
)
WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|MERGE|CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|TRUNCATE|CALL|DO)\b"
)
# What every run writes in norn_db, whatever the number of apps: that it was the writer.
LEASE = re.compile(
    r"UPDATE reconciler\.lease |(MERGE INTO|UPDATE|DELETE FROM) public\.cluster_nodes "
)
CLOSED = re.compile(r"UPDATE public\.deployments .*'norn restarted during deployment'")


@pytest.fixture
def statements(private_stack: Stack) -> Iterator[Path]:
    """The server's log; meanwhile it has every statement, by user."""

    def superuser(*commands: str) -> None:
        with psycopg.connect(private_stack.postgres.url(), autocommit=True) as conn:
            for command in commands:
                conn.execute(command)

    superuser(
        "ALTER SYSTEM SET log_statement = 'all'",
        f"ALTER SYSTEM SET log_line_prefix = '{MARK} %u '",
        "SELECT pg_reload_conf()",
    )
    yield private_stack.postgres.process.log
    superuser("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def since(log: Path, start: int) -> list[tuple[str, str]]:
    """(user, statement) of everything that was logged behind `start` bytes."""
    text = log.read_bytes()[start:].decode()
    return [(user, " ".join(sql.split())) for user, sql in _LINE.findall(text)]


def described(services: Services, apps: list[str]) -> list[object]:
    """All that Kafka says of the apps: topics with their ids and configs, ACLs, SCRAM users."""
    kafka = services.kafka
    topics = [f"{app}.in" for app in apps]
    about = [
        {k: v for k, v in topic.items() if k != "authorized_operations"}
        for topic in kafka.describe_topics(topics)
    ]
    configs = kafka.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t) for t in topics])
    acls = sorted(str(acl) for app in apps for acl in services.acls(app))
    return [about, str(configs), acls, kafka.describe_user_scram_credentials(apps)]


def test_the_second_apply_writes_nothing(
    breakable: Norn, breakable_services: Services, statements: Path, name
) -> None:
    norn, services = breakable, breakable_services
    apps = [name(f"app{i}") for i in range(5)]
    for app in apps:
        norn.write(f"{app}.yaml", spec(app))
    norn.run("apply")
    made = since(statements, 0)
    assert sum(sql.startswith("CREATE DATABASE") for _, sql in made) == 5, "the log shows writes"
    kafka, start = described(services, apps), statements.stat().st_size
    services.valkey.config_resetstat()

    assert "0 changes made" in norn.run("apply")

    stats = set(services.valkey.info("commandstats"))
    sent = since(statements, start)
    admin = [sql for user, sql in sent if user == "norn_admin"]
    assert admin, "it did look"
    assert [sql for sql in admin if WRITES.search(sql)] == []
    kept = [sql for user, sql in sent if user != "norn_admin" and WRITES.search(sql)]
    assert kept, "the lease"
    assert [sql for sql in kept if not LEASE.match(sql) and not CLOSED.match(sql)] == []
    assert [user for user, _ in sent if user in apps] == [], "nothing new to prove"
    changing = ("setuser", "deluser", "acl|save", "acl|load", "config|", "client|kill")
    stats.discard("cmdstat_config|resetstat")
    assert {s for s in stats if any(c in s for c in changing)} <= {"cmdstat_config|get"}
    assert described(services, apps) == kafka
    assert norn.run("plan", "--check")


def test_a_standing_warning_is_recorded_once(norn: Norn, services: Services, name) -> None:
    app, guest = name("warned"), name("guest")
    norn.write("warned.yaml", spec(app, kv=False, events=False))
    norn.run("apply")
    services.sql(f'CREATE ROLE "{guest}"')
    try:
        services.sql(f'GRANT CONNECT ON DATABASE {database(app)} TO "{guest}"')
        for _ in range(3):
            norn.run("apply")
        assert [e["message"].split(":")[0] for e in norn.events("problem.found", app)] == [
            "ForeignGrant"
        ]
        services.sql(f'GRANT CREATE ON DATABASE {database(app)} TO "{guest}"')
        for _ in range(2):
            norn.run("apply")
        assert len(norn.events("problem.found", app)) == 2, "it changed, so it is told again"
    finally:
        services.sql(f'DROP OWNED BY "{guest}"')
        services.sql(f'DROP ROLE "{guest}"')
