"""Observing where there is nothing to ask, and a broker that is too old."""

from __future__ import annotations

from typing import Any

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Denied
from norn_reconciler.model.plan import Wanted
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.providers.events import EventsProvider, EventsSection
from norn_reconciler.providers.events.chunks import MAX_RECORDS, chunks, topic_records
from norn_reconciler.providers.events.observe import observe
from norn_reconciler.providers.events.state import Desired, Observed, TopicSpec

PROVIDER = EventsProvider(brokers="kafka:9092")


def wanted(name: str, declared: bool) -> Wanted[Desired]:
    section = {"events": EventsSection.model_validate({"topics": []})}
    app = App(AppName(name), section if declared else {})
    credential = Credential(Secret("s3cret"), CredentialMark("key", 1))
    return Wanted(app.name, PROVIDER.desired(app, credential))


class OldBroker:
    """A broker without the SCRAM requests; any other request is a mistake."""

    username = "admin"

    async def has_scram(self) -> bool:
        return False

    async def ask(self, request: Any, **_: Any) -> Any:
        raise AssertionError(request)


async def test_apps_without_events_ask_the_broker_nothing() -> None:
    name = AppName("web")
    assert await PROVIDER.observe({name: wanted("web", False)}) == {name: Observed()}


async def test_a_broker_without_scram_requests_names_the_version_it_takes() -> None:
    batch = {AppName("web"): wanted("web", False), AppName("mail"): wanted("mail", True)}
    seen = await observe(OldBroker(), batch, ())  # type: ignore[arg-type]
    assert seen[AppName("web")] == Observed()
    error = seen[AppName("mail")]
    assert isinstance(error, Denied)
    assert "Redpanda 25.2" in str(error)


def test_env_has_one_variable_a_topic_and_the_address_for_apps() -> None:
    provider = EventsProvider(brokers="10.0.0.1:9092", advertised="kafka.internal:9093")
    section = EventsSection.model_validate({"topics": ["mail.inbound", "mail.processed"]})
    credential = Credential(Secret("s3cret"), CredentialMark("key", 1))
    assert provider.env(App(AppName("mail-agent"), {"events": section}), credential) == {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.internal:9093",
        "REDPANDA_BROKERS": "kafka.internal:9093",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": "mail-agent",
        "KAFKA_SASL_PASSWORD": "s3cret",
        "KAFKA_TOPICS": "mail.inbound,mail.processed",
        "KAFKA_TOPIC_MAIL_INBOUND": "mail.inbound",
        "KAFKA_TOPIC_MAIL_PROCESSED": "mail.processed",
    }
    assert provider.env(App(AppName("mail-agent"), {}), credential) == {}


def test_chunks_keep_order_and_size() -> None:
    sizes = [700, 700, 700, 5000, 1, 1999, 1]
    cut = list(chunks(sizes, lambda size: size))
    assert cut == [[700, 700], [700], [5000], [1, 1999], [1]]
    assert all(sum(chunk) <= MAX_RECORDS or len(chunk) == 1 for chunk in cut)
    assert list(chunks([], len)) == []
    assert topic_records(TopicSpec("t", 6, None, (("retention.ms", "1"),))) == 8
