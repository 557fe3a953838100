"""Apache Kafka in KRaft mode with SASL/SCRAM and its authorizer: the API that Redpanda speaks."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from infra.accounts import CACHE, Account, open_up, run_as, unprivileged, within_reach
from infra.ports import listening
from infra.process import StackError
from infra.server import Server

VERSION = "4.1.0"
ADMIN = "norn-admin"


def jars() -> Path:
    """The cached folder of jars, fetched by Maven the first time (43 MB)."""
    home = cached()
    if not home.exists():
        _fetch(home)
    return within_reach(home, f"kafka-{VERSION}-copy")


def cached() -> Path:
    """Where the jars are kept: outside of the source tree, so that every checkout shares them."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given or unprivileged() is None:
        return Path(given or Path.home() / ".cache") / "norn-reconciler" / f"kafka-{VERSION}"
    return CACHE / f"kafka-{VERSION}"


def _fetch(home: Path) -> None:
    need("java", "openjdk-17-jre-headless")
    need("mvn", "maven")
    home.parent.mkdir(parents=True, exist_ok=True)
    fresh = home.with_name(f"{home.name}.{secrets.token_hex(4)}")
    try:
        made = subprocess.run(
            [
                "mvn", "-q", "-B", "-f", str(Path(__file__).parent / "kafka" / "pom.xml"),
                "dependency:copy-dependencies", f"-DoutputDirectory={fresh}",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise StackError(f"Maven could not fetch Kafka:\n{(made.stdout + made.stderr)[-2000:]}")
        open_up(fresh)
        try:
            fresh.rename(home)
        except OSError:  # somebody else was faster
            if not home.exists():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def need(tool: str, package: str) -> None:
    """Raises StackError with the command that installs `tool` when it is missing."""
    if shutil.which(tool) is None:
        raise StackError(f"{tool} is missing: sudo apt-get install {package}")


class Kafka(Server):
    """One broker and controller; the superuser is `norn-admin`. controller: its second port."""

    title = "Kafka"

    def __init__(self, home: Path, name: str, port: int, password: str, controller: int) -> None:
        super().__init__(home, name, port, password)
        self.controller = controller

    @property
    def brokers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self, account: Account | None) -> list[str]:
        need("java", "openjdk-17-jre-headless")
        classpath = f"{jars()}/*"
        config = self.private_file(f"{self.name}.properties", self._properties(), account)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(config, classpath, account)
        return [
            "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", classpath, "kafka.Kafka", str(config),
        ]  # fmt: skip

    def answers(self) -> bool:
        if not listening(self.port):
            return False
        try:
            client = KafkaAdminClient(
                bootstrap_servers=self.brokers,
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="SCRAM-SHA-256",
                sasl_plain_username=ADMIN,
                sasl_plain_password=self.password,
                request_timeout_ms=3000,
                bootstrap_timeout_ms=3000,
            )
        except KafkaError:
            return False
        try:
            client.list_topics()
        except KafkaError:
            return False
        finally:
            client.close()
        return True

    def _format(self, config: Path, classpath: str, account: Account | None) -> None:
        """Once per data folder. The password goes by a file: arguments are everybody's to read."""
        # A dash in front would read as an option.
        cluster = "N" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[:21]
        user = f"SCRAM-SHA-256=[name={ADMIN},password={self.password}]"
        arguments = self.private_file(f"{self.name}.arguments", f"--add-scram\n{user}\n", account)
        # What an interrupted run left would be taken for formatted.
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        try:
            made = run_as(
                account,
                [
                    "java", "-cp", classpath, "kafka.tools.StorageTool", "format",
                    "-t", cluster, "-c", str(config), f"@{arguments}",
                ],
            )  # fmt: skip
        finally:
            arguments.unlink()
        if made.returncode != 0:
            raise StackError(f"Kafka's storage could not be formatted:\n{made.stderr[-2000:]}")

    def _properties(self) -> str:
        """All listeners ask for a password, so that super.users names one user and not ANONYMOUS.
        PLAIN for the controller: SCRAM users live in what it has yet to read."""
        modules = "org.apache.kafka.common.security"
        login = f'required username="{ADMIN}" password="{self.password}"'
        return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
listeners=SASL_PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:{self.port}
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.mechanism.controller.protocol=PLAIN
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={modules}.plain.PlainLoginModule {login} \
user_{ADMIN}="{self.password}";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
{modules}.scram.ScramLoginModule {login};
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
{modules}.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{ADMIN}
allow.everyone.if.no.acl.found=false
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
group.initial.rebalance.delay.ms=0
log.dirs={self.folder / "data"}
"""
