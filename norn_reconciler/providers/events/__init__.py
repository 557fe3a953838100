"""Topics, SCRAM users and ACLs on Redpanda or Apache Kafka, through the Kafka API."""

from norn_reconciler.providers.events.provider import EventsProvider
from norn_reconciler.providers.events.section import EventsSection, refused_app_name

__all__ = ["EventsProvider", "EventsSection", "refused_app_name"]
