# ruff: noqa: PLC0415 -- each thread imports its own driver: that is quickest
"""The least a program can do for the same end, as one script: what norn's times are held against.

    python bench/floor.py --apps N --secret FILE [--rounds K]

One process, a thread a service. It looks once at each service in bulk, compares, writes in batches,
and waits until Kafka shows what it acknowledged. Then it proves what it wrote as norn does: of each
app that something was written for, the password works, another password is refused, and so is a
neighbour's place (PostgreSQL's login also does the one thing that must be done inside the
database). It reads no files but
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
import secrets
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
LOGINS = 8  # at once on PostgreSQL
WAVE = 16  # databases made before their logins begin
KAFKA_LOGINS = 24  # at once: a broker lets a wrong password wait for 100 ms
ACLS = 5000  # in one request: a controller refuses more than 10,000 records at once
TOPIC_AUTHORIZATION_FAILED = 29
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
    number: int
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
        return App(i, name, f"app_{i}_db", (f"{name}.inbound", f"{name}.processed"), password)

    return [app(i) for i in range(count)]


def neighbour(apps: Sequence[App], app: App) -> App | None:
    """The one before it, the second for the first: it is there by then."""
    other = apps[app.number - 1] if app.number else apps[min(1, len(apps) - 1)]
    return other if other is not app else None


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
        self.refusal = psycopg.OperationalError
        self.conn = self.connect(self.url, autocommit=True)

    def diff(self) -> tuple[list[App], list[tuple[App, str]], list[App]]:
        """Apps without a role, statements that repair, apps without a database."""
        roles = {name: rest for name, *rest in self.conn.execute(self.ROLES)}
        databases = {name: rest for name, *rest in self.conn.execute(self.DATABASES)}
        repairs: list[tuple[App, str]] = []
        for app in self.apps:
            if app.name in roles and roles[app.name] != [True, False, False, False]:
                repairs.append((app, f'ALTER ROLE "{app.name}" LOGIN NOCREATEDB NOCREATEROLE'))
            if app.database not in databases:
                continue
            owner, open_, public = databases[app.database]
            if owner != app.name:
                repairs.append((app, f'ALTER DATABASE {app.database} OWNER TO "{app.name}"'))
            if public:
                repairs.append((app, f"REVOKE ALL ON DATABASE {app.database} FROM PUBLIC"))
            if not open_:
                repairs.append((app, f"ALTER DATABASE {app.database} ALLOW_CONNECTIONS true"))
        return (
            [a for a in self.apps if a.name not in roles],
            repairs,
            [a for a in self.apps if a.database not in databases],
        )

    def run(self, phases: Phases) -> None:
        roles, repairs, databases = self.diff()
        batch = [statement for _, statement in repairs]
        for app in roles:
            batch.append(
                f'CREATE ROLE "{app.name}" LOGIN CONNECTION LIMIT 50'
                f" PASSWORD '{verifier(app.password)}'"
            )
            batch.append(f"""ALTER ROLE "{app.name}" SET temp_file_limit = '1GB'""")
        if batch:
            self.conn.execute("SET createrole_self_grant = 'set, inherit'")
            self.conn.execute("BEGIN; " + "; ".join(batch) + "; COMMIT")
        with ThreadPoolExecutor(LOGINS) as logins, ThreadPoolExecutor(2) as makers:
            proofs = [logins.submit(self._walls, app) for app in {app for app, _ in repairs}]
            second = self.connect(self.url, autocommit=True) if len(databases) > 1 else None
            for wave in (databases[i : i + WAVE] for i in range(0, len(databases), WAVE)):
                halves = [(wave[::2], self.conn), (wave[1::2], second)]
                list(makers.map(self._create, *zip(*halves, strict=True)))
                self.conn.execute(
                    "BEGIN; "
                    + "; ".join(
                        f"REVOKE ALL ON DATABASE {app.database} FROM PUBLIC;"
                        f" ALTER DATABASE {app.database} ALLOW_CONNECTIONS true"
                        for app in wave
                    )
                    + "; COMMIT"
                )
                proofs += [logins.submit(self._prove, app) for app in wave]
            phases.changed(len(batch) + len(databases))
            phases.reach("acknowledged")
            phases.reach("visible")
            for proof in proofs:
                proof.result()
        phases.reach("proven")

    @staticmethod
    def _create(apps: Sequence[App], conn: Any) -> None:
        for app in apps:
            conn.execute(
                f'CREATE DATABASE {app.database} OWNER "{app.name}" TEMPLATE template0'
                " ENCODING 'UTF8' STRATEGY wal_log ALLOW_CONNECTIONS false"
            )

    def _prove(self, app: App) -> None:
        with self._login(app, app.password, app.database) as conn:
            conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        self._walls(app)

    def _walls(self, app: App) -> None:
        other = neighbour(self.apps, app)
        self._refused(app, secrets.token_urlsafe(32), app.database)
        self._refused(app, app.password, other.database if other else "norn_db")

    def _refused(self, app: App, password: str, database: str) -> None:
        try:
            self._login(app, password, database).close()
        except self.refusal as refused:
            if "FATAL" in str(refused):
                return
            raise
        raise RuntimeError(f"{app.name} got into {database}")

    def _login(self, app: App, password: str, database: str) -> Any:
        at = urlsplit(self.url)
        return self.connect(
            host=at.hostname, port=at.port, user=app.name, password=password,
            dbname=database, autocommit=True,
        )  # fmt: skip


class Valkey:
    def __init__(self, apps: Sequence[App]) -> None:
        import valkey

        self.apps = apps
        self.url = os.environ["NORN_VALKEY_URL"]
        self.client: Any = valkey.Valkey.from_url(self.url, decode_responses=True)

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
        for app in wrong:
            self._prove(app)
        phases.reach("proven")

    def _prove(self, app: App) -> None:
        """All of it on one connection, in one round trip."""
        other = neighbour(self.apps, app)
        look = f"EXISTS {other.name if other else 'nobody'}:proof"
        wrong, right = (f"AUTH {app.name} {p}" for p in (secrets.token_urlsafe(32), app.password))
        at = urlsplit(self.url)
        with (
            socket.create_connection((at.hostname or "localhost", at.port or 6379), 10) as link,
            link.makefile("rb") as back,
        ):
            link.sendall("".join(f"{c}\r\n" for c in (look, wrong, right, "PING", look)).encode())
            replies = [back.readline().split(b" ")[0].strip() for _ in range(5)]
        if replies != [b"-NOAUTH", b"-WRONGPASS", b"+OK", b"+PONG", b"-NOPERM"]:
            raise RuntimeError(f"{app.name} on Valkey: {replies}")


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
        for start in range(0, len(acls), ACLS):
            self.client.create_acls(
                [
                    k.ACL(
                        who, "*", k.ACLOperation[operation], k.ACLPermissionType.ALLOW,
                        k.ResourcePattern(
                            k.ResourceType[kind], name, k.ACLResourcePatternType[pattern]
                        ),
                    )
                    for who, kind, name, pattern, operation in acls[start : start + ACLS]
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
        named = {user.name for user in users} | {acl[0].removeprefix("User:") for acl in acls}
        changed = [app for app in self.apps if app.name in named]
        with ThreadPoolExecutor(KAFKA_LOGINS) as logins:
            wrong = [logins.submit(self._refused, app) for app in changed]
            for done in [*[logins.submit(self._prove, app) for app in changed], *wrong]:
                done.result()
        phases.reach("proven")
        self.client.close()

    def _refused(self, app: App) -> None:
        try:
            self._login(app, secrets.token_urlsafe(32))
        except PermissionError:
            return
        raise RuntimeError(f"{app.name} got in with another password")

    def _prove(self, app: App) -> None:
        other = neighbour(self.apps, app)
        topics = [app.topics[0], other.topics[0] if other else "nobody.topic"]
        codes = self._login(app, app.password, topics)
        if codes != [0, TOPIC_AUTHORIZATION_FAILED]:
            raise RuntimeError(f"{app.name} on Kafka: {codes}")

    def _login(self, app: App, password: str, topics: Sequence[str] = ()) -> list[int]:
        """A login and one look at `topics`: a client of kafka-python would do more."""
        from kafka.net.sasl.scram import ScramClient
        from kafka.protocol.metadata import MetadataRequest, MetadataResponse
        from kafka.protocol.sasl import (
            SaslAuthenticateRequest,
            SaslAuthenticateResponse,
            SaslHandshakeRequest,
            SaslHandshakeResponse,
        )

        host, _, port = self.brokers.partition(",")[0].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as link, link.makefile("rb") as back:

            def ask(request: Any, response: Any, version: int = 1) -> Any:
                request.API_VERSION = version
                request.with_header(correlation_id=1, client_id="floor")
                link.sendall(request.encode(header=True, framed=True))
                (size,) = struct.unpack(">i", back.read(4))
                reply = response.decode(back.read(size), version=version, header=True)
                if version == 1 and reply.error_code:
                    raise PermissionError(f"{app.name} was refused: {reply.error_code}")
                return reply

            ask(SaslHandshakeRequest(mechanism="SCRAM-SHA-256"), SaslHandshakeResponse)
            scram = ScramClient(app.name, password, "SCRAM-SHA-256")
            first = ask(
                SaslAuthenticateRequest(auth_bytes=scram.first_message()), SaslAuthenticateResponse
            )
            scram.process_server_first_message(first.auth_bytes)
            last = ask(
                SaslAuthenticateRequest(auth_bytes=scram.final_message()), SaslAuthenticateResponse
            )
            scram.process_server_final_message(last.auth_bytes)
            if not topics:
                return []
            asked = [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
            request = MetadataRequest(topics=asked, allow_auto_topic_creation=False)
            answer = ask(request, MetadataResponse, 5)
            codes = {topic.name: topic.error_code for topic in answer.topics}
            return [codes[name] for name in topics]


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
