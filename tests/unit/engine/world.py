"""An engine with one service, a store and a clock in memory, and the specs it is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from norn_reconciler.engine.book import Book
from norn_reconciler.engine.engine import Engine
from norn_reconciler.engine.guard import Limits
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import LeaseLost
from norn_reconciler.model.fleet import Fleet, Folder, Member
from norn_reconciler.model.records import AppState, Snapshot, SpecRecord
from tests.unit.engine.fakes import Box, Boxes, MemoryDelivery, MemoryStore, Secrets


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fence:
    lost: bool = False

    def check(self) -> None:
        if self.lost:
            raise LeaseLost("the lease ran out")


@dataclass
class World:
    service: Boxes = field(default_factory=Boxes)
    store: MemoryStore = field(default_factory=MemoryStore)
    delivery: MemoryDelivery = field(default_factory=MemoryDelivery)
    clock: Clock = field(default_factory=Clock)
    fence: Fence = field(default_factory=Fence)
    kept: Snapshot = field(default_factory=Snapshot)

    def __post_init__(self) -> None:
        self.book = Book(self.store, Secrets(), self.delivery, {"box": "BoxesReady"}, self.clock)
        self.book.load(self.kept, 1)
        self.engine = Engine(
            {"box": self.service},  # type: ignore[dict-item]
            self.book,
            self.fence,
            Limits(3, 20.0),
            10.0,
            self.clock,
            held=self.kept.held,
            refused=self.kept.refused,
            removed=self.kept.removed,
        )

    def restarted(self, ago: float = 0.0) -> World:
        """Another process over the same service, store and delivery. ago: seconds since the last
        removals."""
        book = self.book
        names = sorted(book.records)
        inventory = {"box": {app: book.owned("box", app) for app in names}}
        services = {"box": {app: book.service("box", app) for app in names}}
        held = [c.held for c in self.store.changes if c.held is not None]
        refused = [c.refused for c in self.store.changes if c.refused is not None]
        removed = {a: ago for a, r in book.records.items() if r.state is AppState.REMOVED}
        kept = Snapshot(
            book.records, inventory, services, None, ["", *held][-1], [(), *refused][-1], removed
        )
        return World(self.service, self.store, self.delivery, self.clock, self.fence, kept)

    def round(self, *apps: str):
        return self.engine._round("box", [AppName(a) for a in apps] or sorted(self.book.entries))

    def outcome(self, app: str):
        return self.book.heard["box", AppName(app)].outcome


def member(app: str, *boxes: str, **more) -> Member:
    name = AppName(app)
    canonical = f"{app}:{','.join(boxes)}"
    sections = {"box": Box(boxes)} if boxes else {}
    return Member(App(name, sections), SpecRecord(f"{app}.yaml", "d", 1, 1, canonical), **more)


def fleet(*members: Member, vanished: tuple[Member, ...] = (), folder: Folder = Folder.OK) -> Fleet:
    return Fleet({m.app.name: m for m in members}, {m.app.name: m for m in vanished}, folder)
