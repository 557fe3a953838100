"""An app's database and another one change places, and norn_db hears of it, whoever is killed in
between, and whatever answer is lost: of a restore as of its undoing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from norn_reconciler.model import trash
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Owned
from norn_reconciler.model.records import Changes
from norn_reconciler.model.status import Event
from norn_reconciler.model.work import Steps, Subject

_AWAY = 1.0  # seconds between two looks at a server that does not answer


@dataclass(frozen=True, slots=True)
class Swapped:
    """live: what has the name now. aside: what was live is called so, since `at`."""

    live: Seen
    aside: str
    at: datetime


def mark(*what: object) -> str:
    """A digest for people to agree to."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def swapped(arguments: Mapping[str, object], live: Seen | None) -> Swapped | None:
    """What a predecessor did that was killed before it could say so; None where it did not come as
    far. arguments: of the operation, as `swap` left them."""
    if live is None or live.id != arguments.get("made"):
        return None
    at = datetime.fromisoformat(str(arguments["at"]))
    return Swapped(live, trash.named(live.name, at), at)


async def swap(
    databases: Databases, live: Seen, other: Seen, at: datetime, steps: Steps
) -> Swapped:
    """`other` is live from now on. at: now."""
    at = at.replace(microsecond=0)
    while await databases.seen(aside := trash.named(live.name, at)) is not None:
        at += timedelta(seconds=1)  # two of one second
    await steps.begin("swap", made=other.id, at=at.isoformat())
    try:
        await databases.swap(live, other, aside)
    except Unavailable:
        found = await _answer(databases, live.name, steps)
        if found is None or found.id != other.id:
            raise
    return Swapped(replace(other, name=live.name), aside, at)


async def _answer(databases: Databases, name: str, steps: Steps) -> Seen | None:
    """What the live one is, as soon as anybody can tell: whether they have changed places decides
    which of them may be dropped."""
    while True:
        await asyncio.sleep(_AWAY)
        try:
            return await databases.seen(name)
        except Unavailable as away:
            await steps.tell(f"waiting: {away}")


async def record(
    subject: Subject, key: str, owned: Owned, done: Swapped, event: Event, steps: Steps
) -> None:
    """What norn_db says from now on. What is done inside is done anew by the lanes: what is live
    now may be from before it. owned: the rows from before."""
    await steps.begin("record")
    if owned["database", done.live.name].server_id == done.live.id:
        return  # a predecessor said it
    app = subject.app.name
    changes = Changes(
        inventory={(key, app): {**owned, **rows(owned, done)}},
        services={(key, app): replace(subject.services[key], desired_digest=None)},
        events=[event],
    )
    await steps.write(changes)


def rows(owned: Owned, done: Swapped) -> Mapping[ObjectKey, Held]:
    """The rows of both."""
    name = done.live.name
    before = owned["database", name]
    new = trash.successor(before, done.live.id)
    settings = trash.settings(name, done.at)
    old = replace(before, name=done.aside, state=HeldState.RETAINED, settings=settings)
    return {new.key: new, old.key: old}
