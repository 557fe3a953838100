"""Random fleets, random edits and random meddling on the real servers: after each step the servers
hold what the last good files say and no more, the next plan is empty, and order never matters."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kafka.admin import ConfigResource, ConfigResourceType

from tests.acceptance.fleet_judge import Judge
from tests.acceptance.fleet_meddling import DRIFT, NO_DRIFT, Meddle, meddling
from tests.acceptance.fleet_wishes import (
    LETTERS,
    TOPICS,
    Edit,
    File,
    Names,
    Topic,
    Wish,
    edits,
    fleets,
)
from tests.acceptance.fleet_world import World
from tests.acceptance.norn_here import working_folder
from tests.acceptance.services import Services
from tests.servers import Servers

pytestmark = pytest.mark.timeout(900)  # a minute on an idle machine

Worlds = Callable[[], AbstractContextManager[World]]
Step = tuple[list[Edit], list[Meddle]]


@pytest.fixture(scope="module")
def worlds(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Opens a world of its own for each example; all it made is gone when it closes."""
    services = Services(
        servers.postgres_superuser_url,
        servers.valkey_url,
        servers.brokers,
        servers.kafka_username,
        servers.kafka_password,
    )
    judge = Judge(services)
    partitions = _default_partitions(services)

    @contextmanager
    def opened() -> Iterator[World]:
        mark = uuid.uuid4().hex[:8]
        folder: Path = tmp_path_factory.mktemp("world") / mark
        quick = {"NORN_SETTLE_SECONDS": "0.02", "NORN_GRACE_SECONDS": "0.02"}
        try:
            with working_folder(servers, folder, **quick) as norn:
                yield World(norn, judge, mark, partitions)
        finally:
            judge.clean_up(mark)

    with closing(services):
        yield opened


def _default_partitions(services: Services) -> int:
    number = str(services.kafka.describe_cluster()["controller_id"])
    broker = ConfigResource(ConfigResourceType.BROKER, number)
    told = services.kafka.describe_configs([broker], config_filter="all")
    return int(told["broker"][number]["num.partitions"]["value"])


bounded = settings(
    deadline=None,
    derandomize=True,  # a run in CI takes as long as the one before
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.generate),  # to shrink a failure takes many minutes
    report_multiple_bugs=False,
)
steps = st.lists(
    st.tuples(st.lists(edits, max_size=3), st.lists(meddling, max_size=4)), min_size=2, max_size=4
)


@settings(bounded, max_examples=8)
@given(fleets, steps)
def test_whatever_happens_the_servers_end_as_the_files_say(
    worlds: Worlds, first: dict[str, Wish], then: list[Step]
) -> None:
    with worlds() as world:
        begin = [Edit("write", letter, wish) for letter, wish in first.items()]
        for edited, meddled in [(begin, []), *then]:
            drift = world.meddle(meddled)
            if drift:
                assert world.plan()["changes"], f"unseen: {drift}"
            world.edit(edited)
            world.converge()
            seen = world.check()
            assert _rest(world) == seen


def _rest(world: World) -> object:
    """What the servers hold after all norn has to do once more, which must be nothing."""
    assert world.plan()["changes"] == 0
    events = _events(world)
    assert world.converge()["changes"] == 0
    assert world.broken or _events(world) == events
    return world.look()


def _events(world: World) -> list[dict[str, Any]]:
    """What is on record but for standing warnings, which each new process tells once."""
    rows = world.norn.rows("SELECT id, app, event, message FROM reconciler.events ORDER BY id")
    return [row for row in rows if row["event"] != "problem.found"]


def test_every_kind_of_meddling_is_seen_recorded_and_repaired(worlds: Worlds) -> None:
    topics = ((TOPICS[0], Topic(2, (("retention.ms", 60000),))), (TOPICS[1], Topic()))
    with worlds() as world:
        world.edit([Edit("write", letter, Wish(0, 5, 0, topics)) for letter in LETTERS])
        world.converge()
        world.check()
        kinds = sorted({**DRIFT, **NO_DRIFT})
        for at in range(0, len(kinds), len(LETTERS)):
            meddles = [Meddle(*pair) for pair in zip(LETTERS, kinds[at:], strict=False)]
            drift = [Names(m.letter, world.mark).app for m in meddles if m.kind in DRIFT]
            assert len(world.meddle(meddles)) == len(drift)
            planned = world.plan()["apps"]
            assert [app for app, actions in planned.items() if actions] == drift, meddles
            before = _events(world)
            world.converge()
            news = _events(world)[len(before) :]
            told = {e["app"] for e in news if e["event"] in {"drift.detected", "data.missing"}}
            assert told == set(drift), meddles
            assert _rest(world) == world.check()


@settings(bounded, max_examples=4)
@given(fleets)
def test_neither_file_names_nor_the_order_of_what_they_say_matter(
    worlds: Worlds, fleet: dict[str, Wish]
) -> None:
    with worlds() as world:
        world.folder = {letter: File(wish) for letter, wish in fleet.items()}
        mirror = world.norn.folder / "mirror"
        world.write(world.norn.specs)
        world.write(mirror, mirrored=True)
        one = world.plan()
        other = world.plan(NORN_SPECS_DIR=str(mirror))
        assert one["digest"] == other["digest"]
        world.edit([])
        world.converge()
        seen = world.check()
        world.norn.json("apply", code=0)
        # The same said elsewhere and otherwise is the same wish.
        told = world.norn.run("apply", "--output", "json", NORN_SPECS_DIR=str(mirror))
        assert '"changes": 0' in told, told
        assert world.look() == seen
