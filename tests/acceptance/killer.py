"""Lets something happen to an app while a daemon runs, kills the daemon over it at one place after
the other, lets it come back, and has the world judged each time."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.acceptance.harness import Norn, until
from tests.acceptance.kill_world import World, same

_TRANSACTION = re.compile(r": (before|after) (?:claim|record|update_operation) ")
# Who comes after it, in turn. Most often a daemon that is then the next to die: that saves a start.
_HEIRS = ("daemon", "apply", "daemon", "daemon", "norn run", "daemon", "daemon")


class Story(Protocol):
    """What happens to an app. title: for people."""

    title: str

    def next(self, world: World) -> str:
        """The app that it happens to this time."""
        ...

    def happen(self, world: World, app: str) -> None: ...

    def done(self, world: World, app: str) -> bool:
        """Whether norn_db says that all of it is dealt with."""
        ...

    def remark(self, world: World, app: str) -> str:
        """For the table: what is worth knowing, and is no fault."""
        ...


class Executioner(Protocol):
    """Who kills the daemon. A place has a name, and counts from `order` on."""

    def order(self, fatal: str) -> None:
        """Kill at this one; "" for none."""
        ...

    def cancel(self) -> None: ...

    def passed(self) -> list[str]:
        """The places so far."""
        ...

    def quiet(self) -> bool:
        """Whether no place is on its way that was reached before now."""
        ...

    def struck(self, fatal: str) -> bool: ...


class AtBoundaries:
    """The daemon itself, on order: see kill_at."""

    def __init__(self, world: World) -> None:
        self._order = world.order
        self._notes = world.order.with_suffix(".notes")

    def order(self, fatal: str) -> None:
        half: Path = self._order.with_suffix(".half")
        half.write_text(fatal)
        self._notes.unlink(missing_ok=True)
        half.rename(self._order)  # in one piece: the daemon may read it at any time

    def cancel(self) -> None:
        self._order.unlink()

    def passed(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def quiet(self) -> bool:
        """norn_db shows the end of a transaction a moment before it is noted."""
        said = Counter(m[1] for n in self.passed() if (m := _TRANSACTION.search(n)))
        return said["before"] == said["after"]

    def struck(self, fatal: str) -> bool:
        return fatal in self.passed()


@dataclass(frozen=True, slots=True)
class Death:
    """at: where, "" when the daemon survived. seconds: from the kill until norn_db said that all is
    done."""

    at: str
    heir: str
    seconds: float
    remark: str


@dataclass
class Killer:
    """reference: facts of an app to which the same happened undisturbed. manners: the orders to
    give for a place. heirs: who comes after a death, in turn."""

    world: World
    story: Story
    reference: str
    executioner: Executioner
    manners: Callable[[str], Iterable[str]] = lambda place: (place,)
    heirs: tuple[str, ...] = _HEIRS
    deaths: list[Death] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # places, as they were first passed

    def everywhere(self) -> None:
        """Nowhere first, which tells what places there are, then at each by its name: the lanes
        work beside each other, so by number it would be another one each time. What only a later
        run shows is added."""
        self._once("")
        for place in self.seen:  # it grows
            for fatal in self.manners(place):
                self._once(fatal)

    @property
    def died(self) -> list[str]:
        return [d.at for d in self.deaths if d.at]

    def table(self) -> str:
        """Every death, for people."""
        rows = [
            f"{n:>4}  {d.at or '(survived)':<50} {d.heir:<9} {d.seconds:5.2f} s  {d.remark}"
            for n, d in enumerate(self.deaths)
        ]
        return "\n".join([f"\n{self.story.title}: {len(self.died)} kills", *rows])

    def _once(self, fatal: str) -> None:
        """One kill, or the attempt."""
        world, story = self.world, self.story
        app = story.next(world)
        before = world.beside(app)
        self.executioner.order(fatal)
        story.happen(world, app)
        died = self._end(fatal, app)
        began = time.monotonic()
        heir = self._recover(app) if died else ""
        until(lambda: story.done(world, app), told=world.norn.story)
        seconds = time.monotonic() - began
        try:
            world.at_rest()
            same(world.beside(app), before)
            world.judged(app, self.reference)
        except AssertionError as wrong:
            raise AssertionError(f"{story.title}, {fatal}, {heir}: {wrong}") from wrong
        at = fatal if died else ""
        self.deaths.append(Death(at, heir, seconds, story.remark(world, app)))

    def _end(self, fatal: str, app: str) -> bool:
        """True when it died, False when all was done without passing the fatal place."""
        world, daemon, by = self.world, self.world.daemon, self.executioner
        assert daemon is not None

        def dead() -> bool:
            return daemon.process.poll() is not None

        until(lambda: dead() or (self.story.done(world, app) and by.quiet()), told=world.norn.story)
        self.seen += [place for place in by.passed() if place not in self.seen]
        died = by.struck(fatal)
        if died:
            until(dead, told=world.norn.story)
            assert daemon.process.wait(1) == -signal.SIGKILL
            world.daemon = None
        assert died or not dead(), daemon.log.read_text()
        by.cancel()
        return died

    def _recover(self, app: str) -> str:
        world = self.world
        heir = self.heirs[len(self.deaths) % len(self.heirs)]
        if heir == "apply":
            world.norn.run("apply", code=None)
            if not self.story.done(world, app):
                # What the dead one had sent last may have been under way still.
                world.norn.run("apply")
                heir = "apply x2"
        elif heir == "norn run":
            with Norn.daemon(world.norn):  # nothing forked, nothing that counts
                until(lambda: self.story.done(world, app), told=world.norn.story)
        else:
            world.up()
        return heir
