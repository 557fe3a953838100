"""The brokers that sweeps run on: the shared one, and one of their own with everything switched on
that could give a client more than its rights."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.kafka_server import ADMIN, Kafka
from infra.ports import free_port
from norn_reconciler.model.secret import Secret
from tests.isolation.events_session import logged_in
from tests.isolation.events_stage import Broker
from tests.servers import Servers

_OPEN = """\
auto.create.topics.enable=true
delegation.token.secret.key={secret}
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class OpenKafka(Kafka):
    """Makes topics on being asked for them, and knows delegation tokens and share groups."""

    def _properties(self) -> str:
        given = super()._properties().replace("auto.create.topics.enable=false\n", "")
        return given + _OPEN.format(secret=secrets.token_hex(16))


def shared_broker(servers: Servers) -> Broker:
    return Broker(servers.brokers, servers.kafka_username, Secret(servers.kafka_password))


@contextlib.contextmanager
def open_broker() -> Iterator[Broker]:
    """A broker of the caller's own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="norn-test-"))
    folder.chmod(0o711)  # the server's user passes through
    port = free_port()
    password = secrets.token_urlsafe(24)
    kafka = OpenKafka(folder, "kafka", port, password, free_port([port]))
    try:
        kafka.start()
        broker = Broker(kafka.brokers, ADMIN, Secret(password))
        with logged_in(broker.brokers, ADMIN, broker.password) as admin:
            share = {"Feature": "share.version", "MaxVersionLevel": 1, "UpgradeType": 1}
            reply = admin.ask("UpdateFeatures", {"FeatureUpdates": [share]})
            assert reply["ErrorCode"] == 0, reply["ErrorMessage"]
        yield broker
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)
