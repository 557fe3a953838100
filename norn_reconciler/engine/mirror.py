"""norn_db in memory: what lanes read without asking. It moves only after norn_db took the same
rows, and whoever changes what is in force holds `turn`: nothing is computed from what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from norn_reconciler.engine import status
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.migrations import Migrated
from norn_reconciler.model.moves import giver
from norn_reconciler.model.ports import SecretSource
from norn_reconciler.model.records import AppRecord, Changes, ServiceRecord, Snapshot, Store
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.status import Event


class Mirror:
    """entries: what is in force, by app. records: every app norn_db knows, removed ones included.
    services: keys of all services there are. moved: set whenever inventory rows have changed. busy:
    apps that the lanes leave alone, since long work is at them. migrated: each app's last
    migration."""

    def __init__(self, store: Store, secrets: SecretSource, services: frozenset[str]) -> None:
        self._store = store
        self._secrets = secrets
        self._keys = services
        self._inventory: dict[tuple[str, AppName], Owned] = {}
        self._services: dict[tuple[str, AppName], ServiceRecord] = {}
        self.turn = asyncio.Lock()
        self.moved = asyncio.Event()
        self.epoch = 0
        self.entries: dict[AppName, Entry] = {}
        self.records: dict[AppName, AppRecord] = {}
        self.busy: set[AppName] = set()
        self.migrated: dict[AppName, Migrated] = {}

    def load(self, snapshot: Snapshot, epoch: int) -> None:
        """Start from what norn_db holds."""
        self.epoch = epoch
        self.records = dict(snapshot.apps)
        self.migrated = dict(snapshot.migrated)
        self._inventory = {
            (service, app): owned
            for service, apps in snapshot.inventory.items()
            for app, owned in apps.items()
        }
        self._services = {
            (service, app): row
            for service, apps in snapshot.services.items()
            for app, row in apps.items()
        }

    def suppose(self, inventory: Mapping[tuple[str, AppName], Owned]) -> None:
        """As if norn_db had taken these rows: for whoever only shows what would be."""
        self._inventory.update(inventory)

    def entry(self, app: AppName) -> Entry | None:
        return self.entries.get(app)

    def left_alone(self, app: AppName) -> bool:
        return app in self.busy

    def asked_for(self, app: AppName) -> Entry:
        """Raises NornError for an app that nothing is to be done with."""
        entry = self.entries.get(app)
        if entry is None or entry.leaving:
            raise NornError(f"no file asks for {app}")
        if entry.record.paused:
            raise NornError(f"{app} is paused: norn resume {app}")
        return entry

    def held_on(self, app: AppName) -> frozenset[str]:
        """Services that norn has rows of it for, whatever its file says."""
        return frozenset(
            service for (service, name), rows in self._inventory.items() if name == app and rows
        )

    def owned(self, service: str, app: AppName) -> Owned:
        return self._inventory.get((service, app), {})

    def inventory(self) -> Mapping[tuple[str, AppName], Owned]:
        """All rows as of now; a copy, safe to read in another thread."""
        return dict(self._inventory)

    def service(self, service: str, app: AppName) -> ServiceRecord:
        return self._services.get((service, app), ServiceRecord())

    def credential(self, app: AppName, service: str) -> Credential:
        mark = self.service(service, app).mark
        return self.derived(app, service, mark.generation if mark else 1)

    def derived(self, app: AppName, service: str, generation: int) -> Credential:
        return self._secrets.credential(app, service, generation)

    def verified(self, app: AppName) -> bool:
        return status.verified(self.records.get(app))

    def kin(self, service: str, apps: Collection[AppName]) -> set[AppName]:
        found = {
            name
            for (key, name), owned in self._inventory.items()
            if key == service and any(giver(held) in apps for held in owned.values())
        } & self.entries.keys()
        for name, entry in self.entries.items():
            section = entry.app.sections.get(service)
            readers = set(section.shares()) if section is not None else set()
            if name in apps:
                found |= readers & self.entries.keys()
            elif not readers.isdisjoint(apps):
                found.add(name)
        return found

    def concerned(self, entry: Entry) -> frozenset[str]:
        """Services that have, or should have, something of the app."""
        if not entry.provisioned:
            return frozenset()
        app = entry.app.name
        return frozenset(k for k in self._keys if k in entry.app.sections or self.owned(k, app))

    async def claim(
        self,
        service: str,
        rows: Mapping[AppName, Mapping[ObjectKey, Held]],
        events: Sequence[Event],
    ) -> None:
        """Write intent rows, and what was found before anything is done about it. Raises
        LeaseLost, StoreUnavailable."""
        async with self.turn:  # whoever writes whole inventories must not lose these rows
            await self._store.claim(self.epoch, service, rows, events)
            for app, fresh in rows.items():
                self._inventory[service, app] = {**self.owned(service, app), **fresh}

    async def write(self, changes: Changes) -> None:
        """Write `changes`, then move the mirror. Call it with `turn` held."""
        await self._store.record(self.epoch, changes)
        for record in changes.apps:
            self.records[record.app] = record
            if (entry := self.entries.get(record.app)) is not None:
                self.entries[record.app] = replace(entry, record=record)
        self._inventory.update(changes.inventory)
        if changes.inventory:
            self.moved.set()
        self._services.update(changes.services)
        for old, new in changes.renamed.items():
            if (last := self.migrated.pop(old, None)) is not None:
                self.migrated[new] = replace(last, app=new)
        self.migrated.update({m.app: m for m in changes.migrated})
        for app in changes.forgotten:
            self.records.pop(app, None)
            self.entries.pop(app, None)
            self.migrated.pop(app, None)
            for rows in (self._inventory, self._services):
                for key in [k for k in rows if k[1] == app]:
                    rows.pop(key)
