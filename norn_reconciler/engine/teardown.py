"""Which data are due to go, or to be put out of the way: by what each spec said last of their end.
Pure but for `Reaper`, which asks for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from norn_reconciler import logs
from norn_reconciler.engine.backoff import Backoff
from norn_reconciler.engine.book import Book
from norn_reconciler.engine.digest import short
from norn_reconciler.engine.guard import Hold, Limits
from norn_reconciler.engine.telling import log_event
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName, Deletion
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.outcome import Converged
from norn_reconciler.model.records import AppState, Changes, Operation, OperationState, Store
from norn_reconciler.model.status import Event

KIND = "teardown"
WINDOW = 3600.0  # seconds in which destruction counts together
_PATIENCE = 10.0  # times as long as for what a lane does: what stands in the way is a person's
Place = tuple[str, str, str]  # service, kind, name


@dataclass(frozen=True, slots=True)
class Due:
    """One app's objects: to be put in the trash, and to be destroyed. Ordered. Neither: what has
    no data any more, its roles, is still to go. bound: of each that is to be destroyed, what the
    server calls it and the policy by which it goes."""

    app: AppName
    trash: tuple[Place, ...] = ()
    destroy: tuple[Place, ...] = ()
    bound: tuple[tuple[str | None, Deletion], ...] = ()

    @property
    def operation(self) -> Operation:
        arguments = {"trash": list(self.trash), "destroy": list(self.destroy)}
        return Operation(0, KIND, self.app, arguments=arguments, requested_by="norn")


def due(
    book: Book, kinds: Mapping[str, frozenset[str]], now: datetime, grace: timedelta
) -> Sequence[Due]:
    """By app. kinds: service → kinds of its objects that hold data. grace: in the trash.

    Only what norn made and nobody can reach any more; of an app that is on its way out nothing
    before all its services are shut; of one that is here, only where its service is at rest."""
    found: dict[AppName, dict[str, list[Place]]] = {}
    bound: dict[AppName, list[tuple[str | None, Deletion]]] = {}
    emptied: set[AppName] = set()
    for (service, app), owned in sorted(book.inventory().items()):
        if service not in kinds or not _may(book, service, app):
            continue
        policy = book.service(service, app).deletion
        for _, held in sorted(owned.items()):
            if held.kind in kinds[service] and (what := _fate(held, now, grace)):
                place = (service, held.kind, held.name)
                found.setdefault(app, {}).setdefault(what, []).append(place)
                if what == "destroy":
                    bound.setdefault(app, []).append((held.server_id, trash.policy(held)))
        if policy is not Deletion.RETAIN and _is_rest(book, app, owned, kinds[service]):
            emptied.add(app)
    return [
        Due(
            app, tuple(by.get("trash", ())), tuple(by.get("destroy", ())), tuple(bound.get(app, ()))
        )
        for app in sorted(found.keys() | emptied)
        for by in (found.get(app, {}),)
    ]


def _is_rest(book: Book, app: AppName, owned: Owned, data: frozenset[str]) -> bool:
    """Whether a removed app has only its own users and roles left on a service."""
    removed = book.records[app].state is AppState.REMOVED
    made = any(held.origin is Origin.MADE for held in owned.values())
    return removed and made and not any(held.kind in data for held in owned.values())


def _may(book: Book, service: str, app: AppName) -> bool:
    record, entry = book.records.get(app), book.entries.get(app)
    if record is None or record.paused or app in book.busy:
        return False
    if record.state is AppState.REMOVED:
        return entry is None or (entry.leaving and not entry.held)
    if entry is None or entry.leaving or entry.held:
        return False
    heard = book.current(service, app)
    return heard is not None and isinstance(heard.outcome, Converged)


def _fate(held: Held, now: datetime, grace: timedelta) -> str:
    if held.state is not HeldState.RETAINED or held.origin is not Origin.MADE:
        return ""
    if trash.BESIDE in held.settings:
        return "destroy"  # its restore was cut off
    since = trash.since(held)
    if since is not None:
        return "destroy" if now - since >= grace else ""
    return {Deletion.TRASH: "trash", Deletion.DELETE: "destroy"}.get(trash.policy(held), "")


def judge(
    found: Sequence[Due], agreed: Collection[str], before: int, total: int, limits: Limits
) -> Hold | None:
    """None when all of `found` may be done. Pure.

    agreed: digests that a person has confirmed. before: apps of which data were destroyed within
    WINDOW, or are going. total: apps that norn knows."""
    apps = tuple(one.app for one in found if one.destroy)
    count = before + len(apps)
    percent = 100.0 * count / max(total, 1)
    if not apps or count <= limits.max_apps or percent <= limits.max_percent:
        return None
    mark = short("destroy", {one.app: (one.destroy, one.bound) for one in found if one.destroy})
    if mark in agreed:
        return None
    objects = sum(len(one.destroy) for one in found)
    text = (
        f"{objects} objects with the data of {len(apps)} apps are due to go, {count} of {total} "
        f"apps within an hour ({percent:.0f} %)"
    )
    return Hold(mark, text, apps)


@dataclass(frozen=True, slots=True)
class Reaping:
    """What the daemon goes by. grace: seconds in the trash."""

    kinds: Mapping[str, frozenset[str]]
    grace: float
    limits: Limits


class Reaper:
    """Asks for what is due, once, and again after a while where it could not be done. told: what
    people were told of a hold, by an earlier process."""

    def __init__(
        self, book: Book, store: Store, reaping: Reaping, backoff: Backoff, told: str = ""
    ) -> None:
        self._book = book
        self._store = store
        self._reaping = reaping
        self._backoff = backoff
        self._asked: dict[AppName, int] = {}
        self._not_before: dict[AppName, datetime] = {}
        self._told = told

    async def look(self) -> int:
        """How many operations were asked for. Raises StoreUnavailable."""
        ready = await self._ready()
        hold = await self._judged(ready)
        if hold is not None:
            ready = [replace(one, destroy=()) for one in ready if one.trash or not one.destroy]
        await self._tell(hold)
        for one in ready:
            self._asked[one.app] = await self._store.request(one.operation)
        return len(ready)

    async def waits_for(self, digest: str) -> Hold | None:
        """The hold that bears `digest`. Raises StoreUnavailable."""
        hold = await self._judged(await self._ready())
        return hold if hold is not None and hold.digest == digest else None

    async def _ready(self) -> Sequence[Due]:
        """What is due, is not under way, and has not failed just now."""
        now, reaping = datetime.now(UTC), self._reaping
        found = due(self._book, reaping.kinds, now, timedelta(seconds=reaping.grace))
        if not found:
            return ()
        pending = {o.app for o in await self._store.pending_operations() if o.kind == KIND}
        await self._hear()
        return [
            one
            for one in found
            if one.app not in pending and now >= self._not_before.get(one.app, now)
        ]

    async def _tell(self, hold: Hold | None) -> None:
        """Once, and that it is over."""
        words = (
            ""
            if hold is None
            else (
                f"{hold.message}: norn plan shows what is in them; type norn confirm {hold.digest}"
            )
        )
        if words == self._told:
            return
        events = []
        if hold is not None:
            facts = {"digest": hold.digest, "apps": list(hold.apps)[:50]}
            events = [Event(logs.REMOVAL_HELD, "error", None, words, facts)]
        async with self._book.turn:
            await self._book.write(Changes(doomed=words, events=events))
        for event in events:
            log_event(event)
        self._told = words

    async def _judged(self, ready: Sequence[Due]) -> Hold | None:
        if not any(one.destroy for one in ready):
            return None
        before, agreed = await self._store.destroyed(WINDOW)
        pending = await self._store.pending_operations()
        going = {o.app for o in pending if o.kind == KIND and o.arguments.get("destroy")}
        again = {one.app for one in ready}
        total = len(self._book.records)
        return judge(ready, agreed, len((before | going) - again), total, self._reaping.limits)

    async def _hear(self) -> None:
        """What became of the last ones."""
        for app, number in list(self._asked.items()):
            ended = await self._store.operation(number)
            if ended is None or ended.state is OperationState.DONE:
                self._backoff.succeeded(app)
                del self._asked[app]
            elif ended.state is OperationState.FAILED:
                wait = timedelta(seconds=_PATIENCE * self._backoff.failed(app))
                self._not_before[app] = datetime.now(UTC) + wait
                del self._asked[app]
