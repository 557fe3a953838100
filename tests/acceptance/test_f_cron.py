"""(f) Apps with role cron have their row, for whoever runs their commands."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.acceptance.harness import spec, until
from tests.acceptance.warm_norn import Warm

CRON = "app: {app}\nrole: cron\ncommand: x\nschedule: '{schedule}'\n"


def test_a_cron_app_has_its_row_as_long_as_its_file_asks(norn_on_postgres: Warm, name) -> None:
    norn, app, other = norn_on_postgres, name("nightly"), name("stays")

    def row(of: str = app) -> dict[str, object] | None:
        listed = norn.json("cron", "list")["crons"]
        return next((r for r in listed if r["app"] == of), None)

    norn.write("nightly.yaml", CRON.format(app=app, schedule="15 3 * * *"))
    norn.write("stays.yaml", CRON.format(app=other, schedule="every noon"))
    with norn.daemon(NORN_GRACE_SECONDS="1"):
        until(lambda: row() and row(other), told=norn.story)
        first = row()
        assert first is not None
        assert (first["schedule"], first["paused"]) == ("15 3 * * *", False)
        due = datetime.fromisoformat(str(first["next_run_at"]))
        assert due > datetime.now(UTC)
        assert (due.astimezone(UTC).hour, due.minute) == (3, 15)
        unread = row(other)
        assert unread is not None
        assert unread["next_run_at"] is None
        assert app in norn.run("cron", "list")
        norn.rows("UPDATE cron_states SET paused = true WHERE app = %s RETURNING 1", app)
        norn.write("nightly.yaml", CRON.format(app=app, schedule="@hourly"))
        until(lambda: (row() or {}).get("schedule") == "@hourly", told=norn.story)
        assert (row() or {})["paused"] is True
        (norn.specs / "nightly.yaml").unlink()
        until(lambda: row() is None, told=norn.story)
        assert row(other) == unread


def test_apps_are_served_whatever_became_of_the_table(norn_on_postgres: Warm, name) -> None:
    norn, app = norn_on_postgres, name("goes-on")
    norn.write("first.yaml", CRON.format(app=name("nightly"), schedule="@daily"))
    with norn.daemon():
        until(lambda: norn.rows("SELECT 1 FROM cron_states"), told=norn.story)
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        conn.execute("ALTER TABLE cron_states RENAME COLUMN next_run_at TO due")
    with norn.daemon(NORN_GRACE_SECONDS="0.1") as daemon:
        until(lambda: daemon.events("cron.refused"), told=norn.story)
        text = "deletionPolicy: trash\n" + spec(app, kv=False, events=False)
        path = norn.write("second.yaml", text)
        norn.until_ready(app)
        path.unlink()
        until(lambda: norn.events("object.trashed", app), told=norn.story)
        assert not daemon.events("store.lost")


def test_copies_are_made_by_the_clock_once_for_a_time_and_as_many_kept_as_asked(
    norn_on_postgres: Warm, name
) -> None:
    norn, app = norn_on_postgres, name("copied")
    text = spec(app, kv=False, events=False)
    snapshots = "    snapshots: {{schedule: '{at}', keep: 2}}\n"
    norn.write("copied.yaml", text + snapshots.format(at="15 3 * * *"))

    def made() -> list[str]:
        return [s["name"] for s in norn.json("snapshot", "list", app)["snapshots"]]

    def due() -> None:
        with psycopg.connect(norn.norn_db, autocommit=True) as conn:
            conn.execute(
                "UPDATE cron_states SET next_run_at = now() - interval '3 days' WHERE app = %s",
                [f"{app}:snapshot"],
            )

    def row() -> dict[str, object]:
        return next(r for r in norn.json("cron", "list")["crons"] if r["app"] == f"{app}:snapshot")

    def ended(count: int) -> bool:
        rows = norn.rows("SELECT state FROM reconciler.operations WHERE requested_by = 'schedule'")
        return [r["state"] for r in rows] == ["done"] * count

    with norn.daemon() as daemon:
        norn.until_ready(app)
        until(lambda: norn.rows("SELECT 1 FROM cron_states"), told=norn.story)
        assert datetime.fromisoformat(str(row()["next_run_at"])) > datetime.now(UTC)
        due()
        until(lambda: ended(1), told=norn.story)
        until(lambda: datetime.fromisoformat(str(row()["next_run_at"])) > datetime.now(UTC))
        (first,) = made()
        # As one leaves it that was killed between asking and moving on, when the copy is made.
        norn.rows(
            "UPDATE cron_states SET next_run_at = (SELECT arguments->>'due' FROM"
            " reconciler.operations WHERE app = %s AND requested_by = 'schedule')::timestamptz"
            " WHERE app = %s RETURNING 1",
            app,
            f"{app}:snapshot",
        )
        until(lambda: datetime.fromisoformat(str(row()["next_run_at"])) > datetime.now(UTC))
        assert ended(1), "asked for already"
        norn.run("cron", "pause", app, "--snapshots")
        due()
        assert row()["paused"] is True
        daemon.kill()
    with norn.daemon():
        norn.until_ready(app)
        assert ended(1), "paused"
        norn.run("cron", "resume", app, "--snapshots")
        until(lambda: ended(2), told=norn.story)
        for count in (3, 4):
            due()
            until(lambda count=count: ended(count), told=norn.story)  # type: ignore[misc]
        assert len(made()) == 2, "three days late are one copy, and two are kept"
        assert first not in made()
        norn.write("copied.yaml", text)
        until(lambda: not norn.rows("SELECT 1 FROM cron_states"), told=norn.story)
    done = norn.ended("cron", "pause", app, "--snapshots")
    assert done.returncode == 1
    assert "norn cron list" in done.stderr


def test_due_commands_are_run_once_where_that_is_allowed(norn_on_postgres: Warm, name) -> None:
    norn, app, off = norn_on_postgres, name("runs"), name("fails")
    user = "nobody" if os.geteuid() == 0 else ""
    on = {"NORN_CRON": "on", "NORN_COMMANDS_USER": user}

    def due(of: str) -> None:
        """Its time has come a while ago."""
        query = "UPDATE cron_states SET next_run_at = now() - interval '2 h' WHERE app = %s"
        with psycopg.connect(norn.norn_db, autocommit=True) as conn:
            assert conn.execute(query, [of]).rowcount == 1

    def runs(of: str) -> list[dict[str, Any]]:
        return norn.rows("SELECT * FROM cron_executions WHERE app = %s ORDER BY started_at", of)

    command = "echo to $DATABASE_URL; sleep $LASTS; echo over"
    lasting = "command: '{}'\nenv: {{LASTS: {}}}\ntimeout: {}\n"
    head = spec(app, kv=False, events=False).replace("role: worker", "role: cron")
    whole = head + "schedule: '@yearly'\n"
    norn.write("runs.yaml", whole + lasting.format(command, 0, 60))
    norn.write("fails.yaml", f"app: {off}\nrole: cron\nschedule: '@yearly'\ncommand: exit 5\n")
    with norn.daemon() as daemon:
        until(lambda: norn.rows("SELECT 1 FROM cron_states WHERE app = %s", off), told=norn.story)
        norn.until_ready(app)
        due(app)
        norn.write("another.yaml", spec(name("another"), kv=False, events=False))
        norn.until_ready(name("another"))
    assert runs(app) == [], "not where it is not allowed"
    with norn.daemon(**on) as daemon:
        until(lambda: runs(app) and runs(app)[0]["finished_at"], told=norn.story)
        due(off)
        until(lambda: runs(off) and runs(off)[0]["finished_at"], told=norn.story)
        said = [line["line"] for line in daemon.events("cron.said", app=app)]
        # Its time passes while the former run goes on: that one is left out.
        norn.write("runs.yaml", whole + lasting.format(command, 1000, 1000))
        norn.until_ready(app, generation=2)
        due(app)
        until(lambda: len(runs(app)) == 2, told=norn.story)
        due(app)
        until(lambda: not norn.rows("SELECT 1 FROM cron_states WHERE next_run_at < now()"))
        daemon.kill()
    assert said == ["to ***", "over"]
    (done, cut), (bad,) = runs(app), runs(off)
    assert (done["status"], done["exit_code"], done["output"]) == ("succeeded", 0, "to ***\nover")
    assert (bad["status"], bad["exit_code"]) == ("failed", 5)
    assert (cut["status"], cut["finished_at"]) == ("running", None)
    with norn.daemon(**on):
        until(lambda: runs(app)[-1]["finished_at"], told=norn.story)
    assert [r["status"] for r in runs(app)] == ["succeeded", "failed"]
    assert runs(app)[-1]["output"] == "norn restarted during the run"
