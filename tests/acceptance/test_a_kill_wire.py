"""(a) The daemon, killed (SIGKILL) while a request is under way to PostgreSQL, Valkey or norn_db:
it was done and nobody heard, it was done in part, or it is done when the next daemon is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.harness import Norn, until
from tests.acceptance.kill_stories import SESSION_LIVES, Creation, Removal, Repair
from tests.acceptance.kill_wire import Wire, laid
from tests.acceptance.kill_world import World, opened
from tests.acceptance.killer import Death, Killer, Story
from tests.acceptance.services import Services

# What a removal and a repair go through; what is first in a request names it.
AT_SERVICES = {
    *("after kv: SETUSER", "half kv: SETUSER", "late kv: SETUSER"),
    *("after kv: SAVE", "half kv: SAVE", "late kv: SAVE"),
    *("after postgres: ALTER ROLE", "late postgres: ALTER ROLE"),
}
Manners = Callable[[str], tuple[str, ...]]
Wired = tuple[World, Wire]
WAYS = {
    "NORN_POSTGRES_URL": "postgres",
    "NORN_VALKEY_URL": "kv",
    "NORN_DATABASE_URL": "norn_db",
}


def everywhere(place: str) -> tuple[str, ...]:
    """What can differ from dying before the request: a COMMIT that is late never comes, since its
    transaction ends with the session, and PostgreSQL does nothing by halves."""
    ways = {"norn_db": ("after",), "postgres": ("after", "late"), "kv": ("after", "half", "late")}
    return tuple(f"{way} {place}" for way in ways[place.partition(":")[0]])


def at_services(place: str) -> tuple[str, ...]:
    return () if place.startswith("norn_db") else everywhere(place)


def killed(world: World, wire: Wire, story: Story, reference: str, manners: Manners) -> list[Death]:
    killer = Killer(world, story, reference, wire, manners, heirs=("daemon",))
    try:
        killer.everywhere()
    finally:
        print(killer.table())
    assert not wire.holding
    return [d for d in killer.deaths if d.at]


def kinds(deaths: list[Death]) -> set[str]:
    return {d.at.rpartition(" ")[0] for d in deaths}


@pytest.fixture
def wired(norn: Norn, services: Services) -> Iterator[Wired]:
    """A world whose daemons reach PostgreSQL, Valkey and norn_db by the wire."""
    here: list[World] = []
    with laid(lambda: here[0].daemon.process.pid if here[0].daemon else 0) as wire:
        urls = {**norn.settings, "NORN_DATABASE_URL": norn.norn_db}
        ways = {name: wire.way(kind, urls[name]) for name, kind in WAYS.items()}
        with opened(norn, services, "stays", "too", ways=ways) as world:
            here.append(world)
            yield world, wire


def test_killed_with_a_request_of_a_creation_under_way(wired: Wired) -> None:
    world, wire = wired
    deaths = killed(world, wire, Creation(), world.facts(world.apps[1]), everywhere)
    kv = {place for place in AT_SERVICES if "kv" in place}
    assert kinds(deaths) == kv | {
        "after norn_db: COMMIT",
        *("after postgres: CREATE ROLE", "late postgres: CREATE ROLE"),
        *("after postgres: CREATE DATABASE", "late postgres: CREATE DATABASE"),
        *("after postgres: ALTER DATABASE", "late postgres: ALTER DATABASE"),
        *("after postgres: REVOKE ALL ON SCHEMA", "late postgres: REVOKE ALL ON SCHEMA"),
    }


def test_killed_with_a_request_of_a_removal_under_way(wired: Wired) -> None:
    world, wire = wired
    goes = [world.name(f"goes{n}") for n in range(10)]
    world.add(*goes)
    until(lambda: all(map(world.is_ready, goes)), 60, told=world.norn.story)
    world.at_rest()
    for app in goes:
        world.delivered(app)
    story = Removal()
    first = story.next(world)
    story.happen(world, first)
    until(lambda: story.done(world, first), told=world.norn.story)
    deaths = killed(world, wire, story, world.facts(first), at_services)
    assert kinds(deaths) == AT_SERVICES


def test_killed_with_a_request_of_a_repair_under_way(wired: Wired) -> None:
    world, wire = wired
    deaths = killed(world, wire, Repair(), world.facts(world.apps[1]), at_services)
    assert kinds(deaths) == AT_SERVICES
    # Rules repaired, and the command that ends the sessions cut off: nobody knows of them any more.
    assert {d.at for d in deaths if SESSION_LIVES in d.remark} <= {"half kv: SETUSER 1"}
