"""What becomes of what norn holds of an app, and what would be lost by it. Pure but for `weighed`,
which reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from norn_reconciler.engine.digest import short
from norn_reconciler.engine.ledger import Ledger
from norn_reconciler.engine.preview import Preview
from norn_reconciler.model import trash
from norn_reconciler.model.app import App, AppName, Deletion
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import DUE
from norn_reconciler.model.stakes import Stake, Weighs
from norn_reconciler.model.teardown import Destroys


class Becomes(StrEnum):
    """CLOSED: no data; access to it goes. STAYS: shut, for as long as nobody disposes of it.
    TRASH: put aside, then gone. GONE: at once, or what is left of its time in the trash."""

    CLOSED = "closed"
    STAYS = "stays"
    TRASH = "trash"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Fate:
    """One object's. policy: what the app's spec said last. copied: whether a verified copy is made
    before it goes. gone_from: when its time in the trash is over; None where it is not in it.
    stake: what is in it, None where nobody looked or it is not there."""

    app: AppName
    service: str
    held: Held
    policy: Deletion
    becomes: Becomes
    copied: bool
    gone_from: datetime | None = None
    stake: Stake | None = None

    @property
    def destroys(self) -> bool:
        return self.becomes in {Becomes.TRASH, Becomes.GONE}

    @property
    def bound(self) -> tuple[object, ...]:
        """What a person agrees to: all that does not move by itself."""
        held = self.held
        return (
            self.app, self.service, held.kind, held.name, held.server_id, held.origin,
            self.policy, self.becomes, self.copied,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """A removal. closing: what takes access away. grace, kept: seconds until that begins, and in
    the trash. faults: services that did not say what is there."""

    app: AppName
    fates: Sequence[Fate]
    closing: Preview
    faults: Mapping[str, ServiceError]
    grace: float
    kept: float

    @property
    def digest(self) -> str:
        """Of exactly this removal; how much is in it moves by itself, and is not bound."""
        return short("remove", self.app, [f.bound for f in self.fates], self.closing.digest)


def fates(
    ledger: Ledger, app: AppName, services: Mapping[str, AnyProvider], kept: float
) -> Sequence[Fate]:
    """Once no file asks for `app`. kept: seconds in the trash."""
    found = []
    for key, provider in services.items():
        if not isinstance(provider, Destroys):
            continue
        word = ledger.service(key, app).deletion
        for _, held in sorted(ledger.owned(key, app).items()):
            policy = trash.policy(held) if held.state is HeldState.RETAINED else word
            becomes, since = _becomes(held, policy, held.kind in provider.data), trash.since(held)
            when = since + timedelta(seconds=kept) if since and becomes is Becomes.GONE else None
            found.append(Fate(app, key, held, policy, becomes, provider.copied, when))
    return found


def _becomes(held: Held, policy: Deletion, data: bool) -> Becomes:
    if not data:
        return Becomes.CLOSED
    if held.origin is not Origin.MADE:
        return Becomes.STAYS
    if trash.since(held) is not None or trash.BESIDE in held.settings:
        return Becomes.GONE
    return {Deletion.TRASH: Becomes.TRASH, Deletion.DELETE: Becomes.GONE}.get(policy, Becomes.STAYS)


def ends(
    ledger: Ledger, apps: Sequence[AppName], services: Mapping[str, AnyProvider], kept: float
) -> Sequence[Fate]:
    """What of `apps` is on its way to its end, since no spec names it."""
    found = []
    for app in apps:
        entry = ledger.entry(app)
        wanted = entry.app if entry is not None else App(app, {})
        found += [
            fate
            for fate in fates(ledger, app, services, kept)
            if fate.destroys
            and not trash.asked(wanted, fate.service, fate.held, ledger.owned(fate.service, app))
        ]
    return found


async def weighed(
    found: Sequence[Fate],
    whose: Mapping[AppName, App],
    ledger: Ledger,
    services: Mapping[str, AnyProvider],
    keyed: bool,
) -> tuple[Sequence[Fate], Mapping[tuple[AppName, str], ServiceError]]:
    """With what is in each. whose: apps as their spec says, where one still does. keyed: whether
    the master key is at hand."""
    parts: dict[tuple[AppName, str], dict[tuple[str, str], Held]] = {}
    for fate in found:
        if fate.becomes is not Becomes.CLOSED:
            parts.setdefault((fate.app, fate.service), {})[fate.held.key] = fate.held
    stakes: dict[tuple[AppName, str, str, str], Stake] = {}
    faults: dict[tuple[AppName, str], ServiceError] = {}

    async def one(service: str) -> None:
        """One app after the other: a server is not to feel that somebody looks."""
        provider = services[service]
        assert isinstance(provider, Weighs)
        for (app, key), owned in parts.items():
            if key != service:
                continue
            mark = ledger.service(service, app).mark
            known = keyed and mark is not None and mark.fingerprint != DUE
            credential = ledger.credential(app, service) if known else None
            try:
                seen = await provider.weigh(whose.get(app, App(app, {})), owned, credential)
            except ServiceError as fault:
                faults[app, service] = fault
                continue
            stakes.update({(app, service, *stake.key): stake for stake in seen})

    asked = {service for _, service in parts if isinstance(services[service], Weighs)}
    await asyncio.gather(*(one(service) for service in asked))
    return [replace(f, stake=stakes.get((f.app, f.service, *f.held.key))) for f in found], faults
