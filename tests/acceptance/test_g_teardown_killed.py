"""(g) norn, killed over what an app has on all three services, when something was done and norn_db
had not heard of it. The next one ends it, and says the same of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import spec
from tests.acceptance.norn_here import working_folder
from tests.acceptance.services import Services
from tests.acceptance.test_g_teardown import databases, held, last, role
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

MOST = 12  # apps: a few more than there are places


@pytest.fixture
def norn(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    more = {"NORN_GRACE_SECONDS": "0.1", "NORN_REMOVAL_MAX_APPS": "1000"}
    with working_folder(servers, tmp_path / "norn", **more) as here:
        yield Warm(here.folder, here.settings, here.norn_db)


def places(passed: list[str]) -> list[str]:
    """The other places are those of test_g_teardown."""
    return [place for place in passed if place.startswith("work-teardown: before record")]


def test_a_database_topics_and_keys_go_whoever_is_killed(
    norn: Warm, name, services: Services
) -> None:
    apps = [name(f"d{n}") for n in range(MOST)]
    for app in apps:
        norn.write(f"{app}.yaml", "deletionPolicy: delete\n" + spec(app))
    norn.run("apply")
    for app in apps:
        with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE precious AS SELECT generate_series(1, 100) AS n")
        services.valkey.mset({f"{app}:{n}": n for n in range(1500)})
    # Nowhere first, which tells what places there are.
    seen, died = [""], 0
    for app, place in zip(apps, seen, strict=False):
        (norn.specs / f"{app}.yaml").unlink()
        passed = norn.until(place, "apply")
        died += place in passed
        seen += [p for p in places(passed) if p not in seen]
        norn.run("apply")
        assert last(norn, app)["state"] == "done", (place, last(norn, app))
        assert databases(norn, app) == {}, place
        assert role(norn, app) is None, place
        assert held(norn, app) == set(), place
        assert next(services.valkey.scan_iter(f"{app}:*", 10000), None) is None, place
        assert f"{app}.in" not in services.topics(), place
        gone = {e["fields"]["kind"]: e for e in norn.events("object.destroyed", app)}
        assert gone.keys() == {"database", "topic", "namespace"}, place
        copies = norn.rows("SELECT name, size FROM reconciler.snapshots WHERE app = %s", app)
        named = [c for c in copies if c["name"] == gone["database"]["fields"]["snapshot"]]
        assert named, (place, gone["database"])
        path = norn.folder / "snapshots" / named[0]["name"]
        assert path.stat().st_size == named[0]["size"], place
        (state,) = norn.rows("SELECT status FROM forge_states WHERE app = %s", app)
        assert state["status"] == "unforged", place
    assert died == len(seen) - 1, "each of them"
    assert 7 <= died < MOST, seen
