"""Does the actions of a batch, phase by phase. What fits a transaction goes out as one message for
all apps; when that fails, each app goes by itself, so that only the one at fault is left behind,
and of it only what is refused or would need that: the rest is mended all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg.sql import SQL, Composed

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import (
    Conflict,
    Denied,
    LeaseLost,
    NornError,
    Rejected,
    ServiceError,
    Unavailable,
)
from norn_reconciler.model.outcome import Applied
from norn_reconciler.model.plan import Step
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.secret import Credential
from norn_reconciler.providers.postgres import render, verifier
from norn_reconciler.providers.postgres.actions import Phase, PostgresAction
from norn_reconciler.providers.postgres.client import CONNECTIONS, AdminClient, Session
from norn_reconciler.providers.postgres.database_actions import (
    AllowConnections,
    CreateDatabase,
    CreateExtension,
    DropInvalidDatabase,
    InsideAction,
    RenameDatabase,
    SealDatabase,
)
from norn_reconciler.providers.postgres.faults import DUPLICATES, translate
from norn_reconciler.providers.postgres.reader_actions import (
    AdmitReader,
    CreateGroup,
    LetGroupConnect,
    OpenToReaders,
)
from norn_reconciler.providers.postgres.remedies import remedy
from norn_reconciler.providers.postgres.role_actions import (
    CreateRole,
    JoinRole,
    RenameRole,
    SetPassword,
)
from norn_reconciler.providers.postgres.state import INVALID, SERVICE

_LOGINS = 8  # at once
_WAVE = 16  # databases made before their logins begin
# Not fit for a shared transaction.
_ALONE = (RenameDatabase, CreateDatabase, DropInvalidDatabase, InsideAction)
_WITNESSED = (CreateRole, CreateGroup)  # made with a comment that names their app
# Without these, nothing that follows could succeed.
_GROUND = (RenameRole, JoinRole, RenameDatabase, CreateRole)
# These make room or let somebody in, and need all that precedes them: not while anything that shuts
# somebody out was refused.
_OPENING = (
    CreateDatabase,
    SealDatabase,
    AllowConnections,
    CreateExtension,
    OpenToReaders,
    LetGroupConnect,
    AdmitReader,
)
# Without these, nobody can log in to do what is done inside.
_ENTRY = (CreateDatabase, SealDatabase, AllowConnections, SetPassword)

Verifiers = Mapping[Credential | None, str]
Inside = Callable[[InsideAction, bool], Awaitable[None]]
Rename = Callable[[RenameDatabase], Awaitable[None]]


@dataclass(slots=True)
class _Progress:
    """One app within one apply. error: the first one; the steps tell of all. ended: nothing more is
    tried. fresh: its role was made by this very apply."""

    app: AppName
    plan: tuple[PostgresAction, ...]
    done: list[PostgresAction] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    error: ServiceError | None = None
    ended: bool = False
    proven: bool = False
    fresh: bool = False

    def succeeded(self, actions: Iterable[PostgresAction], began: float) -> None:
        for action in actions:
            self.done.append(action)
            self.steps.append(Step(action.summary(), "ok", _ms_since(began)))

    def made(self, actions: Sequence[PostgresAction], began: float) -> None:
        """The server did them just now; none was there before."""
        self.succeeded(actions, began)
        self.fresh = self.fresh or any(isinstance(action, CreateRole) for action in actions)

    def failed(self, action: PostgresAction, began: float, error: ServiceError) -> None:
        """One impossible step is no reason to leave the others."""
        self.error = self.error or error
        alone = isinstance(error, Denied | Rejected) and not isinstance(action, _GROUND)
        self.ended = self.ended or not alone
        self.steps.append(Step(action.summary(), "failed", _ms_since(began), str(error)))

    def may(self, action: PostgresAction) -> bool:
        """Whether `action` needs nothing that failed."""
        if self.ended or self.error is None:
            return not self.ended
        if isinstance(action, InsideAction) and not self.entered:
            return False
        return not isinstance(action, _OPENING)

    @property
    def entered(self) -> bool:
        return all(a in self.done for a in self.plan if isinstance(a, _ENTRY))


@dataclass(frozen=True, slots=True)
class _Batch:
    plans: Mapping[AppName, tuple[PostgresAction, ...]]
    progress: Mapping[AppName, _Progress]
    verifiers: Verifiers
    fence: Fence


class Applier:
    """inside: does an InsideAction, logged in as the app (True: its role is fresh). rename: does a
    RenameDatabase. login_proves: that login goes the very way that apps are told to take."""

    def __init__(
        self, client: AdminClient, inside: Inside, rename: Rename, login_proves: bool
    ) -> None:
        self._client = client
        self._inside = inside
        self._rename = rename
        self._login_proves = login_proves
        self._logins = asyncio.Semaphore(_LOGINS)

    async def apply(
        self, plans: Mapping[AppName, tuple[PostgresAction, ...]], fence: Fence
    ) -> dict[AppName, Applied]:
        """Raises Unavailable when PostgreSQL as a whole does not answer, and LeaseLost."""
        batch = _Batch(
            plans,
            {app: _Progress(app, plan) for app, plan in plans.items()},
            await _verifiers(plans),
            fence,
        )
        makers = [a for a, plan in plans.items() if any(_makes(action) for action in plan)]
        await self._phases(batch, plans, lambda phase: phase < Phase.CREATE)
        await self._phases(batch, plans.keys() - set(makers), lambda phase: phase >= Phase.CREATE)
        await self._make(batch, makers)
        return {
            app: Applied(tuple(p.done), tuple(p.steps), p.error, p.proven)
            for app, p in batch.progress.items()
        }

    async def _make(self, batch: _Batch, makers: Sequence[AppName]) -> None:
        """New databases, wave by wave: while one wave is sealed and logged in to, the next is made.
        Making takes the longest by far, and the logins keep other parts of the server busy."""
        tails: list[asyncio.Task[None]] = []
        try:
            for start in range(0, len(makers), _WAVE):
                wave = makers[start : start + _WAVE]
                await self._phases(batch, wave, lambda phase: phase == Phase.CREATE)
                tail = self._phases(batch, wave, lambda phase: phase > Phase.CREATE)
                tails.append(asyncio.create_task(tail))
            await asyncio.gather(*tails)
        finally:  # a fault of the whole server or of the lease ends what is left, too
            for task in tails:
                task.cancel()
            await asyncio.gather(*tails, return_exceptions=True)

    async def _phases(
        self, batch: _Batch, apps: Collection[AppName], chosen: Callable[[int], bool]
    ) -> None:
        """The chosen phases of `apps`, each for all of them before the next."""
        plans = {app: plan for app, plan in batch.plans.items() if app in apps}
        for phase in sorted({a.phase for plan in plans.values() for a in plan if chosen(a.phase)}):
            due = {
                app: tuple(a for a in plan if a.phase == phase and batch.progress[app].may(a))
                for app, plan in plans.items()
            }
            due = {app: actions for app, actions in due.items() if actions}
            alone = [
                (batch.progress[app], a) for app, acts in due.items() for a in acts if _alone(a)
            ]
            if alone:
                await self._one_by_one(alone, batch.fence)
            else:
                await self._together(due, batch.progress, batch.verifiers, batch.fence)

    async def _together(
        self,
        due: Mapping[AppName, tuple[PostgresAction, ...]],
        progress: Mapping[AppName, _Progress],
        verifiers: Verifiers,
        fence: Fence,
    ) -> None:
        if not due:
            return
        began = time.monotonic()
        try:
            await self._send([a for actions in due.values() for a in actions], verifiers, fence)
        except psycopg.Error:
            # One of them was refused, and with it all were rolled back.
            for app, actions in due.items():
                await self._by_itself(progress[app], actions, verifiers, fence)
        else:
            for app, actions in due.items():
                progress[app].made(actions, began)

    async def _by_itself(
        self,
        progress: _Progress,
        actions: Sequence[PostgresAction],
        verifiers: Verifiers,
        fence: Fence,
    ) -> None:
        """One action a message: what does not need the one at fault is done."""
        for action in actions:
            if not progress.may(action):
                continue
            began = time.monotonic()
            try:
                await self._send([action], verifiers, fence)
            except psycopg.Error as fault:
                if isinstance(action, _WITNESSED) and await self._made_before(action, fault):
                    progress.succeeded([action], began)
                    continue
                progress.failed(action, began, self._fault(fault, action, progress.plan))
                continue
            progress.made([action], began)

    async def _send(
        self,
        actions: Sequence[PostgresAction],
        verifiers: Verifiers,
        fence: Fence,
    ) -> None:
        """One message, one transaction. Raises psycopg.Error, or Unavailable on silence."""

        async def send(session: Session) -> None:
            statements = [
                statement
                for action in actions
                for statement in render.statements(
                    action, session.version, verifiers.get(_credential(action), "")
                )
            ]
            fence.check()
            await session.conn.execute(SQL("; ").join(statements))

        await self._request(send)

    async def _one_by_one(
        self, alone: Sequence[tuple[_Progress, PostgresAction]], fence: Fence
    ) -> None:
        """Databases on all connections at once, logins several at a time."""
        waiting = iter(alone)
        stop: list[NornError] = []

        async def worker() -> None:
            for progress, action in waiting:
                if stop:
                    return
                if not progress.may(action):
                    continue
                began = time.monotonic()
                try:
                    await self._alone(action, fence, progress.fresh)
                except (LeaseLost, Unavailable) as fault:
                    if isinstance(action, InsideAction) and isinstance(fault, Unavailable):
                        progress.failed(action, began, fault)
                        continue
                    stop.append(fault)
                    return
                except ServiceError as fault:
                    progress.failed(action, began, fault)
                else:
                    progress.succeeded([action], began)
                    if isinstance(action, InsideAction) and self._login_proves:
                        progress.proven = True

        logins = any(isinstance(action, InsideAction) for _, action in alone)
        await asyncio.gather(*(worker() for _ in range(_LOGINS if logins else CONNECTIONS)))
        if stop:
            raise stop[0]

    async def _alone(self, action: PostgresAction, fence: Fence, fresh: bool) -> None:
        try:
            match action:
                case InsideAction():
                    async with self._logins:
                        fence.check()
                        await self._inside(action, fresh)
                case RenameDatabase():
                    fence.check()
                    await self._rename(action)
                case DropInvalidDatabase():
                    await self._request(lambda session: _drop_invalid(session, action, fence))
                case CreateDatabase():
                    statement = render.create_database(action)
                    await self._request(lambda session: _execute(session, statement, fence))
        except psycopg.Error as fault:
            if isinstance(action, CreateDatabase) and await self._made_before(action, fault):
                return
            raise self._fault(fault, action) from fault

    async def _made_before(
        self, action: CreateRole | CreateGroup | CreateDatabase, fault: psycopg.Error
    ) -> bool:
        """Whether a duplicate is what norn itself had made: by its witness, or by its owner."""
        if fault.sqlstate not in DUPLICATES:
            return False
        if isinstance(action, _WITNESSED):
            question = "SELECT 1 FROM pg_roles WHERE rolname = %s AND "
            question += "shobj_description(oid, 'pg_authid') = %s"
            names = [action.name, action.comment]
        else:
            question = "SELECT 1 FROM pg_database WHERE datname = %s AND "
            question += "pg_get_userbyid(datdba) = %s AND datconnlimit <> -2"
            names = [action.name, action.owner]

        async def ask(session: Session) -> bool:
            return await (await session.conn.execute(question, names)).fetchone() is not None

        return await self._request(ask)

    async def _request(self, work: Callable[[Session], Awaitable[object]]) -> bool:
        async def send(session: Session) -> bool:
            return bool(await work(session))

        try:
            return await self._client.request(send)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            error = translate(fault)
            if isinstance(error, Unavailable):
                raise error from fault
            raise

    def _fault(
        self, fault: psycopg.Error, action: PostgresAction, plan: Sequence[PostgresAction] = ()
    ) -> ServiceError:
        error = translate(
            fault,
            object=action.name,
            remedy=remedy(action, self._client.admin, self._client.version, plan),
        )
        if isinstance(error, Conflict):
            return Conflict(
                SERVICE,
                f"{action.kind} {action.name} was made by somebody else just now",
                object=action.name,
            )
        return error


def _makes(action: PostgresAction) -> bool:
    return isinstance(action, CreateDatabase)


def _alone(action: PostgresAction) -> bool:
    return isinstance(action, _ALONE)


def _credential(action: PostgresAction) -> Credential | None:
    return action.credential if isinstance(action, CreateRole | SetPassword) else None


async def _verifiers(
    plans: Mapping[AppName, tuple[PostgresAction, ...]],
) -> Verifiers:
    """One for each password that is to be set, computed off the loop."""
    wanted = {_credential(a) for plan in plans.values() for a in plan} - {None}

    def compute() -> Verifiers:
        return {c: verifier.make(c.password) for c in wanted if c is not None}

    return await asyncio.to_thread(compute) if wanted else {}


async def _execute(session: Session, statement: Composed, fence: Fence) -> None:
    fence.check()
    await session.conn.execute(statement)


async def _drop_invalid(session: Session, action: DropInvalidDatabase, fence: Fence) -> None:
    """Only that very database, and only while it is invalid: it has no data to lose."""
    cursor = await session.conn.execute(
        "SELECT 1 FROM pg_database WHERE oid = %s AND datname = %s AND datconnlimit = %s",
        [action.oid, action.name, INVALID],
    )
    if await cursor.fetchone() is not None:
        await _execute(session, render.drop_database(action.name), fence)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
