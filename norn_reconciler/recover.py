"""What `norn recover` does from beginning to end, where it is more than a request to the writer:
the look that is shown first, and another master key, for which no daemon can be at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from norn_reconciler import oneshot
from norn_reconciler.compose import instance, open_providers, open_store
from norn_reconciler.engine.recovery import Recovery
from norn_reconciler.engine.rekey import Rekeying, rekeyed, rekeying
from norn_reconciler.engine.retrace import in_scope, retrace
from norn_reconciler.engine.telling import log_event
from norn_reconciler.key_at_hand import at_hand, key_file, make
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import KeyMismatch, LeaseHeld, NornError
from norn_reconciler.model.records import Lease, Snapshot
from norn_reconciler.settings import Settings
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store import lease as leases
from norn_reconciler.store.fence import LeaseFence
from norn_reconciler.store.store import PostgresStore

PATIENCE = 5.0  # seconds in which a daemon that only looks gives the lease back
PAUSE = 0.2


async def look_for_recovery(settings: Settings, apps: Sequence[AppName]) -> Recovery:
    """What `norn recover` shows before it asks. Raises NornError for an app that no file asks for,
    KeyMismatch where the passwords cannot be told."""
    async with open_providers(settings, instance(settings)) as providers:
        reading = await oneshot.read(settings, providers)
        if not reading.keyed:
            raise KeyMismatch(
                f"there is no master key ({key_file(settings)}): bring it back first; if it is "
                "lost for good, norn key create makes another: no password fits it, so each is "
                "set anew"
            )
        scope = in_scope(reading.book.entries, apps)
        return await retrace(scope, providers, reading.book, whole=not apps)


async def look_for_new_key(settings: Settings) -> Rekeying:
    """What `norn recover --new-key` shows before it asks. Raises NornError when nothing is lost."""
    async with open_store(settings, "cli") as store:
        return _rekeying(settings, await store.snapshot())


def _rekeying(settings: Settings, snapshot: Snapshot) -> Rekeying:
    key, known = at_hand(settings), snapshot.key_fingerprint
    if known is None:
        raise NornError(
            "norn_db holds no credentials, so there is no key to replace: norn run makes one where "
            "there is none; what is on the servers comes back with norn recover"
        )
    if key is not None and key.fingerprint == known:
        raise NornError(
            f"{key_file(settings)} is the master key of norn_db's credentials ({known}): nothing "
            "is lost. What is due is set by norn run or norn apply; norn rotate APP changes more"
        )
    return rekeying(snapshot, known, key.fingerprint if key is not None else None)


async def new_key(settings: Settings, specs: Specs, digest: str) -> oneshot.Applied:
    """Put the key at hand, or a new one, in the place of the lost one, and converge what norn_db
    has credentials of. digest: of what a person agreed to. A crash after the key's file was made is
    taken up by the same command, any later one by whoever has the lease next."""

    async def acquire(store: PostgresStore) -> tuple[Lease, LeaseFence]:
        return await _between_terms(store, settings.lease_seconds)

    async with oneshot.writer(settings, "recover", acquire) as held:
        snapshot = await held.store.snapshot()
        agreed = _rekeying(settings, snapshot)
        if agreed.digest != digest:
            raise NornError("this has changed since you saw it: run norn recover --new-key again")
        fingerprint = agreed.fingerprint or make(settings).fingerprint
        changes = rekeyed(snapshot, fingerprint)
        await held.store.record(held.lease.epoch, changes)
        for event in changes.events:
            log_event(event)
        work = await held.parts(specs)
        await work.engine.accept(await oneshot.look(work))
        apps = [app for app in in_scope(work.book.entries, ()) if app in agreed.apps]
        if not apps:  # none would mean all
            return oneshot.Applied((), 0, "", work.specs.findings, rejected=False)
        return await oneshot.converge(work, held.store, apps)


async def _between_terms(store: PostgresStore, seconds: float) -> tuple[Lease, LeaseFence]:
    """A daemon that waits for its key takes the lease now and then for a moment, to look. Raises
    NornError for one that is at work."""
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE
    while True:
        try:
            return await leases.acquire(store, seconds)
        except LeaseHeld as busy:
            if clock() > until:
                raise NornError(
                    f"{busy.holder} holds the lease and is at work: it still knows the master key. "
                    "Save the env files, stop it, and type this again"
                ) from busy
        await asyncio.sleep(PAUSE)
