"""The throw-away servers, what the administrators do to them between runs, and the drift."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import valkey
from kafka import admin

from bench.workload import App
from infra.stack import Stack

WARM = 120  # databases made and dropped first: new WAL segments cost 70 to 165 ms a database
PRINCIPALS = 200  # whose ACLs go in one request: a controller takes 10,000 records at once
ANY_ACL = (admin.ACLOperation.ANY, admin.ACLPermissionType.ANY)


class Servers:
    """One stack and its administrators' connections."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sql = psycopg.connect(stack.postgres.url(), autocommit=True)
        self.valkey = valkey.Valkey.from_url(stack.valkey.url, decode_responses=True)
        self._kafka: admin.KafkaAdminClient | None = None

    def ask(self, *words: str) -> Any:
        """One command as Valkey's administrator."""
        answer: Any = self.valkey.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer

    @property
    def kafka(self) -> admin.KafkaAdminClient:
        if self._kafka is None:
            self._kafka = admin.KafkaAdminClient(
                bootstrap_servers=self.stack.kafka.brokers,
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="SCRAM-SHA-256",
                sasl_plain_username="norn-admin",
                sasl_plain_password=self.stack.kafka.password,
            )
        return self._kafka

    def hang_up_kafka(self) -> None:
        """Before the broker restarts; the next use connects anew."""
        if self._kafka is not None:
            self._kafka.close()
            self._kafka = None

    def close(self) -> None:
        self.sql.close()
        self.valkey.close()  # type: ignore[no-untyped-call]
        self.hang_up_kafka()

    def warm(self) -> None:
        """First-time costs of a fresh cluster and a fresh JVM are nobody's to measure."""
        self._durable(False)
        for i in range(WARM):
            self.sql.execute(f"CREATE DATABASE warm_{i} TEMPLATE template0 STRATEGY wal_log")
        for i in range(WARM):
            self.sql.execute(f"DROP DATABASE warm_{i}")
        topics = [f"warm.{i}" for i in range(WARM)]
        self.kafka.create_topics({topic: {"num_partitions": 1} for topic in topics})
        self.kafka.create_acls([_acl("User:warm", topic) for topic in topics])
        for _ in range(30):
            self.acls("User:warm")
            self.kafka.list_topics()
        self.clean([])

    def clean(self, apps: Sequence[App]) -> None:
        """As if nobody had ever been here; norn_db is a new one."""
        sql = self.sql
        self._durable(False)
        present = {row[0] for row in sql.execute("SELECT datname FROM pg_database")}
        roles = {row[0] for row in sql.execute("SELECT rolname FROM pg_roles")}
        for app in apps:
            if app.database in present:
                sql.execute(f"DROP DATABASE {app.database} WITH (FORCE)")
        gone = [f'"{app.name}"' for app in apps if app.name in roles]
        if gone:
            sql.execute(f"DROP ROLE {', '.join(gone)}")
        sql.execute("DROP DATABASE IF EXISTS norn_db WITH (FORCE)")
        sql.execute("CREATE DATABASE norn_db OWNER norn")
        sql.execute("REVOKE ALL ON DATABASE norn_db FROM PUBLIC")
        self._durable(True)
        sql.execute("CHECKPOINT")
        if apps:
            self.ask("ACL", "DELUSER", *(app.name for app in apps))  # unknown ones are passed over
            self.ask("ACL", "SAVE")
        self._clean_kafka()

    def _durable(self, on: bool) -> None:
        """fsync is on whenever something is measured; a DROP DATABASE waits for a checkpoint."""
        self.sql.execute(f"ALTER SYSTEM SET fsync = {'on' if on else 'off'}")
        self.sql.execute("SELECT pg_reload_conf()")
        until(lambda: self.sql.execute("SHOW fsync").fetchone() == ("on" if on else "off",))

    def _clean_kafka(self) -> None:
        principals = sorted({acl.principal for acl in self.acls(None)})
        for start in range(0, len(principals), PRINCIPALS):
            some = principals[start : start + PRINCIPALS]
            self.kafka.delete_acls([_filter(principal) for principal in some])
        self.kafka.delete_acls([_filter(None)])  # and those that do not show yet
        users = [u for u in self.kafka.describe_user_scram_credentials() if u != "norn-admin"]
        if users:
            self.kafka.alter_user_scram_credentials(
                [admin.UserScramCredentialDeletion(u, "SCRAM-SHA-256") for u in users]
            )
        topics = self._topics()
        if topics:
            self.kafka.delete_topics(topics)
        until(lambda: not self._topics() and not self.acls(None) and not self._users())
        time.sleep(1.0)  # the logs of deleted topics are cleared away beside

    def _topics(self) -> list[str]:
        return [t for t in self.kafka.list_topics() if not t.startswith("__")]

    def _users(self) -> set[str]:
        return set(self.kafka.describe_user_scram_credentials()) - {"norn-admin"}

    def acls(self, principal: str | None) -> list[admin.ACL]:
        """Of one principal, or all."""
        found: tuple[list[admin.ACL], Any] = self.kafka.describe_acls(_filter(principal))
        return found[0]

    def drift(self, app: App, other: App, third: App) -> None:
        """One ACL deleted, CONNECT granted to PUBLIC, one Valkey user widened."""
        topic = app.topics[0]
        self.kafka.delete_acls(
            [
                admin.ACLFilter(
                    f"User:{app.name}", "*", admin.ACLOperation.READ, admin.ACLPermissionType.ALLOW,
                    admin.ResourcePatternFilter(
                        admin.ResourceType.TOPIC, topic, admin.ACLResourcePatternType.LITERAL
                    ),
                )
            ]
        )  # fmt: skip
        self.sql.execute(f"GRANT CONNECT ON DATABASE {other.database} TO PUBLIC")
        self.ask("ACL", "SETUSER", third.name, "~*")
        until(lambda: len(self.acls(f"User:{app.name}")) == 19)


def until(what: Any, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not come to the state that the benchmark starts from")
        time.sleep(0.05)


def _filter(principal: str | None) -> admin.ACLFilter:
    anything = admin.ResourcePatternFilter(
        admin.ResourceType.ANY, None, admin.ACLResourcePatternType.ANY
    )
    return admin.ACLFilter(principal, None, *ANY_ACL, anything)


def _acl(principal: str, topic: str) -> admin.ACL:
    pattern = admin.ResourcePattern(
        admin.ResourceType.TOPIC, topic, admin.ACLResourcePatternType.LITERAL
    )
    return admin.ACL(
        principal, "*", admin.ACLOperation.READ, admin.ACLPermissionType.ALLOW, pattern
    )


@contextmanager
def booted() -> Iterator[Servers]:
    """Warm servers in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="norn-bench-", dir="/var/tmp"))
    folder.chmod(0o711)
    stack = Stack(folder)
    try:
        stack.start()
        servers = Servers(stack)
        try:
            servers.warm()
            yield servers
        finally:
            servers.close()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
