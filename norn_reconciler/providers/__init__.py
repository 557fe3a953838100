"""The registry: one line a service. Importing it imports no driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from norn_reconciler.model.app import Section
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.providers import build
from norn_reconciler.settings import Settings


@dataclass(frozen=True, slots=True)
class Registration:
    """key: under `services:`, and the package's name. model: its section's class. configured: the
    provider for these settings and this instance's name, or None when no setting names the service.
    setting: what to set then, for people."""

    key: str
    title: str
    condition: str
    model: str
    setting: str
    configured: Callable[[Settings, str], AnyProvider | None]

    def section(self) -> type[Section]:
        section: type[Section] = getattr(self._module(), self.model)
        return section

    def refused_app_name(self, app: str, reserved: frozenset[str]) -> str | None:
        """Why no app of this name can use the service, or None. reserved: the settings' users."""
        refused: str | None = self._module().refused_app_name(app, reserved)
        return refused

    def _module(self) -> Any:
        return import_module(f"norn_reconciler.providers.{self.key}.section")


REGISTRY: Mapping[str, Registration] = {
    r.key: r
    for r in (
        Registration(
            "postgres", "PostgreSQL", "DatabaseReady", "PostgresSection", "NORN_POSTGRES_URL",
            build.postgres,
        ),
        Registration(
            "kv", "Valkey", "KeyspaceReady", "KvSection", "NORN_VALKEY_URL", build.kv
        ),
        Registration(
            "events", "Redpanda", "TopicsReady", "EventsSection", "NORN_REDPANDA_BROKERS",
            build.events,
        ),
    )
}  # fmt: skip
