"""(i) A restore is taken back by a daemon that is killed over it. The next one ends it: of the two
databases the one is live and the other in the trash, each with what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from norn_reconciler.model.databases import Seen
from norn_reconciler.snapshots.exchange import agreed
from tests.acceptance.harness import database, until
from tests.acceptance.test_e_restore import Killed, databases, known, there
from tests.acceptance.test_e_snapshots_killed import ended
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

PLACES = 15


@pytest.fixture
def norn(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    with warm_on_postgres(servers, tmp_path / "norn") as norn:
        yield norn


def aside(norn: Warm, app: str) -> str:
    (name,) = known(norn, app).keys() - {database(app)}
    return name


def asked(norn: Warm, app: str) -> int:
    """As the command does it."""
    trashed, ids = aside(norn, app), known(norn, app)
    live, other = (Seen(name, ids[name], app, 0, 0, True) for name in (database(app), trashed))
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO reconciler.operations (kind, app, arguments, digest)"
            " VALUES ('exchange', %s, %s, %s) RETURNING id",
            [app, json.dumps({"aside": trashed}), agreed(live, other)],
        ).fetchone()
        conn.execute("SELECT pg_notify('norn_operations', '')")
        assert row is not None
        return int(row[0])


def trashed_value(norn: Warm, one: Killed) -> int:
    """What is in the one that nobody may enter."""
    name = aside(norn, one.app)

    def look() -> int | None:
        with psycopg.connect(
            norn.settings["NORN_POSTGRES_URL"], dbname="postgres", autocommit=True
        ) as conn:
            conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            try:
                return one.value(name)
            except psycopg.OperationalError:  # the daemon was quicker, and has shut it
                return None
            finally:
                conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')

    return int(until(look, told=norn.story))


def places(passed: list[str]) -> list[str]:
    return [place for place in passed if place.startswith(("work-exchange:", "databases:"))]


def test_killed_at_each_step_of_an_undo_the_next_ends_it(norn: Warm, name) -> None:
    one = Killed(norn, name("undo"))
    app, live = one.app, database(one.app)
    one.put(2)
    assert ended(norn, one.asked())["state"] == "done"
    values = [1, 2]  # of the live one, and of the other
    # Nowhere first, which tells what places there are.
    seen = [""]
    for count, place in enumerate(seen, 2):
        one.judge.order(place)
        number = asked(norn, app)
        if place:
            until(lambda: norn.daemons[-1].process.poll() is not None, told=norn.story)
            assert one.judge.struck(place), (place, one.judge.passed())
        else:
            ended(norn, number)
            until(one.judge.quiet)
            seen += places(one.judge.passed())
        one.judge.cancel()
        if place:
            one.begin()
        done = ended(norn, number)
        assert done["state"] == "done", (place, done["result"])
        values.reverse()
        assert there(norn, app) == known(norn, app), place
        assert databases(norn, app) == {live: True, aside(norn, app): False}, place
        assert [one.value(), trashed_value(norn, one)] == values, place
        assert len(norn.events("snapshot.restored", app)) == count, place
        until(lambda: norn.ended("plan", "--check").returncode == 0, told=norn.story)
    assert len(seen) - 1 == PLACES, seen
    assert not [line for d in norn.daemons for line in d.events("lane.faulted")]
    assert norn.daemons[-1].stop() == 0
