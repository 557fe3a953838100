"""The operation `restore`: an app's database as one of its snapshots has it. Everything is made
beside, and looked at, before anything of the live one is touched."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from norn_reconciler import logs
from norn_reconciler.model import trash
from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import LeaseLost, NornError, ServiceError, Unavailable
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Owned
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
from norn_reconciler.snapshots.work import own_database, size_words

KIND = "restore"
_AWAY = 1.0  # seconds between two looks at a server that does not answer


def beside(database: str, operation: int) -> str:
    """The name of the database that one operation makes. No spec can ask for it: it has dots."""
    suffix = f".restore.{operation}"
    return database.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix


def agreed(app: AppName, live: Seen, record: SnapshotRecord, choice: Choice) -> str:
    """The digest of what a person agrees to: that copy, into that very database."""
    return mark(app, live.name, live.id, record.name, record.sha256, choice.as_json())


def mark(*what: object) -> str:
    """A digest for people to agree to."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


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
        if live is not None and live.id == operation.arguments.get("made"):
            return await self._kept(case, live)  # a predecessor came as far: it is to be said
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
                return await self._replaced(case, live, fresh)
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

    async def _replaced(self, case: _Case, live: Seen, fresh: Seen) -> str:
        """Both change places."""
        at = self._now().replace(microsecond=0)
        while await self._databases().seen(aside := trash.named(case.database, at)) is not None:
            at += timedelta(seconds=1)  # two of one second
        facts = {"made": fresh.id, "aside": aside, "at": at.isoformat()}
        await case.steps.begin("swap", **facts)
        try:
            await self._databases().swap(live, fresh, aside)
        except Unavailable:
            found = await self._answer(case)
            if found is None or found.id != fresh.id:
                raise
        arguments = {**case.operation.arguments, **facts}
        case = replace(case, operation=replace(case.operation, arguments=arguments))
        return await self._kept(case, replace(fresh, name=case.database))

    async def _answer(self, case: _Case) -> Seen | None:
        """What the live one is, as soon as anybody can tell: whether they have changed places
        decides which of them may be dropped."""
        while True:
            await asyncio.sleep(_AWAY)
            try:
                return await self._databases().seen(case.database)
            except Unavailable as away:
                await case.steps.tell(f"waiting: {away}")

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

    async def _kept(self, case: _Case, live: Seen) -> str:
        """What norn_db says from now on, as both have changed places. What is done inside is done
        anew by the lanes: the copy may be from before it."""
        key, given = self._sources.key, case.operation.arguments
        await case.steps.begin("record")
        aside, at = str(given["aside"]), datetime.fromisoformat(str(given["at"]))
        text = f"{live.name} is as in {given['snapshot']}; what was there is kept as {aside}"
        event = self._event(case, text, aside)
        await case.steps.write(replaced(case.subject, key, case.owned, live, aside, at, event))
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


def replaced(
    subject: Subject, key: str, owned: Owned, live: Seen, aside: str, at: datetime, event: Event
) -> Changes:
    """What is written once both have changed places. owned: the rows from before."""
    app = subject.app.name
    return Changes(
        inventory={(key, app): {**owned, **swapped(owned, live, aside, at)}},
        services={(key, app): replace(subject.services[key], desired_digest=None)},
        events=[event],
    )


def swapped(owned: Owned, live: Seen, aside: str, at: datetime) -> Mapping[ObjectKey, Held]:
    """The rows of both once `live` has the place of what is called `aside` now."""
    before = owned["database", live.name]
    new = trash.successor(before, live.id)
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
