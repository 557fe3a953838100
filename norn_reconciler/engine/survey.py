"""What the services hold beside norn's, joined by name into would-be apps, and what adopting them
would do. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import ServiceError, with_remedy
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.plan import PASSWORD_KEPT, Wanted
from norn_reconciler.model.ports import AnyProvider, SecretSource


@dataclass(frozen=True, slots=True)
class WouldBe:
    """One name that users on one or more services bear. sections, notes: by service; a service with
    notes alone has nothing that a section could say."""

    name: str
    sections: Mapping[str, Mapping[str, object]]
    notes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Holdings:
    """loose: (service, words) of what no user leads to. faults: services that did not answer."""

    apps: tuple[WouldBe, ...] = ()
    loose: tuple[tuple[str, str], ...] = ()
    faults: Mapping[str, ServiceError] = field(default_factory=dict)


async def holdings(
    providers: Mapping[str, AnyProvider],
    inventory: Mapping[tuple[str, AppName], Owned],
    norn_users: Collection[str],
) -> Holdings:
    """Ask each service once. norn_users: names that norn's settings use; theirs is left out."""

    async def one(key: str) -> Sequence[Found] | ServiceError:
        held = {app: owned for (service, app), owned in inventory.items() if service == key}
        try:
            return await providers[key].survey(held)
        except ServiceError as fault:
            return fault

    answers = dict(zip(providers, await asyncio.gather(*map(one, providers)), strict=True))
    faults = {key: a for key, a in answers.items() if isinstance(a, ServiceError)}
    found = {key: a for key, a in answers.items() if not isinstance(a, ServiceError)}
    return Holdings(
        tuple(joined(found, norn_users)),
        tuple((key, text) for key, all_ in found.items() for f in all_ if not f.user
              for text in f.notes),
        faults,
    )  # fmt: skip


def joined(found: Mapping[str, Iterable[Found]], norn_users: Collection[str]) -> list[WouldBe]:
    """One for each name, in order. Pure."""
    sections: dict[str, dict[str, Mapping[str, object]]] = {}
    notes: dict[str, dict[str, tuple[str, ...]]] = {}
    for key, several in found.items():
        for one in several:
            if not one.user or one.user in norn_users:
                continue
            sections.setdefault(one.user, {})
            if one.section is not None:
                sections[one.user][key] = one.section
            notes.setdefault(one.user, {})[key] = one.notes
    return [WouldBe(name, sections[name], notes[name]) for name in sorted(sections)]


async def adopting(
    apps: Iterable[App], providers: Mapping[str, AnyProvider], secrets: SecretSource
) -> Mapping[AppName, Mapping[str, tuple[str, ...]]]:
    """What adopting each would do: app → service → lines, as `norn adopt` shows them. A service
    that does not answer any more says so in its place."""
    lines: dict[AppName, dict[str, tuple[str, ...]]] = {app.name: {} for app in apps}

    async def one(key: str, provider: AnyProvider) -> None:
        wanted = {
            app.name: Wanted(app.name, provider.desired(app, secrets.credential(app.name, key, 1)))
            for app in apps
            if key in app.sections
        }
        if not wanted:
            return
        try:
            seen = await provider.observe(wanted)
        except ServiceError as fault:
            seen = dict.fromkeys(wanted, fault)
        for name, want in wanted.items():
            lines[name][key] = _lines(provider, want, seen[name])

    await asyncio.gather(*(one(key, provider) for key, provider in providers.items()))
    return lines


def _lines(provider: AnyProvider, want: Wanted[object], seen: object) -> tuple[str, ...]:
    if isinstance(seen, ServiceError):
        return (with_remedy(f"cannot be told: {seen}", seen.remedy),)
    rows = provider.adoptable(want, seen)
    plan = provider.plan(Wanted(want.app, want.desired, rows), seen)
    return (
        *(f"adopt {held.kind} {held.name}" for held in rows.values()),
        *(action.summary() for action in plan.actions),
        *(
            f"{p.severity.value}: {with_remedy(p.message, p.remedy)}"
            for p in plan.problems
            if p.reason != PASSWORD_KEPT  # of every adoption, so the spec's head says it once
        ),
    )
