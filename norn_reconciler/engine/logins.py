"""What a round learns by logging in as its apps: whether a new password works, whether what must be
refused is refused, and whether a password that seems changed is a later one of norn's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from norn_reconciler import logs
from norn_reconciler.engine.case import Case
from norn_reconciler.engine.ledger import Ledger
from norn_reconciler.engine.probes import Probes
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import NornError, Rejected, ServiceError
from norn_reconciler.model.outcome import NEIGHBOUR_OPEN, Proof
from norn_reconciler.model.ports import AnyProvider

AT_ONCE = 24  # apps that are logged in as at once; a provider may take fewer
AHEAD = 8  # generations of a password that are tried before it counts as somebody else's


def surprised(service: str, app: AppName, fault: Exception) -> ServiceError:
    """A defect of ours, kept to one app: it must not stop the fleet. The text of an error that is
    not norn's own is not repeated: a driver's may quote a statement, and the password in it."""
    if isinstance(fault, ServiceError):
        return fault
    name = type(fault).__name__
    if isinstance(fault, NornError):
        return Rejected(service, f"internal: {name}: {fault}")
    logs.get().error(logs.LANE_FAULTED, service=service, app=app, exc_info=fault)
    return Rejected(service, f"internal: {name}")


class Logins:
    """One lane's. clock: monotonic seconds."""

    def __init__(
        self,
        provider: AnyProvider,
        ledger: Ledger,
        probes: Probes,
        clock: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._probes = probes
        self._clock = clock

    async def look_ahead(self, cases: Sequence[Case]) -> None:
        """Before a password is taken for changed by somebody: it may be a later one of norn's own,
        of which an older norn_db that was put back knows nothing."""

        async def one(case: Case) -> None:
            app, key = case.wanted.app, self._provider.key
            mark = self._ledger.service(key, app).mark
            if mark != case.wanted.applied:
                case.moved("norn_db knows of another password by now")
                return
            if mark is None or mark != case.login.mark:
                return  # it is to be set anyway: the first one, or what a person asked for
            later = [
                self._ledger.derived(app, key, mark.generation + n) for n in range(1, AHEAD + 1)
            ]
            try:
                found = await self._provider.fits(case.entry.app, case.observed, later)
            except Rejected:
                return  # it takes any password: that says nothing of this one
            except Exception as fault:  # as in _wanted
                case.error = case.error or surprised(self._provider.key, app, fault)
                return
            if found is not None:
                case.overtaken(self._provider.title, found.mark, mark)

        await _few_at_once(one, cases)

    def _has_new_credential(self, case: Case) -> bool:
        declared = self._provider.key in case.entry.app.sections
        # What waits for another app can't work yet: the next round sets it again.
        return declared and not case.behind and any(a.sets_credential for a in case.applied.done)

    def _there(self, also: Iterable[AppName]) -> Mapping[AppName, App]:
        return self._ledger.neighbours(self._provider.key, frozenset(also))

    async def prove(self, acting: Mapping[AppName, Case]) -> None:
        """Log in with each new credential, and try at once what must be refused."""
        new = [case for case in acting.values() if self._has_new_credential(case)]
        if new:
            there = self._there(n for n, c in acting.items() if c.error is None)
            await _few_at_once(partial(self._prove_one, there=there), new)

    async def _prove_one(self, case: Case, there: Mapping[AppName, App]) -> None:
        """Log in with a new credential: one that does not work is a fault of the round."""
        try:
            if case.applied.proven:
                case.proof = Proof(True, 0.0)
            else:
                case.proof = await self._provider.prove(case.entry.app, case.login)
        except Exception as fault:  # as in _wanted
            case.error = case.error or surprised(self._provider.key, case.wanted.app, fault)
            return
        if case.proof.ok:
            await self._trespass(case, there)
        else:
            case.error = case.error or Rejected(
                self._provider.key,
                f"the login with the delivered values failed: {case.proof.reason}",
            )

    async def _trespass(self, case: Case, there: Mapping[AppName, App]) -> None:
        """Try what must be refused; there: whose place may be tried, ordered by name."""
        app = case.entry.app
        case.unknown = ""
        try:
            chosen = self._probes.neighbour(app.name, tuple(there))
            neighbour = there[chosen] if chosen is not None else None
            case.walls = await self._provider.trespass(app, case.login, neighbour)
            self._probes.tried(app.name, chosen, case.walls.kind == NEIGHBOUR_OPEN)
        except Exception as fault:  # as in _wanted
            case.unknown = str(surprised(self._provider.key, app.name, fault))

    async def probe(self, cases: Mapping[AppName, Case]) -> None:
        """Where all is as wanted: its own place works for the app, and no other's does. Where a
        look shows that it is open, nobody has to log in to tell."""
        whole = {name for name, case in cases.items() if self._whole(case)}
        doors = {n: door for n, case in cases.items() if (door := case.plan.open) is not None}
        about = {
            name: doors[name].message if name in doors else case.digest
            for name, case in cases.items()
            if name in whole or name in doors
        }
        for name in cases.keys() - whole:
            cases[name].walls, cases[name].unknown = None, ""  # of a state that did not last
        for name in about:
            if cases[name].acted or (name in doors and self._ledger.verified(name)):
                self._probes.at_once(name)
        due = self._probes.due(about, self._ledger.verified, self._clock())
        for name in due:
            if (door := doors.get(name)) is not None:
                cases[name].walls = Proof(False, 0.0, door.message, door.reason)
        await self._try([cases[name] for name in due if name in whole], whole)
        await self.look_ahead([cases[name] for name in due if cases[name].password_lost])
        now = self._clock()
        for name in due:
            case, found = cases[name], cases[name].verification
            # One that is overtaken is tried in each round: nothing else shows that it still is.
            of = "" if case.older else about[name]
            self._probes.done(name, of, bool(found and found.ok), now)

    async def _try(self, cases: Iterable[Case], whole: Iterable[AppName]) -> None:
        """What did not hold while the round was under way is tried once more."""
        untried = [case for case in cases if not (case.walls and case.walls.ok)]
        if untried:
            await _few_at_once(partial(self._try_one, there=self._there(whole)), untried)

    async def _try_one(self, case: Case, there: Mapping[AppName, App]) -> None:
        """As `_prove_one`, of a password that was proven before: no answer is no fault."""
        app = case.entry.app
        if case.proof is None:
            try:
                case.proof = await self._provider.prove(app, case.login)
            except Exception as fault:  # as in _wanted
                case.unknown = str(surprised(self._provider.key, app.name, fault))
                return
        if case.proof.ok:
            await self._trespass(case, there)

    def _whole(self, case: Case) -> bool:
        return (
            case.error is None
            and case.waits is None
            and not case.behind
            and not case.plan.actions
            and case.plan.blocked is None
            and case.plan.open is None
            and self._provider.key in case.entry.app.sections
            and case.wanted.applied is not None  # an adopted user's password is not norn's to try
        )


async def _few_at_once(work: Callable[[Case], Awaitable[None]], cases: Sequence[Case]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> None:
        async with turn:
            await work(case)

    await asyncio.gather(*(one(case) for case in cases))
