"""TLS: the broker's certificate is checked, its host name included, for norn and for the proofs."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kafka_server import ADMIN, Kafka
from infra.ports import free_port
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from tests.integration.provider_contract import World, credential
from tests.integration.test_kv_tls import certificate

MAIL = App(AppName("mail"), {"events": EventsSection.model_validate({"topics": ["mail.in"]})})


class Encrypted(Kafka):
    """With a listener for TLS beside the plain one."""

    tls = 0
    store = Path()

    def _properties(self) -> str:
        plain = f"SASL_PLAINTEXT://127.0.0.1:{self.port}"
        mapped = "SASL_PLAINTEXT:SASL_PLAINTEXT"
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        text = super()._properties().replace(plain, f"{plain},SASL_SSL://127.0.0.1:{self.tls}")
        return f"""\
{text.replace(mapped, f"{mapped},SASL_SSL:SASL_SSL")}
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module} required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module} required;
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location={self.store}
"""


@pytest.fixture(params=["127.0.0.1", "elsewhere.example"])
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[Encrypted, str, Path]]:
    """The server, the host that its certificate names, and that certificate."""
    folder = Path(tempfile.mkdtemp(prefix="norn-test-"))
    folder.chmod(0o711)  # the server's user passes through
    cert, key = certificate(folder, request.param)
    port = free_port()
    controller = free_port([port])
    kafka = Encrypted(folder, "kafka", port, secrets.token_urlsafe(24), controller)
    kafka.tls = free_port([port, controller])
    kafka.store = folder / "store.pem"
    kafka.store.write_bytes(key.read_bytes() + cert.read_bytes())
    kafka.store.chmod(0o644)  # for the server's user
    try:
        kafka.start()
        yield kafka, request.param, cert
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)


def provider(kafka: Encrypted, ca_file: Path | None) -> EventsProvider:
    return EventsProvider(
        brokers=f"127.0.0.1:{kafka.tls}",
        security_protocol="SASL_SSL",
        username=ADMIN,
        password=Secret(kafka.password),
        ca_file=str(ca_file) if ca_file else None,
        request_timeout=5.0,
    )


async def test_tls(broker: tuple[Encrypted, str, Path]) -> None:
    kafka, host, cert = broker
    for ca_file in (cert, None):
        known = provider(kafka, ca_file)
        try:
            if ca_file is not None and host == "127.0.0.1":
                await _serves(known)
            else:  # the certificate is another host's, or nobody's that is trusted here
                await _is_refused(known)
        finally:
            await known.close()


async def _serves(known: EventsProvider) -> None:
    await World(known).converge(MAIL)  # type: ignore[arg-type]
    assert (await known.prove(MAIL, credential("mail"))).ok
    assert known.env(MAIL, credential("mail"))["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert (await known.check()).ok


async def _is_refused(known: EventsProvider) -> None:
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await known.prove(MAIL, credential("mail"))
    with pytest.raises(Unavailable):
        await World(known).observe([MAIL])  # type: ignore[arg-type]
    assert not (await known.check()).ok
