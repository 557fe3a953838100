"""Names and settings that a broker, or what comes with it, keeps for itself. What norn holds for
the app already stays: this is about what is asked for from now on. Pure."""

from __future__ import annotations

from dataclasses import replace

from norn_reconciler.model.inventory import Held
from norn_reconciler.providers.events.state import TopicSpec

_KEYS = ("redpanda.", "confluent.")


def reserved_name(topic: str) -> bool:
    """`_schemas`, `_redpanda.audit_log`, `_confluent-metrics`, …"""
    return topic.startswith("_")


def reserved_key(key: str) -> bool:
    """Tiered storage, schema checks, replicas in other clusters: they cost what all apps share."""
    return key.startswith(_KEYS)


def without_reserved(spec: TopicSpec, held: Held | None) -> tuple[TopicSpec, tuple[str, ...]]:
    """The topic without keys that it may not set, and those keys."""
    ours = held.settings if held is not None else {}
    refused = tuple(key for key, _ in spec.config if reserved_key(key) and key not in ours)
    kept = tuple((key, value) for key, value in spec.config if key not in refused)
    return replace(spec, config=kept), refused
