"""The operation `restore`: an app's database as one of its snapshots has it. Everything is made
beside, and looked at, before anything of the live one is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import LeaseLost, NornError, ServiceError
from norn_reconciler.model.inventory import Held, HeldState, Owned
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.snapshots import SnapshotRecord, SnapshotRecords, Sources
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots import clients
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.clients import Client
from norn_reconciler.snapshots.dump import dump, restore, tables
from norn_reconciler.snapshots.folder import Folder, digest
from norn_reconciler.snapshots.swap import Swapped, mark, record, swap, swapped
from norn_reconciler.snapshots.work import own_database, size_words

KIND = "restore"


def beside(database: str, operation: int) -> str:
    """The name of the database that one operation makes. No spec can ask for it: it has dots."""
    suffix = f".restore.{operation}"
    return database.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix


def agreed(app: AppName, live: Seen, record: SnapshotRecord, choice: Choice) -> str:
    """The digest of what a person agrees to: that copy, into that very database."""
    return mark(app, live.name, live.id, record.name, record.sha256, choice.as_json())


@dataclass(frozen=True, slots=True)
class _Case:
    """One operation's. owned: the service's rows but for what is made beside. row: of that."""

    operation: Operation
    subject: Subject
    steps: Steps
    database: str
    credential: Credential
    choice: Choice
    owned: Owned
    row: Held

    @property
    def app(self) -> AppName:
        return self.subject.app.name

    @property
    def made(self) -> Owned:
        return {**self.owned, self.row.key: self.row}


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file that may be brought into the database. tables: how many are in it."""

    record: SnapshotRecord
    client: Client
    tables: int


class RestoreWork:
    """arguments: `snapshot`, and a Choice. digest: what `agreed` says of it."""

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
        database, credential = own_database(self._sources, subject)
        await steps.begin("check")
        await asyncio.to_thread(self._folder.sweep)
        key, choice = self._sources.key, Choice.of(operation.arguments)
        owned = await self._without_leftovers(subject, subject.owned[key], steps)
        marked, name = {trash.BESIDE: database}, beside(database, operation.id)
        row = Held("database", name, HeldState.CLAIMED, settings=marked)
        case = _Case(operation, subject, steps, database, credential, choice, owned, row)
        live = await self._databases().seen(database)
        if (done := swapped(operation.arguments, live)) is not None:
            return await self._kept(case, done)
        if await self._brought(case):
            return await self._told(case)
        held = owned.get(("database", database))
        if held is None:  # it has another name yet, or is somebody else's
            raise NornError(f"{database} is not {subject.app.name}'s yet: see norn status")
        if live is not None and live.id == held.server_id and not live.open:
            await self._databases().reopen(live)  # it was killed right before the swap
        live, copy = await self._checked(case, live)
        try:
            fresh = await self._made(case, copy)
            if choice.whole:
                done = await swap(self._databases(), live, fresh, self._now(), steps)
                return await self._kept(case, done)
            text = await self._chosen(case, copy)
        except (NornError, OSError) as fault:
            # Whoever has the lease now makes one of the very same name.
            if not isinstance(fault, LeaseLost):
                await self._tidied(case)
            raise
        await self._tidied(case)
        return text

    async def _checked(self, case: _Case, live: Seen | None) -> tuple[Seen, _Copy]:
        """Raises NornError for what must not be brought into this app's database."""
        name = str(case.operation.arguments.get("snapshot", ""))
        record = await known(self._records, name)
        if record.app != case.app:
            raise NornError(f"{name} is a copy of {record.app}'s data: {case.app} may not have it")
        if live is None or case.operation.digest != agreed(case.app, live, record, case.choice):
            raise NornError(
                f"the database of {case.app} is not the one that was shown: norn restore {name} "
                "shows what is there"
            )
        path = self._folder.file(name)
        try:
            found = await digest(path)
        except FileNotFoundError as fault:
            raise NornError(f"{path} is not there: see norn snapshot list") from fault
        if found != record.sha256:
            raise NornError(f"{path} is not what it was when it was made: it has another checksum")
        # Not older than the server, nor than the client that wrote the file.
        major = int(record.client_version.split(".")[0])
        version = max(await self._sources.version(), major * 10000)
        client = await asyncio.to_thread(clients.fitting, version)
        return live, _Copy(record, client, await tables(client, path))

    async def _made(self, case: _Case, copy: _Copy) -> Seen:
        """A database beside, with all that is in the file."""
        steps, other = case.steps, case.row.name
        await steps.begin("make", beside=other)
        await self._write(case, case.made)
        fresh = await self._databases().make(other, case.app, like=case.database)
        source = await self._sources.entry(case.app, case.credential, other)
        await steps.begin("restore")

        async def tell() -> None:
            with suppress(ServiceError):  # it is a word on the way, and no more
                seen = await self._databases().seen(other)
                await steps.tell(size_words(seen.size if seen else 0))

        path = self._folder.file(copy.record.name)
        options = () if case.choice.grants else ("--no-privileges",)
        await restore(copy.client, source, path, options, tell)
        await steps.begin("verify")
        found = await self._sources.tables(case.app, case.credential, other)
        if found < copy.tables:
            raise NornError(
                f"{found} of {copy.tables} tables came out of {path}: nothing was changed"
            )
        return fresh

    async def _chosen(self, case: _Case, copy: _Copy) -> str:
        """Of a database that was made beside, some goes into the live one: all of it or nothing.
        pg_restore alone would leave out a table's indexes and keys."""
        app, credential, steps, choice = case.app, case.credential, case.steps, case.choice
        await steps.begin("choose")
        source = await self._sources.entry(app, credential, case.row.name)

        async def tell(size: int) -> None:
            await steps.tell(size_words(size))

        # A part: it goes when the work does, and a name that no snapshot has.
        with self._folder.part(copy.record.name) as part:
            await dump(copy.client, source, part, tell, choice.options)
            await asyncio.to_thread(part.sync)
            await steps.begin("bring", **await self._witness(case))
            live = await self._sources.entry(app, credential, case.database)
            options = ["--single-transaction"]
            options += ["--clean", "--if-exists"] if choice.clean else []
            options += [] if choice.grants else ["--no-privileges"]

            async def still() -> None:
                await steps.tell("one transaction")

            try:
                await restore(copy.client, live, part.path, options, still)
            except NornError as fault:
                there = " already exists" in str(fault)
                hint = "; with --clean what is there goes first" if there else ""
                raise NornError(f"nothing was changed: {fault}{hint}") from fault
        return await self._told(case)

    async def _witness(self, case: _Case) -> Mapping[str, object]:
        """One of what is to be brought, and what its like in the live database is now. All come in
        one transaction: by this one a successor sees whether they have."""
        app, credential = case.app, case.credential
        there = await self._sources.relations(app, credential, case.row.name)
        chosen = min((name for name in there if case.choice.has(*name)), default=None)
        before = (await self._sources.relations(app, credential, case.database)).get(chosen or ())
        return {"witness": chosen, "before": before}

    async def _brought(self, case: _Case) -> bool:
        """Whether a predecessor was killed after all of it had come."""
        given = case.operation.arguments
        if not isinstance(witness := given.get("witness"), list):
            return False
        there = await self._sources.relations(case.app, case.credential, case.database)
        return there.get(tuple(witness)) not in {None, given.get("before")}

    async def _told(self, case: _Case) -> str:
        """Some of it was brought."""
        name = str(case.operation.arguments["snapshot"])
        what = ", ".join((*case.choice.tables, *case.choice.schemas))
        text = f"{what} of {case.database} as in {name}"
        await case.steps.begin("record")
        await case.steps.write(Changes(events=[self._event(case, text, "")]))
        return text

    async def _kept(self, case: _Case, done: Swapped) -> str:
        """Both have changed places."""
        name, given = done.live.name, case.operation.arguments
        text = f"{name} is as in {given['snapshot']}; what was there is kept as {done.aside}"
        event = self._event(case, text, done.aside)
        await record(case.subject, self._sources.key, case.owned, done, event, case.steps)
        return text

    def _event(self, case: _Case, text: str, aside: str) -> Event:
        facts = {"name": str(case.operation.arguments["snapshot"]), "aside": aside}
        key = self._sources.key
        return Event(logs.SNAPSHOT_RESTORED, "warning", case.app, text, facts, key)

    async def _tidied(self, case: _Case) -> None:
        """What this operation made beside goes; where the server does not let it, with the next."""
        with suppress(ServiceError):
            await self._without_leftovers(case.subject, case.made, case.steps)

    async def _without_leftovers(self, subject: Subject, owned: Owned, steps: Steps) -> Owned:
        """The rows that stay, once whatever a restore of this app made beside is gone."""
        left = [row for row in owned.values() if trash.BESIDE in row.settings]
        for row in left:
            found = await self._databases().seen(row.name)
            ours = found is not None and found.owner == subject.app.name
            if found is not None and ours and row.server_id in (None, found.id):
                await self._databases().drop(found)
        rows = {key: row for key, row in owned.items() if row not in left}
        if left:
            await steps.write(Changes(inventory={(self._sources.key, subject.app.name): rows}))
        return rows

    async def _write(self, case: _Case, rows: Owned) -> None:
        await case.steps.write(Changes(inventory={(self._sources.key, case.app): rows}))


async def known(records: SnapshotRecords, name: str) -> SnapshotRecord:
    """Raises NornError for one that norn_db has no record of: it could be anybody's."""
    found: Collection[SnapshotRecord] = await records.snapshots()
    record = next((r for r in found if r.name == name), None)
    if record is None:
        raise NornError(f"norn_db knows no snapshot {name}: see norn snapshot list")
    return record
