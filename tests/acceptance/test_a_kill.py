"""(a) One app over three services; `norn apply` is killed (SIGKILL) at every write."""

from __future__ import annotations

import psycopg

from tests.acceptance.harness import database, spec
from tests.acceptance.services import Services
from tests.acceptance.warm_norn import Warm


def test_killed_at_every_write_of_a_creation(norn: Warm, services: Services, name) -> None:
    """Each boundary has an app of its own, since only a new one is created; the next `apply` after
    each kill must converge it without a Conflict, and leave an empty plan."""
    norn.run("apply")  # makes the key and norn_db's tables
    count = 0

    def killed_at(place: str) -> list[str]:
        nonlocal count
        count += 1
        app = name(f"kill{count}")
        norn.write("kill.yaml", spec(app))
        passed = norn.until(place, "apply")
        norn.run("apply")
        assert norn.is_ready(app), (place, norn.story())
        assert norn.run("plan", app, "--check"), place
        assert services.owner(database(app)) == app
        states = {r["state"] for r in norn.rows(
            "SELECT state FROM reconciler.inventory WHERE app = %s", app)}  # fmt: skip
        assert states == {"owned"}, (place, states)
        norn.env(app)
        (norn.specs / "kill.yaml").unlink()
        _forget(norn, app)
        return passed

    places = killed_at("")
    killed = [place for place in places if place in killed_at(place)]
    assert len(killed) > 8, (killed, places)


def _forget(norn: Warm, app: str) -> None:
    """Drop norn's rows of the app, so that the next one is alone in its folder."""
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        for table in ("apps", "inventory", "services", "operations"):
            conn.execute(f"DELETE FROM reconciler.{table} WHERE app = %s", (app,))


def test_killed_at_every_write_of_a_removal(norn: Warm, services: Services, name) -> None:
    app, stays = name("rm"), name("stays")
    norn.settings = {**norn.settings, "NORN_GRACE_SECONDS": "0.1"}
    norn.write("stays.yaml", spec(stays, kv=False, events=False, postgres=False))

    def killed_at(place: str) -> list[str]:
        norn.write("rm.yaml", spec(app))
        norn.run("apply")
        assert services.can_login(app) is True, place
        (norn.specs / "rm.yaml").unlink()
        passed = norn.until(place, "apply")
        norn.run("apply")
        assert services.can_login(app) is False, place
        assert services.acl_user(app) is None
        assert services.acls(app) == []
        assert services.owner(database(app)) == app
        assert (norn.app(app) or {})["state"] == "removed"
        return passed

    places = killed_at("")
    killed = [place for place in places if place in killed_at(place)]
    assert len(killed) > 4, (killed, places)
