"""What `norn undo` takes back: a change by its number or id → what is to be asked of the writer for
it, and what that would do. Shown first; nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from norn_reconciler import logs, oneshot, restoring
from norn_reconciler.compose import instance, open_providers, open_store
from norn_reconciler.engine.preview import Preview, preview
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.records import AppRecord, Generation, Operation
from norn_reconciler.settings import Settings
from norn_reconciler.snapshots import exchange, restore, teardown
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.work import size_words
from norn_reconciler.snapshotting import databases_of, sources_of
from norn_reconciler.store.store import PostgresStore
from norn_reconciler.store.views import PastDeployment

_ROLLOUT = re.compile(r"[0-9a-f]{6,}")
_MOST_EVENTS = 1000
_MOST = 10_000  # rollouts that are searched
# What has no before-state to go back to, and what to do instead.
_FINAL = {
    "reconcile": "it changed nothing by itself: see norn history for the rollouts",
    "confirm": "what was agreed to has happened: see norn history for what it was",
    "adopt": "nothing was changed by it: norn forget APP gives what was adopted back to nobody",
    "rotate": "the former password is known to nobody any more: norn rotate APP gives a newer one",
    "recover": "it only gave norn_db its records back",
    "forget": "put the file back, then norn adopt APP",
    "pause": "norn resume APP",
    "resume": "norn pause APP",
    "snapshot": "a copy changes nothing; it goes as the settings say",
    "prune": "what was deleted is gone",
    "cron": "what a command did, norn does not know",
}


@dataclass(frozen=True, slots=True)
class Undo:
    """lines: what is taken back and what that replaces, for the person. ask: the operation that
    does it. preview: what a writer would then change, where only a spec is concerned. long: it
    takes long."""

    lines: Sequence[str]
    ask: Operation
    preview: Preview | None = None
    long: bool = False


async def look(settings: Settings, change: str) -> Undo:
    """change: an operation's number, or a rollout's id (its first characters). Raises NornError for
    what nobody knows, and for what can't be taken back, with what to do instead."""
    async with open_store(settings, "cli") as store:
        if not change.isdigit():
            target = await _rollout(store, change)
        else:
            asked = await store.operation(int(change))
            if asked is None:
                raise NornError(f"no operation {change} is known: see norn history")
            if asked.kind in {restore.KIND, exchange.KIND}:
                return await _exchanged(settings, store, asked)
            if (copy := await _copy(store, asked)) is not None:
                found = await restoring.look(settings, copy, Choice())
                return Undo(found.lines, found.ask, long=True)
            target = await _undone(store, asked)
    app, of, to, words = target
    async with open_providers(settings, instance(settings)) as providers:
        reading = await oneshot.read(settings, providers, tell=False, pins={app: to})
        if app not in reading.book.entries or reading.book.entries[app].leaving:
            raise NornError(f"no file asks for {app}: put it back first")
        member = reading.book.entries[app].member
        if to is not None and member.pinned != to.number:
            why = member.rejected or "today's checks refuse it"
            raise NornError(f"generation {to.number} of {app} can't be in force again: {why}")
        plan = await preview(providers, reading.book, [app], reading.hold)
    arguments = {"of": of, "to": to.number if to else None}
    ask = Operation(0, "undo", app, arguments=arguments, digest=plan.digest)
    return Undo((words,), ask, plan)


async def _exchanged(settings: Settings, store: PostgresStore, asked: Operation) -> Undo:
    """A restore is taken back as long as what it put aside is in the trash."""
    assert asked.app is not None, "a restore is of an app"
    events = await store.events(asked.app, _MOST_EVENTS)
    aside = next(
        (
            str(told.event.fields["aside"])
            for told in events
            if told.event.event == logs.SNAPSHOT_RESTORED
            and told.event.fields.get("aside")
            and asked.created_at is not None
            and told.at >= asked.created_at
            and (asked.finished_at is None or told.at <= asked.finished_at)
        ),
        "",
    )
    rows = (await store.inventory_of(asked.app)).values()
    if not aside or not any(("database", aside) in owned for owned in rows):
        raise NornError(
            f"what operation {asked.id} put aside is not in the trash (any more): "
            f"norn snapshot list {asked.app} shows what there is to restore"
        )
    async with open_providers(settings, instance(settings)) as providers:
        reading = await oneshot.read(settings, providers, tell=False)
        wanted = sources_of(providers).database(reading.book.asked_for(asked.app).app)
        databases = databases_of(providers)()
        live = await databases.seen(wanted[1]) if wanted else None
        other = await databases.seen(aside)
    if live is None or other is None:
        raise NornError(f"not both databases are there: see norn status {asked.app}")
    lines = (
        f"{aside} ({size_words(other.size)}) is {live.name} again",
        f"it replaces what is there now: {size_words(live.size)}, {live.sessions} sessions, which "
        f"are ended; that is kept beside, shut, as {live.name}.trash.<time>",
    )
    ask = Operation(
        0,
        exchange.KIND,
        asked.app,
        arguments={"aside": aside},
        digest=exchange.agreed(live, other),
    )
    return Undo(lines, ask, long=True)


async def _copy(store: PostgresStore, asked: Operation) -> str | None:
    """The copy that has what an operation changed or destroyed; None where none was made for it."""
    if asked.app is None or asked.kind not in {"migrate", teardown.KIND}:
        return None
    if asked.kind == "migrate":
        name = str(asked.arguments.get("name") or asked.arguments.get("snapshot") or "")
        if not name:
            raise NornError(f"operation {asked.id} ended before a copy was made")
        return name
    for told in await store.events(asked.app, _MOST_EVENTS):
        name = str(told.event.fields.get("snapshot") or "")
        begun = asked.created_at is not None and told.at >= asked.created_at
        if told.event.event == logs.OBJECT_DESTROYED and name and begun:
            return name
    raise NornError(
        f"operation {asked.id} destroyed no database: what is in the trash comes back with the "
        f"file of {asked.app}; of topics and keys that are gone there is no copy"
    )


_Target = tuple[AppName, int, Generation | None, str]


async def _undone(store: PostgresStore, asked: Operation) -> _Target:
    if asked.kind != "undo" or asked.app is None:
        why = _FINAL.get(asked.kind, "this version can't take it back")
        why = why.replace("APP", asked.app or "APP")
        raise NornError(f"operation {asked.id} ({asked.kind}) can't be undone: {why}")
    record = await _record(store, asked.app)
    if record.pinned is None or asked.arguments.get("of") != record.generation:
        raise NornError(f"what operation {asked.id} put in force is in force no more")
    words = f"{record.spec.file} is put in force again, as it is (generation {record.generation})"
    return asked.app, record.generation, None, words


async def _rollout(store: PostgresStore, id: str) -> _Target:
    found = await _found(store, id)
    if found.generation is None:
        raise NornError(f"rollout {found.id} was of no change to a spec: it can't be undone")
    record = await _record(store, found.app)
    if found.generation != record.generation:
        raise NornError(
            f"rollout {found.id} was of generation {found.generation}, and generation "
            f"{record.generation} of {found.app} is the last: undo the later change first"
        )
    if record.pinned is not None:
        raise NornError(
            f"that is undone: generation {record.pinned.number} of {found.app} is in force"
        )
    before = [r for r in await store.deployments(found.app, _MOST) if r.generation]
    earlier = [r for r in before if r.generation == found.generation and _before(r, found)]
    if earlier:
        raise NornError(
            f"rollout {found.id} repaired what somebody had changed on a server, and the spec says "
            f"so: what it took back is in norn events {found.app}; write into "
            f"{record.spec.file} what is to stay"
        )
    kept = [g for g in await store.generations(found.app) if g.number < record.generation]
    if not kept:
        former = await _former(store, found.app)
        how = f"norn rename app {found.app} {former}" if former else f"remove {record.spec.file}"
        raise NornError(
            f"rollout {found.id} was of the first spec of {found.app}: to take it back {how}"
        )
    to = kept[0]
    words = (
        f"generation {to.number} of {found.app} is put in force in place of generation "
        f"{record.generation}, until {record.spec.file} says something else"
    )
    return found.app, record.generation, to, words


async def _former(store: PostgresStore, app: AppName) -> str:
    """What it was called before it had this name; "" where it was nothing."""
    for told in await store.events(app, _MOST_EVENTS):
        if told.event.event == logs.APP_RENAMED and told.event.fields["to"] == app:
            return str(told.event.fields["from"])
    return ""


def _before(one: PastDeployment, other: PastDeployment) -> bool:
    return (
        one.started_at is not None
        and other.started_at is not None
        and one.started_at < other.started_at
    )


async def _found(store: PostgresStore, id: str) -> PastDeployment:
    rows: Sequence[PastDeployment] = ()
    if _ROLLOUT.fullmatch(id):
        rows = [r for r in await store.deployments(None, _MOST) if r.id.startswith(id)]
    if len(rows) != 1:
        what = "several changes begin" if rows else "no change begins"
        raise NornError(f"{what} with {id}: see norn history")
    return rows[0]


async def _record(store: PostgresStore, app: AppName) -> AppRecord:
    record = await store.app(app)
    if record is None:
        raise NornError(f"no app {app} is known any more")
    return record
