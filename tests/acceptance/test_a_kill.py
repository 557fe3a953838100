"""(a) One app over three services, killed (SIGKILL) at every write, ownership recovered."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.acceptance.harness import Norn, database, spec
from tests.acceptance.services import Services

ROOT = Path(__file__).parents[2]


def apply_until(norn: Norn, number: int) -> tuple[int, int]:
    """(exit code, boundaries passed; 0 when it was killed)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.kill_at", str(number), "apply"],
        cwd=norn.folder,
        env=norn.environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"boundaries (\d+)", done.stderr)
    return done.returncode, int(found[1]) if found else 0


def test_killed_at_every_write_of_a_creation(norn: Norn, services: Services, name) -> None:
    """Each boundary has an app of its own, since only a new one is created; the next `apply` after
    each kill must converge it without a Conflict, and leave an empty plan."""
    number = 0
    survived = False
    while not survived:
        number += 1
        app = name(f"kill{number}")
        norn.write("kill.yaml", spec(app))
        code, _ = apply_until(norn, number)
        survived = code == 0
        assert survived or code == -signal.SIGKILL, code
        norn.run("apply")
        row = norn.app(app)
        assert row is not None
        assert norn.condition(app, "Ready")["status"] == "True", (number, row)
        assert norn.run("plan", app, "--check"), number
        assert services.owner(database(app)) == app
        states = {r["state"] for r in norn.rows(
            "SELECT state FROM reconciler.inventory WHERE app = %s", app)}  # fmt: skip
        assert states == {"owned"}, (number, states)
        norn.env(app)
        (norn.specs / "kill.yaml").unlink()
        _forget(norn, app)
    assert number > 8, "the boundaries were not counted"


def _forget(norn: Norn, app: str) -> None:
    """Drop norn's rows of the app, so that the next one is alone in its folder."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        for table in ("apps", "inventory", "services", "operations"):
            conn.execute(f"DELETE FROM reconciler.{table} WHERE app = %s", (app,))


def test_killed_at_every_write_of_a_removal(norn: Norn, services: Services, name) -> None:
    app, stays = name("rm"), name("stays")
    norn.write("stays.yaml", spec(stays, kv=False, events=False, postgres=False))
    number = 0
    survived = False
    while not survived:
        number += 1
        norn.write("rm.yaml", spec(app))
        norn.run("apply")
        assert services.can_login(app) is True, number
        (norn.specs / "rm.yaml").unlink()
        code, _ = apply_until_gone(norn, number)
        survived = code == 0
        assert survived or code == -signal.SIGKILL, code
        norn.run("apply", NORN_GRACE_SECONDS="0.1")
        assert services.can_login(app) is False, number
        assert services.acl_user(app) is None
        assert services.acls(app) == []
        assert services.owner(database(app)) == app
        assert (norn.app(app) or {})["state"] == "removed"
    assert number > 4


def apply_until_gone(norn: Norn, number: int) -> tuple[int, int]:
    norn.settings = {**norn.settings, "NORN_GRACE_SECONDS": "0.1"}
    return apply_until(norn, number)
