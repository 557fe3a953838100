"""The operation `exchange`: a restore is taken back. The database that it put aside and the live
one change places."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.model import trash
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.records import Operation
from norn_reconciler.model.snapshots import Sources
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject
from norn_reconciler.snapshots.swap import Swapped, mark, record, swap, swapped
from norn_reconciler.snapshots.work import own_database

KIND = "exchange"


def agreed(live: Seen, other: Seen) -> str:
    """What a person says yes to: that these two change places."""
    return mark("exchange", live.name, live.id, other.name, other.id)


class ExchangeWork:
    """arguments: `aside`, what the database is called that is to be live again."""

    kind = KIND
    exclusive = True
    of_removed = False

    def __init__(
        self,
        sources: Sources,
        databases: Callable[[], Databases],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sources = sources
        self._databases = databases
        self._now = now

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "an exchange is of an app"
        database, _ = own_database(self._sources, subject)
        await steps.begin("check")
        live = await self._databases().seen(database)
        done = swapped(operation.arguments, live)
        if done is None:
            done = await self._swapped(operation, subject, live, steps)
        key, was = self._sources.key, str(operation.arguments["aside"])
        owned = {k: row for k, row in subject.owned[key].items() if k != ("database", was)}
        text = f"{database} is what it was; what had replaced it is kept as {done.aside}"
        facts = {"name": was, "aside": done.aside}
        event = Event(logs.SNAPSHOT_RESTORED, "warning", subject.app.name, text, facts, key)
        await record(subject, key, owned, done, event, steps)
        return text

    async def _swapped(
        self, operation: Operation, subject: Subject, live: Seen | None, steps: Steps
    ) -> Swapped:
        """Raises NornError where these are not the two that a person agreed to."""
        name, databases = str(operation.arguments.get("aside")), self._databases()
        row = subject.owned[self._sources.key].get(("database", name))
        if row is None or row.state is not HeldState.RETAINED or trash.since(row) is None:
            raise NornError(f"{name} is not in the trash of {subject.app.name}")
        other = await databases.seen(name)
        if live is None or other is None or operation.digest != agreed(live, other):
            raise NornError("what is there has changed since you saw it: norn undo shows it")
        if not live.open:
            await databases.reopen(live)  # a predecessor was killed right before the swap
        return await swap(databases, live, other, self._now(), steps)
