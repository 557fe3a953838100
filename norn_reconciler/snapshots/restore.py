"""The operation `restore`: an app's database as one of its snapshots has it. Everything is made
beside, and looked at, before anything of the live one is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model import trash
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Owned
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.snapshots import SnapshotRecord, SnapshotRecords, Sources
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.clients import Client
from norn_reconciler.snapshots.dump import dump, restore, tables
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.work import own_database, size_words

KIND = "restore"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a snapshot is wanted: all of it where nothing is named. tables: `schema.name`, or a
    name in `public`. clean: what is there of it goes first. grants: with the rights that it holds.
    """

    tables: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    clean: bool = False
    grants: bool = True

    @property
    def whole(self) -> bool:
        return not (self.tables or self.schemas)

    @property
    def options(self) -> Sequence[str]:
        """As pg_dump takes them: patterns that mean these very names."""
        chosen = [f"--table={_pattern(*_split(t))}" for t in self.tables]
        return [*chosen, *(f"--schema={_pattern(s)}" for s in self.schemas)]

    def as_json(self) -> Mapping[str, object]:
        return {
            "tables": list(self.tables),
            "schemas": list(self.schemas),
            "clean": self.clean,
            "grants": self.grants,
        }

    @classmethod
    def of(cls, arguments: Mapping[str, object]) -> Choice:
        def names(key: str) -> tuple[str, ...]:
            found = arguments.get(key)
            return tuple(map(str, found)) if isinstance(found, list | tuple) else ()

        return cls(
            names("tables"),
            names("schemas"),
            arguments.get("clean") is True,
            arguments.get("grants") is not False,
        )


def _split(table: str) -> tuple[str, str]:
    schema, dot, name = table.partition(".")
    return (schema, name) if dot else ("public", table)


def _pattern(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def beside(database: str, operation: int) -> str:
    """The name of the database that one operation makes. No spec can ask for it: it has dots."""
    suffix = f".restore.{operation}"
    return database.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix


class RestoreWork:
    """arguments: `snapshot`, `live` (what the server calls the database that the person saw), and
    a Choice."""

    kind = KIND
    exclusive = True
    of_removed = False

    def __init__(
        self,
        folder: Folder,
        sources: Sources,
        databases: Callable[[], Databases],
        records: SnapshotRecords,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._sources = sources
        self._databases = databases
        self._records = records
        self._now = now

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a restore is of an app"
        database, _ = own_database(self._sources, subject)
        choice = Choice.of(operation.arguments)
        other = beside(database, operation.id)
        await steps.begin("check")
        live = await self._databases().seen(database)
        if (made := operation.arguments.get("made")) and live is not None and live.id == made:
            # A predecessor came as far as that: what is left is to say so.
            return await self._kept(operation, subject, live, steps)
        await self._take_away(subject, other, steps)
        record = await self._checked(operation, subject, live)
        client = await self._client(record)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._take_away, subject, other, steps)
            fresh = await self._made(subject, record, client, other, choice, steps)
            if not choice.whole:
                return await self._chosen(subject, record, client, database, other, choice, steps)
            assert live is not None, "checked"
            aside = trash.named(database, self._now())
            await steps.begin("swap", made=fresh.id, aside=aside, at=self._now().isoformat())
            await self._databases().swap(live, fresh, aside)
            undo.pop_all()
        facts = {"made": fresh.id, "aside": aside, "at": self._now().isoformat()}
        operation = replace(operation, arguments={**operation.arguments, **facts})
        return await self._kept(operation, subject, replace(fresh, name=database), steps)

    async def _checked(
        self, operation: Operation, subject: Subject, live: Seen | None
    ) -> SnapshotRecord:
        """Raises NornError for what must not be brought into this app's database."""
        app, name = subject.app.name, str(operation.arguments.get("snapshot", ""))
        record = await known(self._records, name)
        if record.app != app:
            raise NornError(f"{name} is a copy of {record.app}'s data: {app} may not have it")
        if live is None or live.id != operation.arguments.get("live"):
            raise NornError(
                f"the database of {app} is not the one that was shown: norn restore {name} shows "
                "what is there"
            )
        path = self._folder.file(name)
        try:
            found = await digest(path)
        except FileNotFoundError as fault:
            raise NornError(f"{path} is not there: see norn snapshot list") from fault
        if found != record.sha256:
            raise NornError(f"{path} is not what it was when it was made: it has another checksum")
        return record

    async def _client(self, record: SnapshotRecord) -> Client:
        """Not older than the server, nor than the client that wrote the file."""
        major = int(record.client_version.split(".")[0])
        return await asyncio.to_thread(
            clients.fitting, max(await self._sources.version(), major * 10000)
        )

    async def _made(
        self,
        subject: Subject,
        record: SnapshotRecord,
        client: Client,
        other: str,
        choice: Choice,
        steps: Steps,
    ) -> Seen:
        """A database beside, with all that is in the file."""
        app, key = subject.app.name, self._sources.key
        await steps.begin("make", beside=other)
        row = Held("database", other, HeldState.CLAIMED)
        await steps.write(Changes(inventory={(key, app): {**subject.owned[key], row.key: row}}))
        fresh = await self._databases().make(other, app)
        credential = subject.credentials[key]
        source = await self._sources.entry(app, credential, other)
        await steps.begin("restore")

        async def tell() -> None:
            seen = await self._databases().seen(other)
            await steps.tell(size_words(seen.size if seen else 0))

        path = self._folder.file(record.name)
        options = () if choice.grants else ("--no-privileges",)
        await restore(client, source, path, options, tell)
        await steps.begin("verify")
        wanted = await tables(client, path)
        found = await self._sources.tables(app, credential, other)
        if found < wanted:
            raise NornError(f"{found} of {wanted} tables came out of {path}: nothing was changed")
        return fresh

    async def _chosen(
        self,
        subject: Subject,
        record: SnapshotRecord,
        client: Client,
        database: str,
        other: str,
        choice: Choice,
        steps: Steps,
    ) -> str:
        """Of a database that was made beside, some goes into the live one: all of it or nothing.
        pg_restore alone would leave out a table's indexes and keys."""
        app, key = subject.app.name, self._sources.key
        credential = subject.credentials[key]
        await steps.begin("choose")
        source = await self._sources.entry(app, credential, other)

        async def tell(size: int) -> None:
            await steps.tell(size_words(size))

        # A part: it goes when the work does, and a name that no snapshot has.
        with self._folder.part(record.name) as part:
            await dump(client, source, part, tell, choice.options)
            await asyncio.to_thread(part.sync)
            await steps.begin("bring")
            live = await self._sources.entry(app, credential, database)
            options = ["--single-transaction"]
            options += ["--clean", "--if-exists"] if choice.clean else []
            options += [] if choice.grants else ["--no-privileges"]

            async def still() -> None:
                await steps.tell("one transaction")

            try:
                await restore(client, live, part.path, options, still)
            except NornError as fault:
                there = " already exists" in str(fault)
                hint = "; with --clean what is there goes first" if there else ""
                raise NornError(f"nothing was changed: {fault}{hint}") from fault
        what = ", ".join((*choice.tables, *choice.schemas))
        text = f"{what} of {database} as in {record.name}"
        await steps.begin("record")
        await steps.write(Changes(events=[self._event(subject, text, record.name, "")]))
        return text

    async def _kept(self, operation: Operation, subject: Subject, live: Seen, steps: Steps) -> str:
        """What norn_db says of it from now on. What is done inside is done anew by the lanes: the
        copy may be from before it."""
        app, key, given = subject.app.name, self._sources.key, operation.arguments
        await steps.begin("record")
        aside, at = str(given["aside"]), datetime.fromisoformat(str(given["at"]))
        owned = dict(subject.owned[key])
        owned.pop(("database", beside(live.name, operation.id)), None)
        rows = {**owned, **swapped(owned, live, aside, at)}
        service = replace(subject.services[key], desired_digest=None)
        text = f"{live.name} is as in {given['snapshot']}; what was there is kept as {aside}"
        await steps.write(
            Changes(
                inventory={(key, app): rows},
                services={(key, app): service},
                events=[self._event(subject, text, str(given["snapshot"]), aside)],
            )
        )
        return text

    def _event(self, subject: Subject, text: str, name: str, aside: str) -> Event:
        facts = {"name": name, "aside": aside}
        key = self._sources.key
        return Event(logs.SNAPSHOT_RESTORED, "warning", subject.app.name, text, facts, key)

    async def _take_away(self, subject: Subject, other: str, steps: Steps) -> None:
        """What this very operation made and does not need any more; its row goes after it."""
        app, key = subject.app.name, self._sources.key
        left = await self._databases().seen(other)
        if left is not None and left.owner == app:
            await self._databases().drop(left)
        owned = dict(subject.owned[key])
        owned.pop(("database", other), None)
        await steps.write(Changes(inventory={(key, app): owned}))


def swapped(owned: Owned, live: Seen, aside: str, at: datetime) -> Mapping[ObjectKey, Held]:
    """The rows of both once `live` has the place of what is called `aside` now."""
    before = owned["database", live.name]
    new = Held("database", live.name, HeldState.OWNED, before.origin, live.id)
    old = replace(
        before, name=aside, state=HeldState.RETAINED, settings=trash.settings(live.name, at)
    )
    return {new.key: new, old.key: old}


async def known(records: SnapshotRecords, name: str) -> SnapshotRecord:
    """Raises NornError for one that norn_db has no record of: it could be anybody's."""
    found: Collection[SnapshotRecord] = await records.snapshots()
    record = next((r for r in found if r.name == name), None)
    if record is None:
        raise NornError(f"norn_db knows no snapshot {name}: see norn snapshot list")
    return record
