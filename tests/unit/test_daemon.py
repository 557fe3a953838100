"""The daemon's loops, where two of them meet at a bad moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from norn_reconciler.daemon import Daemon
from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Fleet
from norn_reconciler.model.inventory import Held, Owned
from norn_reconciler.model.records import Changes
from tests.unit.engine.world import World, fleet, member

A = AppName("a")
ROW = Held("box", "one")


@dataclass
class Folder:
    """A specs folder that is read slowly; something of a's is withheld while it has no row."""

    withheld: bool = False
    looks: int = 0
    reading: threading.Event = field(default_factory=threading.Event)
    read: threading.Event = field(default_factory=threading.Event)

    def look(
        self, records: object, inventory: Mapping[tuple[str, AppName], Owned], busy: object
    ) -> Fleet:
        self.reading.set()
        self.read.wait(30)
        self.withheld = ("box", A) not in inventory
        self.looks += 1
        return fleet(member("a", "one"))

    def outdated(self, inventory: Mapping[tuple[str, AppName], Owned]) -> bool:
        return self.withheld and ("box", A) in inventory


@dataclass
class Work:
    engine: Any
    book: Any
    specs: Folder


async def test_what_is_made_while_the_folder_is_read_is_shared_at_once() -> None:
    """The look under way began without it, and says so only when it ends."""
    world = World()
    work: Any = Work(world.engine, world.book, Folder())
    daemon = Daemon(*[None] * 4)  # type: ignore[arg-type]
    sharing = asyncio.create_task(daemon._share(work))
    looking = asyncio.create_task(daemon._look(work))
    await asyncio.to_thread(work.specs.reading.wait, 30)
    async with world.book.turn:
        await world.book.write(Changes(inventory={("box", A): {ROW.key: ROW}}))
    for _ in range(5):
        await asyncio.sleep(0)
    work.specs.read.set()
    assert await looking
    async with asyncio.timeout(30):
        while work.specs.looks < 2:
            assert not sharing.done()
            await asyncio.sleep(0.01)
    assert not work.specs.withheld
    sharing.cancel()
