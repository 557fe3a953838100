"""The operation `exchange`: a restore is taken back. The database that it put aside and the live
one change places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from norn_reconciler.snapshots.restore import mark, replaced
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
        given, databases = operation.arguments, self._databases()
        await steps.begin("check")
        row = subject.owned[self._sources.key].get(("database", str(given.get("aside"))))
        if row is None or row.state is not HeldState.RETAINED or trash.since(row) is None:
            raise NornError(f"{given.get('aside')} is not in the trash of {subject.app.name}")
        live = await databases.seen(database)
        begun = datetime.fromisoformat(str(given["at"])) if "at" in given else self._now()
        aside = trash.named(database, begun)
        if live is None or live.id != row.server_id:
            other = await databases.seen(row.name)
            if live is None or other is None or operation.digest != agreed(live, other):
                raise NornError("what is there has changed since you saw it: norn undo shows it")
            if not live.open:
                await databases.reopen(live)  # a predecessor was killed right before the swap
            await steps.begin("swap", at=begun.isoformat())
            await databases.swap(live, other, aside)
            live = replace(other, name=database)
        return await self._kept(subject, live, row.name, aside, begun, steps)

    async def _kept(
        self, subject: Subject, live: Seen, was: str, aside: str, at: datetime, steps: Steps
    ) -> str:
        app, key = subject.app.name, self._sources.key
        await steps.begin("record")
        owned = {k: held for k, held in subject.owned[key].items() if k != ("database", was)}
        text = f"{live.name} is what it was; what had replaced it is kept as {aside}"
        facts = {"name": was, "aside": aside}
        event = Event(logs.SNAPSHOT_RESTORED, "warning", app, text, facts, key)
        await steps.write(replaced(subject, key, owned, live, aside, at, event))
        return text
