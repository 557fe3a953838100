"""Looks for what norn_db has lost: inventory rows, and which password of an app each server has.
Reads only, but for logins as the apps."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from norn_reconciler.engine.ledger import Ledger, wanted_of
from norn_reconciler.engine.recovery import Part, Recovery
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError, ServiceError
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.plan import Action, Plan, Problem, Wanted
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import ServiceRecord
from norn_reconciler.model.secret import DUE, CredentialMark

GENERATIONS = 50  # of a password that are tried, from the first one that norn_db does not exclude
LOOKS = 16  # apps whose passwords are tried at once

News = tuple[Owned, CredentialMark | None]  # rows and mark that norn_db lacks


@dataclass(slots=True)
class _Look:
    """One app on one service, on its way."""

    provider: AnyProvider
    wanted: Wanted[object]
    record: ServiceRecord
    observed: object = None
    fault: ServiceError | None = None
    fit: CredentialMark | None = None  # what the server has, where it is one of norn's

    @property
    def key(self) -> str:
        return self.provider.key

    def news(self, generation: int) -> News:
        """Rows and mark that norn_db lacks. generation: of a password that is set anew."""
        rows = self.provider.recoverable(self.wanted, self.observed, self.fit is not None)
        known = self.record.mark
        if self.fit is not None:
            later = known is None or self.fit.generation > known.generation
            return rows, self.fit if later else None
        # Where norn_db knows the user and no password of it, it was adopted and keeps its own.
        unknown = bool(rows) and (known is not None or not self.wanted.owned)
        return rows, CredentialMark(DUE, generation) if unknown else None


def in_scope(entries: Mapping[AppName, Entry], asked: Collection[AppName]) -> list[AppName]:
    """The apps to look at: those asked for, or all that files ask for. Raises NornError for one
    that no file asks for."""
    there = {name for name, e in entries.items() if e.provisioned and not e.leaving}
    if unknown := sorted(set(asked) - there):
        raise NornError(
            f"no file asks for {', '.join(unknown)}: put its spec back first, then recover"
        )
    return sorted(asked or there)


async def retrace(
    apps: Iterable[AppName],
    providers: Mapping[str, AnyProvider],
    ledger: Ledger,
    *,
    whole: bool = False,
) -> Recovery:
    """Look at `apps` on every service for what norn_db does not know. Logs in as the app where the
    server does not show which password it has. whole: `apps` are all that files ask for; look for
    what nobody asks for, too."""
    looks = {
        (app, key): _Look(provider, wanted, ledger.service(key, app))
        for app in apps
        for key, provider in providers.items()
        if (wanted := wanted_of(provider, ledger, app)) is not None
    }
    await _observe(looks.values(), providers)
    await _try_passwords(looks.values(), ledger)
    news = _news(looks.values())
    then = dict(looks)
    for at, (rows, mark) in news.items():
        then[at] = replace(looks[at], wanted=_taken_over(looks[at], rows, mark, ledger))
    await _observe([then[at] for at in news], providers)  # what is asked depends on what is owned
    parts: dict[AppName, dict[str, Part]] = {}
    problems: dict[AppName, dict[str, Problem]] = {}
    faults: dict[AppName, dict[str, ServiceError]] = {}
    for (app, key), look in then.items():
        plan = _plan(look)
        if plan is not None and (app, key) in news:
            before = looks[app, key]
            part = Part(*news[app, key], plan, before.wanted.owned, before.record)
            parts.setdefault(app, {})[key] = part
        if plan is not None and plan.blocked is not None:
            problems.setdefault(app, {})[key] = plan.blocked
        if look.fault is not None:
            faults.setdefault(app, {})[key] = look.fault
    untouched = await _untouched(then, providers, ledger) if whole else {}
    return Recovery(parts, problems, faults, untouched)


async def _observe(looks: Iterable[_Look], providers: Mapping[str, AnyProvider]) -> None:
    every = list(looks)

    async def one(provider: AnyProvider) -> None:
        mine = [look for look in every if look.provider is provider]
        if not mine:
            return
        try:
            seen = await provider.observe({look.wanted.app: look.wanted for look in mine})
        except ServiceError as fault:
            seen = dict.fromkeys([look.wanted.app for look in mine], fault)
        for look in mine:
            found = seen[look.wanted.app]
            if isinstance(found, ServiceError):
                look.fault = found
            else:
                look.observed = found

    await asyncio.gather(*(one(provider) for provider in providers.values()))


async def _try_passwords(looks: Iterable[_Look], ledger: Ledger) -> None:
    turn = asyncio.Semaphore(LOOKS)

    async def one(mine: Sequence[_Look]) -> None:
        async with turn:
            await _try_app(mine, ledger)

    await asyncio.gather(*(one(mine) for mine in _by_app(looks).values()))


async def _try_app(mine: Sequence[_Look], ledger: Ledger) -> None:
    """One service after the other: an app's passwords move together, so what fits on one is tried
    first on the next."""
    likely: list[int] = []
    for look in mine:
        app, known = look.wanted.app, look.record.mark
        entry = ledger.entry(app)
        if look.fault is not None or entry is None or look.key not in entry.app.sections:
            continue
        first = known.generation if known is not None else 1
        if known is not None and known.fingerprint == DUE:
            first += 1  # it is on its way to this one, and the lanes see to that
        order = dict.fromkeys([*likely, *range(first, first + GENERATIONS)])
        tried = [ledger.derived(app, look.key, n) for n in order if n >= first]
        try:
            fit = await look.provider.fits(entry.app, look.observed, tried)
        except ServiceError as fault:
            look.fault = fault
            continue
        if fit is not None:
            look.fit = fit.mark
            likely.append(fit.mark.generation)


def _by_app(looks: Iterable[_Look]) -> Mapping[AppName, list[_Look]]:
    found: dict[AppName, list[_Look]] = {}
    for look in looks:
        found.setdefault(look.wanted.app, []).append(look)
    return found


def _news(looks: Iterable[_Look]) -> dict[tuple[AppName, str], News]:
    found: dict[tuple[AppName, str], News] = {}
    for app, mine in _by_app(looks).items():
        marks = [m for look in mine for m in (look.fit, look.record.mark) if m is not None]
        generation = max((mark.generation for mark in marks), default=1)
        for look in mine:
            if look.fault is None:
                rows, mark = look.news(generation)
                if rows or mark is not None:
                    found[app, look.key] = (rows, mark)
    return found


def _taken_over(
    look: _Look, rows: Owned, mark: CredentialMark | None, ledger: Ledger
) -> Wanted[object]:
    """What is wanted of the app once norn_db has what was found."""
    wanted, applied = look.wanted, mark or look.record.mark
    entry = ledger.entry(wanted.app)
    assert entry is not None, "it was looked at because there is one"
    generation = applied.generation if applied is not None else 1
    credential = ledger.derived(wanted.app, look.key, generation)
    desired = look.provider.desired(entry.app, credential)
    return Wanted(wanted.app, desired, {**wanted.owned, **rows}, applied)


def _plan(look: _Look) -> Plan[Action] | None:
    if look.fault is not None or look.observed is None:
        return None
    try:
        return look.provider.plan(look.wanted, look.observed)
    except ServiceError as fault:
        look.fault = fault
        return None


async def _untouched(
    looks: Mapping[tuple[AppName, str], _Look],
    providers: Mapping[str, AnyProvider],
    ledger: Ledger,
) -> Mapping[str, Mapping[AppName, frozenset[ObjectKey]]]:
    """A service that does not answer has nothing to show; the looks say that it does not."""

    async def one(key: str, provider: AnyProvider) -> Mapping[AppName, frozenset[ObjectKey]]:
        try:
            marked = await provider.marked()
        except ServiceError:
            return {}
        found: dict[AppName, frozenset[ObjectKey]] = {}
        for app, keys in marked.items():
            known = set(ledger.owned(key, app))
            look = looks.get((app, key))
            if look is not None and look.fault is None:
                known |= {*look.wanted.owned, *provider.adoptable(look.wanted, look.observed)}
            elif look is not None:
                continue
            if rest := keys - known:
                found[app] = rest
        return found

    found = await asyncio.gather(*(one(key, p) for key, p in providers.items()))
    return {key: by for key, by in zip(providers, found, strict=True) if by}
