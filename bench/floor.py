# ruff: noqa: PLC0415 -- each thread imports its own driver: that is quickest
"""The least a program can do for the same end, as one script: what norn's times are held against.

    python bench/floor.py --apps N --secret FILE [--rounds K]

One process, a thread a service. It looks once at each service in bulk, compares, writes in batches,
waits until Kafka shows what it acknowledged, and proves each new password by one login a service
(PostgreSQL's proof does the one thing that must be done inside the database). It reads no files but
its key, keeps no records, owns nothing, refuses nothing, deletes nothing and delivers nothing. It
reads norn's environment variables for the servers and imports nothing of norn.

Prints one JSON object: seconds from the process's start to acknowledged, visible, proven; changes.
With --rounds: looks and compares K times over open connections and prints each round's seconds.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BEGAN = time.time() - time.process_time()  # close enough to exec for the phases that are printed
ITERATIONS = 4096
COMMANDS = """
    -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +pfadd +pfcount
    +@geo -georadius -georadiusbymember +@transaction +@pubsub -pubsub
    +eval +eval_ro +evalsha +evalsha_ro +fcall +fcall_ro +script|load +script|exists
    +copy +del +dump +exists +expire +expireat +expiretime +object +persist
    +pexpire +pexpireat +pexpiretime +pttl +rename +renamenx +touch +ttl +type +unlink
    +memory|usage +auth +hello +ping +echo +quit +reset +select +time +wait
    +readonly +readwrite +asking +cluster|slots +cluster|shards +cluster|keyslot
    +client|id +client|info +client|getname +client|setname +client|setinfo +client|no-touch
    +client|reply +command +acl|whoami
""".split()  # noqa: SIM905 -- 68 quoted words would be harder to read


@dataclass(frozen=True)
class App:
    name: str
    database: str
    topics: tuple[str, str]
    password: str


class Phases:
    """When the last of the three threads reached each phase."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reached: dict[str, float] = {}
        self.changes = 0

    def reach(self, phase: str) -> None:
        with self._lock:
            self.reached[phase] = round(time.time() - BEGAN, 3)

    def changed(self, count: int) -> None:
        with self._lock:
            self.changes += count


def fleet(count: int, key: bytes) -> list[App]:
    def app(i: int) -> App:
        name = f"app-{i}"
        digest = hmac.new(key, name.encode(), "sha256").digest()
        password = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return App(name, f"app_{i}_db", (f"{name}.inbound", f"{name}.processed"), password)

    return [app(i) for i in range(count)]


def verifier(password: str) -> str:
    """PostgreSQL's SCRAM verifier; hashlib takes a third of libpq's time."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client = hmac.new(salted, b"Client Key", "sha256").digest()
    stored = hashlib.sha256(client).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    one, two, three = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{one}${two}:{three}"


class Postgres:
    ROLES = "SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles"
    DATABASES = """
        SELECT d.datname, pg_get_userbyid(d.datdba), d.datallowconn,
               coalesce(bool_or(a.grantee = 0), false)
        FROM pg_database d
        CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
        GROUP BY d.oid, d.datname, d.datdba, d.datallowconn"""

    def __init__(self, apps: Sequence[App]) -> None:
        import psycopg

        self.apps = apps
        self.url = os.environ["NORN_POSTGRES_URL"]
        self.connect: Callable[..., Any] = psycopg.connect
        self.conn = self.connect(self.url, autocommit=True)

    def diff(self) -> tuple[list[App], list[str], list[App]]:
        """Apps without a role, statements that repair, apps without a database."""
        roles = {name: rest for name, *rest in self.conn.execute(self.ROLES)}
        databases = {name: rest for name, *rest in self.conn.execute(self.DATABASES)}
        repairs: list[str] = []
        for app in self.apps:
            if app.name in roles and roles[app.name] != [True, False, False, False]:
                repairs.append(f'ALTER ROLE "{app.name}" LOGIN NOCREATEDB NOCREATEROLE')
            if app.database not in databases:
                continue
            owner, open_, public = databases[app.database]
            if owner != app.name:
                repairs.append(f'ALTER DATABASE {app.database} OWNER TO "{app.name}"')
            if public:
                repairs.append(f"REVOKE ALL ON DATABASE {app.database} FROM PUBLIC")
            if not open_:
                repairs.append(f"ALTER DATABASE {app.database} ALLOW_CONNECTIONS true")
        return (
            [a for a in self.apps if a.name not in roles],
            repairs,
            [a for a in self.apps if a.database not in databases],
        )

    def run(self, phases: Phases) -> None:
        roles, repairs, databases = self.diff()
        batch = list(repairs)
        for app in roles:
            batch.append(
                f'CREATE ROLE "{app.name}" LOGIN CONNECTION LIMIT 50'
                f" PASSWORD '{verifier(app.password)}'"
            )
            batch.append(f"""ALTER ROLE "{app.name}" SET temp_file_limit = '1GB'""")
        if batch:
            self.conn.execute("SET createrole_self_grant = 'set, inherit'")
            self.conn.execute("BEGIN; " + "; ".join(batch) + "; COMMIT")
        if databases:
            halves = [half for half in (databases[::2], databases[1::2]) if half]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(self._create, halves, [True, False]))
            self.conn.execute(
                "BEGIN; "
                + "; ".join(
                    f"REVOKE ALL ON DATABASE {app.database} FROM PUBLIC;"
                    f" ALTER DATABASE {app.database} ALLOW_CONNECTIONS true"
                    for app in databases
                )
                + "; COMMIT"
            )
        phases.changed(len(batch) + len(databases))
        phases.reach("acknowledged")
        phases.reach("visible")
        if roles:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(self._prove, roles))
        phases.reach("proven")

    def _create(self, apps: Sequence[App], shared: bool) -> None:
        conn = self.conn if shared else self.connect(self.url, autocommit=True)
        for app in apps:
            conn.execute(
                f'CREATE DATABASE {app.database} OWNER "{app.name}" TEMPLATE template0'
                " ENCODING 'UTF8' STRATEGY wal_log ALLOW_CONNECTIONS false"
            )
        if not shared:
            conn.close()

    def _prove(self, app: App) -> None:
        at = urlsplit(self.url)
        with self.connect(
            host=at.hostname, port=at.port, user=app.name, password=app.password,
            dbname=app.database, autocommit=True,
        ) as conn:  # fmt: skip
            conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")


class Valkey:
    def __init__(self, apps: Sequence[App]) -> None:
        import valkey

        self.apps = apps
        self.url = os.environ["NORN_VALKEY_URL"]
        self.client: Any = valkey.Valkey.from_url(self.url, decode_responses=True)
        self.open: Callable[..., Any] = valkey.Valkey

    def diff(self) -> list[App]:
        lines = {line.split(" ", 2)[1]: line for line in self.client.execute_command("ACL LIST")}
        return [app for app in self.apps if not self._same(app, lines.get(app.name, ""))]

    def _same(self, app: App, line: str) -> bool:
        words = line.split()
        # Command rules count in their order, all else as a set.
        commands = [w for w in words if w[:1] in "+-"]
        others = {w for w in words if w[:1] in "#~&%("}
        wanted = {self._digest(app), f"~{app.name}:*", f"&{app.name}:*"}
        return commands == COMMANDS and others == wanted and "on" in words

    @staticmethod
    def _digest(app: App) -> str:
        return "#" + hashlib.sha256(app.password.encode()).hexdigest()

    def run(self, phases: Phases) -> None:
        wrong = self.diff()
        if wrong:
            pipe: Any = self.client.pipeline(transaction=False)
            for app in wrong:
                pipe.execute_command(
                    "ACL", "SETUSER", app.name, "reset", "on", self._digest(app), "resetkeys",
                    f"~{app.name}:*", "resetchannels", f"&{app.name}:*", *COMMANDS,
                )  # fmt: skip
            pipe.execute()
            self.client.execute_command("ACL", "SAVE")
        phases.changed(len(wrong))
        phases.reach("acknowledged")
        phases.reach("visible")
        at = urlsplit(self.url)
        for app in wrong:
            one = self.open(at.hostname, at.port, username=app.name, password=app.password)
            one.ping()
            one.close()
        phases.reach("proven")


class Kafka:
    def __init__(self, apps: Sequence[App]) -> None:
        import logging

        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        from kafka import admin

        self.kafka: Any = admin
        self.apps = apps
        self.brokers = os.environ["NORN_REDPANDA_BROKERS"]
        self.client = admin.KafkaAdminClient(
            bootstrap_servers=self.brokers,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_plain_username=os.environ["NORN_REDPANDA_USERNAME"],
            sasl_plain_password=os.environ["NORN_REDPANDA_PASSWORD"],
        )

    def wanted(self, app: App) -> Iterable[tuple[str, str, str, str, str]]:
        """(principal, type, name, pattern, operation)."""
        who = f"User:{app.name}"
        for name, pattern in (*((t, "LITERAL") for t in app.topics), (f"{app.name}.", "PREFIXED")):
            for operation in ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"):
                yield (who, "TOPIC", name, pattern, operation)
        for kind, first in (("GROUP", "READ"), ("TRANSACTIONAL_ID", "WRITE")):
            for name, pattern in ((app.name, "LITERAL"), (f"{app.name}.", "PREFIXED")):
                for operation in (first, "DESCRIBE"):
                    yield (who, kind, name, pattern, operation)

    def acls(self) -> set[tuple[str, str, str, str, str]]:
        k = self.kafka
        everything = k.ACLFilter(
            principal=None, host=None, operation=k.ACLOperation.ANY,
            permission_type=k.ACLPermissionType.ANY,
            resource_pattern=k.ResourcePatternFilter(
                k.ResourceType.ANY, None, k.ACLResourcePatternType.ANY
            ),
        )  # fmt: skip
        found, _ = self.client.describe_acls(everything)
        return {
            (
                acl.principal,
                acl.resource_pattern.resource_type.name,
                acl.resource_pattern.resource_name,
                acl.resource_pattern.pattern_type.name,
                acl.operation.name,
            )
            for acl in found
            if acl.host == "*" and acl.permission_type.name == "ALLOW"
        }

    def diff(self) -> tuple[list[str], list[tuple[str, str, str, str, str]], list[App]]:
        topics = set(self.client.list_topics())
        acls = self.acls()
        users = self.client.describe_user_scram_credentials()
        return (
            [t for app in self.apps for t in app.topics if t not in topics],
            [acl for app in self.apps for acl in self.wanted(app) if acl not in acls],
            [app for app in self.apps if app.name not in users],
        )

    def run(self, phases: Phases) -> None:
        topics, acls, users = self.diff()
        k = self.kafka
        if topics:
            self.client.create_topics({t: {"num_partitions": 1} for t in topics})
        if users:
            self.client.alter_user_scram_credentials(
                [
                    k.UserScramCredentialUpsertion(
                        a.name, k.ScramMechanism.SCRAM_SHA_256, a.password
                    )
                    for a in users
                ]
            )
        if acls:
            self.client.create_acls(
                [
                    k.ACL(
                        who, "*", k.ACLOperation[operation], k.ACLPermissionType.ALLOW,
                        k.ResourcePattern(
                            k.ResourceType[kind], name, k.ACLResourcePatternType[pattern]
                        ),
                    )
                    for who, kind, name, pattern, operation in acls
                ]
            )  # fmt: skip
        phases.changed(len(topics) + len(acls) + len(users))
        phases.reach("acknowledged")
        if topics or acls or users:
            # The broker applies its log in order: ACLs came last, so once they show, all does.
            while not set(acls) <= self.acls():
                time.sleep(0.02)
            while any(self.diff()):
                time.sleep(0.02)
        phases.reach("visible")
        for app in users:
            self._prove(app)
        phases.reach("proven")
        self.client.close()

    def _prove(self, app: App) -> None:
        """A login and nothing else: a client of kafka-python would also fetch metadata."""
        from kafka.net.sasl.scram import ScramClient
        from kafka.protocol.sasl import (
            SaslAuthenticateRequest,
            SaslAuthenticateResponse,
            SaslHandshakeRequest,
            SaslHandshakeResponse,
        )

        host, _, port = self.brokers.partition(",")[0].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as link, link.makefile("rb") as back:

            def ask(request: Any, response: Any) -> Any:
                request.API_VERSION = 1
                request.with_header(correlation_id=1, client_id="floor")
                link.sendall(request.encode(header=True, framed=True))
                (size,) = struct.unpack(">i", back.read(4))
                reply = response.decode(back.read(size), version=1, header=True)
                if reply.error_code:
                    raise RuntimeError(f"{app.name} was refused: {reply.error_code}")
                return reply

            ask(SaslHandshakeRequest(mechanism="SCRAM-SHA-256"), SaslHandshakeResponse)
            scram = ScramClient(app.name, app.password, "SCRAM-SHA-256")
            first = ask(
                SaslAuthenticateRequest(auth_bytes=scram.first_message()), SaslAuthenticateResponse
            )
            scram.process_server_first_message(first.auth_bytes)
            last = ask(
                SaslAuthenticateRequest(auth_bytes=scram.final_message()), SaslAuthenticateResponse
            )
            scram.process_server_final_message(last.auth_bytes)


SERVICES = (Postgres, Valkey, Kafka)


def together(work: Sequence[Callable[[], Any]]) -> None:
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()


def converge(make: Callable[[Sequence[App]], Any], apps: Sequence[App], phases: Phases) -> None:
    make(apps).run(phases)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--apps", type=int, required=True)
    arguments.add_argument("--secret", type=Path, required=True)
    arguments.add_argument("--rounds", type=int, default=0)
    given = arguments.parse_args()
    apps = fleet(given.apps, given.secret.read_bytes())
    if given.rounds:
        services = [make(apps) for make in SERVICES]
        seconds = []
        for _ in range(given.rounds):
            began = time.perf_counter()
            together([service.diff for service in services])
            seconds.append(round(time.perf_counter() - began, 4))
        print(json.dumps({"rounds": seconds}))
        return
    phases = Phases()
    together([partial(converge, make, apps, phases) for make in SERVICES])
    print(json.dumps({"seconds": phases.reached, "changes": phases.changes}))


if __name__ == "__main__":
    main()
