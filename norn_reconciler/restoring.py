"""What `norn restore` shows before it asks: what would be replaced, and by what. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from norn_reconciler import oneshot
from norn_reconciler.compose import instance, open_providers, open_store
from norn_reconciler.model.databases import Seen
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.records import Operation
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.settings import Settings
from norn_reconciler.snapshots import restore
from norn_reconciler.snapshots.choice import Choice
from norn_reconciler.snapshots.work import size_words
from norn_reconciler.snapshotting import databases_of, folder_of, sources_of


@dataclass(frozen=True, slots=True)
class Replacing:
    """record: of the copy. live: what is there now."""

    record: SnapshotRecord
    live: Seen
    choice: Choice

    @property
    def lines(self) -> tuple[str, ...]:
        """For the person who has to agree."""
        record, live = self.record, self.live
        made = f"{record.made_at:%Y-%m-%d %H:%M:%SZ}"
        what = f"{record.name}: {record.app}, {size_words(record.size)}, made at {made}"
        if record.database != live.name:
            what += f", when its database was called {record.database}"
        sessions = f"{live.sessions} session{'' if live.sessions == 1 else 's'} now"
        if self.choice.whole:
            return (
                what,
                f"replaces {live.name}: {size_words(live.size)}, {sessions}, which are ended",
                f"what is there is kept beside, shut, as {live.name}.trash.<time>",
            )
        chosen = ", ".join((*self.choice.tables, *self.choice.schemas))
        first = "what is there of it goes first" if self.choice.clean else "nothing is replaced"
        return (what, f"brings {chosen} into {live.name} ({sessions}): {first}")

    @property
    def digest(self) -> str:
        return restore.agreed(self.record.app, self.live, self.record, self.choice)

    @property
    def ask(self) -> Operation:
        app, arguments = self.record.app, {"snapshot": self.record.name, **self.choice.as_json()}
        return Operation(0, restore.KIND, app, arguments=arguments, digest=self.digest)


async def look(settings: Settings, name: str, choice: Choice) -> Replacing:
    """Raises NornError for what can't be restored, as the writer would."""
    folder_of(settings).file(name)  # says what is no name
    async with open_store(settings, "cli") as store:
        record = await restore.known(store, name)
    async with open_providers(settings, instance(settings)) as providers:
        reading = await oneshot.read(settings, providers, tell=False)
        wanted = sources_of(providers).database(reading.book.asked_for(record.app).app)
        if wanted is None:
            raise NornError(f"{record.app} has no database by its spec")
        live = await databases_of(providers)().seen(wanted[1])
        if live is None:
            raise NornError(f"database {wanted[1]} is not there: see norn status {record.app}")
    return Replacing(record, live, choice)
