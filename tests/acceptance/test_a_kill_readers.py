"""(a) A database that is opened to a reader, and shut again: killed (SIGKILL) at every write."""

from __future__ import annotations

import psycopg
import pytest

from tests.acceptance.services import Services
from tests.acceptance.test_9_database_readers import members, owner, plain, session, variable
from tests.acceptance.warm_norn import Warm

# PostgreSQL alone: asking the others would only take time. A removal need not wait.
LEFT_OUT = {"NORN_VALKEY_URL", "NORN_REDPANDA_BROKERS"}
GRACE = {"NORN_GRACE_SECONDS": "0.1"}


@pytest.fixture
def warm(norn: Warm) -> Warm:
    settings = {key: value for key, value in norn.settings.items() if key not in LEFT_OUT}
    return Warm(norn.folder, {**settings, **GRACE}, norn.norn_db)


class Opening:
    """Each time a pair of its own: only new ones are made."""

    def __init__(self, warm: Warm, services: Services, name) -> None:
        self._warm, self._services, self._name, self._count = warm, services, name, 0

    def killed_at(self, place: str) -> list[str]:
        self._count += 1
        a, b = self._name(f"owner{self._count}"), self._name(f"reader{self._count}")
        self._warm.write(f"{a}.yaml", owner(a, b))
        self._warm.write(f"{b}.yaml", plain(b))
        places = self._warm.until(place, "apply")
        self._warm.run("apply")
        self._judge(a, b, place)
        return places

    def _judge(self, a: str, b: str, place: str) -> None:
        norn = self._warm
        assert norn.is_ready(a), (place, norn.story())
        assert norn.is_ready(b), (place, norn.story())
        assert members(self._services, a) == {b}
        with session(norn.env(a)["DATABASE_URL"]) as own:
            own.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS x")
        with session(norn.env(b)[variable(a)]) as read:
            assert read.execute("SELECT x FROM s.t").fetchone() == (1,)
        rows = norn.rows("SELECT state FROM reconciler.inventory WHERE app = %s", a)
        assert [row["state"] for row in rows] == ["owned"] * 3


class Shutting:
    """The same pair each time; a session of the reader's is inside."""

    def __init__(self, warm: Warm, services: Services, name) -> None:
        self._warm, self._services = warm, services
        self._owner, self._reader = name("owner"), name("reader")
        warm.write("b.yaml", plain(self._reader))

    def killed_at(self, place: str) -> list[str]:
        a, b, norn = self._owner, self._reader, self._warm
        norn.write("a.yaml", owner(a, b))
        norn.run("apply")
        url = norn.env(b)[variable(a)]
        with session(url) as inside:
            norn.write("a.yaml", owner(a))
            places = norn.until(place, "apply")
            norn.run("apply")
            with pytest.raises(psycopg.OperationalError):
                inside.execute("SELECT 1")
        assert members(self._services, a) == set()
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url)
        assert norn.is_ready(a), (place, norn.story())
        assert norn.is_ready(b), (place, norn.story())
        rows = norn.rows("SELECT kind, state FROM reconciler.inventory WHERE app = %s", a)
        states = {row["kind"]: row["state"] for row in rows}
        assert states == {"role": "owned", "database": "owned", "group": "retained"}, place
        assert norn.events("drift.detected") == []
        return places


@pytest.mark.parametrize(("story", "least"), [(Opening, 12), (Shutting, 4)])
def test_killed_at_every_write(warm: Warm, services: Services, name, story, least: int) -> None:
    warm.run("apply")  # makes the key and norn_db's tables
    told = story(warm, services, name)
    places = told.killed_at("")
    killed = [place for place in places if place in told.killed_at(place)]
    warm.run("plan", "--check")
    assert len(killed) >= least, (killed, places)
