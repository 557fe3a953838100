"""What norn_db forgets, no provider remembers: its users and topics are nobody's from then on."""

from __future__ import annotations

from typing import Any

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Held
from norn_reconciler.model.plan import Wanted
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.providers.events import EventsProvider
from norn_reconciler.providers.events import provider as events
from norn_reconciler.providers.kv import observe as kv
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.provider import KvProvider

CREDENTIAL = Credential(Secret("s3cret"), CredentialMark("key", 1))


def batch(provider: Any, *apps: str, **owned: list[Held]) -> dict[AppName, Wanted[Any]]:
    return {
        AppName(app): Wanted(
            AppName(app),
            provider.desired(App(AppName(app), {}), CREDENTIAL),
            {held.key: held for held in owned.get(app, [])},
        )
        for app in apps
    }


async def test_a_valkey_user_of_a_forgotten_app_is_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = KvProvider(Endpoint(Secret("valkey://norn:pw@127.0.0.1:6379"), None))
    known: list[set[str]] = []

    async def observe(client: Any, wanted: Any, users: set[str]) -> dict[AppName, Any]:
        known.append(set(users))
        return {}

    monkeypatch.setattr(kv, "observe", observe)
    await provider.observe(batch(provider, "gone", "here", gone=[Held("acl-user", "gone")]))
    provider.forget(AppName("gone"))
    provider.forget(AppName("nobody"))
    await provider.observe(batch(provider, "here"))
    assert known == [{"norn", "gone"}, {"norn"}]


async def test_topics_and_the_kafka_user_of_a_forgotten_app_are_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = EventsProvider(brokers="kafka:9092")
    known: list[tuple[set[str], set[str]]] = []

    async def observe(
        client: Any, wanted: Any, apps: set[str], topics: set[str]
    ) -> dict[AppName, Any]:
        known.append((set(apps), set(topics)))
        return {}

    monkeypatch.setattr(events, "observe", observe)
    rows = [Held("scram-user", "gone"), Held("topic", "mail")]
    await provider.observe(batch(provider, "gone", "here", gone=rows))
    provider.forget(AppName("gone"))
    provider.forget(AppName("nobody"))
    await provider.observe(batch(provider, "here"))
    assert known == [({"gone"}, {"mail"}), (set(), set())]
