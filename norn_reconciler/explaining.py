"""What `norn explain` shows: a removal, before it is made. Nothing is written anywhere."""

from __future__ import annotations

from dataclasses import replace

from norn_reconciler import oneshot
from norn_reconciler.compose import instance, open_providers
from norn_reconciler.engine.explain import Explanation, fates, weighed
from norn_reconciler.engine.preview import preview
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.settings import Settings


async def removal(settings: Settings, app: AppName) -> Explanation:
    """Raises NornError for an app that nobody knows."""
    kept = oneshot.kept(settings)
    async with open_providers(settings, instance(settings)) as providers:
        reading = await oneshot.read(settings, providers, tell=False)
        book = reading.book
        entry = book.entries.get(app)
        if entry is None and app not in book.records:
            raise NornError(f"no app {app} is known: is its file in the specs folder?")
        whose = {app: entry.app} if entry is not None else {}
        if entry is not None:
            book.entries[app] = replace(entry, app=App(app, {}), leaving=True)
        closing = await preview(providers, book, [app])
        found, faults = await weighed(
            fates(book, app, providers, kept), whose, book, providers, reading.keyed
        )
    silent = {service: fault for (_, service), fault in faults.items()}
    return Explanation(app, found, closing, silent, settings.grace_seconds, kept)
