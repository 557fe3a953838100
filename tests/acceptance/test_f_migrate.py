"""(f) Migrations: a copy first, then the app's command, whose end is told; beside a daemon that
goes on, and is killed."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Daemon, database, spec, until
from tests.acceptance.killer import AtBoundaries
from tests.acceptance.warm_folder import warm_on_postgres
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers

NOBODY = pwd.getpwnam("nobody")
SECRET = "a-secret-of-the-daemon"


@pytest.fixture
def norn(servers: Servers, tmp_path: Path) -> Iterator[Warm]:
    """A daemon's settings that let it migrate; as root, in another user's name."""
    settings = {
        "NORN_MIGRATIONS": "on",
        "NORN_SNAPSHOTS_KEEP": "100",
        "UNRELATED_SECRET": SECRET,
    }
    if os.geteuid() == 0:
        settings["NORN_COMMANDS_USER"] = NOBODY.pw_name
    with warm_on_postgres(servers, tmp_path / "norn", **settings) as norn:
        yield norn


def migrating(app: str, command: str, revision: str = "", **more: object) -> str:
    lines = ["migrations:", f"  database: {database(app)}", "  command: |"]
    lines += [f"    {line}" for line in command.strip().splitlines()]
    if revision:
        lines.append(f"  revision: '{revision}'")
    lines += [f"  {key}: {value}" for key, value in more.items()]
    return spec(app, kv=False, events=False) + "\n".join(lines) + "\n"


def counted(path: Path) -> list[str]:
    return path.read_text().splitlines()


def deployments(norn: Warm, app: str) -> list[dict[str, Any]]:
    """Of its migrations, oldest first."""
    rows = norn.rows("SELECT * FROM deployments WHERE app = %s ORDER BY started_at", app)
    return [r for r in rows if r["steps"] and r["steps"][0]["step"] == "snapshot"]


def processes(word: str) -> list[int]:
    """Those with `word` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue  # it has ended
    return [pid for pid in found if pid != os.getpid()]


def ended(norn: Warm, number: int) -> dict[str, Any]:
    def now() -> dict[str, Any]:
        return norn.rows("SELECT * FROM reconciler.operations WHERE id = %s", number)[0]

    until(lambda: now()["state"] in {"done", "failed"}, 40, told=norn.story)
    return now()


def asked(norn: Warm, app: str, revision: str) -> int:
    """As the command does it."""
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO reconciler.operations (kind, app, arguments) "
            "VALUES ('migrate', %s, jsonb_build_object('revision', %s::text)) RETURNING id",
            [app, revision],
        ).fetchone()
        assert row is not None
        conn.execute("SELECT pg_notify('norn_operations', %s)", [str(row[0])])
        return int(row[0])


def pending(norn: Warm, app: str) -> tuple[str | None, str]:
    found = norn.condition(app, "MigrationPending")
    return found.get("reason"), found.get("message", "")


def whole(norn: Warm) -> set[str]:
    """Each copy has its record, and nothing else is there. Their names."""
    names = {p.name for p in (norn.folder / "snapshots").iterdir()}
    assert names == {r["name"] for r in norn.rows("SELECT name FROM reconciler.snapshots")}
    return names


TELLING = """
echo "$NORN_REVISION" >> {mark}
echo "at $DATABASE_URL as ${{DATABASE_URL#*://}}" $PGVALUE
id -un; pwd; umask; ls -l /proc/self/fd | wc -l
env | cut -d= -f1 | sort | tr '\\n' ' '; echo
readlink /proc/self/fd/0; printf 'half a line'
sleep 3
"""


def test_a_due_revision_is_run_once_with_a_copy_before_and_nothing_of_norns(
    norn: Warm, name, mark: Path
) -> None:
    app = name("once")
    text = migrating(app, TELLING.format(mark=mark), "1") + "env: {PGVALUE: topsecret-value}\n"
    norn.write(f"{app}.yaml", text)
    daemon = norn.start()
    until(lambda: counted(mark) == ["1"], told=norn.story)
    row = deployments(norn, app)[0]
    assert (row["status"], row["finished_at"]) == ("migrating", None)
    # Neither the command, nor who keeps it, has anything of norn's; nobody shows the app's.
    for pid in (*processes("/jobs/keeper.py"), *processes("/bin/sh\0-c\0")):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert SECRET.encode() not in environment
        assert b"NORN_POSTGRES_URL" not in environment
    until(lambda: deployments(norn, app)[0]["status"] == "deployed", told=norn.story)
    (row,) = deployments(norn, app)
    copy, step = row["steps"]
    assert (copy["step"], copy["status"]) == ("snapshot", "ok")
    assert whole(norn) == {copy["output"]}
    assert (step["step"], step["status"]) == ("migrate", "ok")
    user = norn.settings.get("NORN_COMMANDS_USER") or pwd.getpwuid(os.geteuid()).pw_name
    at, who, folder, umask, handles, names, stdin, half = step["output"].splitlines()
    password = str(psycopg.conninfo.conninfo_to_dict(norn.env(app)["DATABASE_URL"])["password"])
    assert at.startswith("at *** as ")
    assert at.endswith(" ***")
    assert password not in str(row)
    assert not any(password in str(line) for line in daemon.lines())
    assert (who, umask, stdin, half) == (user, "0077", "/dev/null", "half a line")
    assert folder.startswith("/tmp/norn-")
    assert not Path(folder).exists()
    assert int(handles) == 5, "0, 1, 2, the folder that ls reads, and a heading"
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert set(names.split()) - shell == {
        *("PATH", "LANG", "HOME", "DATABASE_URL", "PGVALUE"),
        *("NORN_APP", "NORN_REVISION", "NORN_DATABASE"),
    }
    said = [line["line"] for line in daemon.events("migration.said", app=app)]
    assert said == step["output"].splitlines()
    assert norn.events("migration.finished", app)
    until(lambda: pending(norn, app) == (None, ""), told=norn.story)

    # The same again is not due, also for a new daemon; another one is, and by a person's word any.
    assert daemon.stop() == 0
    own = norn.folder / "migrations" / app
    own.mkdir(parents=True)
    for path in (norn.folder, *norn.folder.parents):
        if path != Path("/tmp") and str(path).startswith("/tmp"):
            path.chmod(0o711)
    own.chmod(0o755)
    own.parent.chmod(0o755)
    norn.start()
    norn.write(f"{app}.yaml", migrating(app, f'echo "$NORN_REVISION" >> {mark}; pwd', "2"))
    until(lambda: counted(mark) == ["1", "2"], told=norn.story)
    made = norn.json("migrate", app, "--revision", "nine")
    assert made["ok"], made
    assert counted(mark) == ["1", "2", "nine"]
    assert deployments(norn, app)[-1]["steps"][1]["output"] == str(own)
    assert len(whole(norn)) == 3
    assert own.is_dir()


def test_a_migration_that_fails_says_how_to_get_back_and_is_not_run_again(
    norn: Warm, name, mark: Path
) -> None:
    app, busy = name("fails"), name("lasts")
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    daemon = norn.start()
    until(lambda: norn.is_ready(app) if norn.app(app) else False)
    with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
        conn.execute("CREATE TABLE precious AS SELECT 7 AS n")
    broken = f"echo run >> {mark}\necho 'relation \"x\" is not there' >&2\nexit 3"
    norn.write(f"{app}.yaml", migrating(app, broken, "1"))
    until(lambda: pending(norn, app)[0] == "Failed", told=norn.story)
    (row,) = deployments(norn, app)
    error = 'the command ended with exit code 3: relation "x" is not there'
    assert (row["status"], row["error"]) == ("failed", error)
    (copy,) = whole(norn)
    for told in (pending(norn, app)[1], ended_migrations(norn, app)[-1]["result"]):
        assert error in told
        assert f"norn migrate {app}" in told
        assert f"norn restore {copy}" in told
    assert norn.is_ready(app)

    # Neither by the same daemon nor by the next; what it offers works.
    daemon.stop()
    daemon = norn.start()
    norn.write(f"{busy}.yaml", migrating(busy, "true", "1"))
    until(lambda: pending(norn, busy) == (None, "") and norn.is_ready(busy), told=norn.story)
    assert counted(mark) == ["run"]
    with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
        conn.execute("DROP TABLE precious")
    assert norn.run("restore", copy, "--yes")
    with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT n FROM precious").fetchone() == (7,)
    again = norn.json("migrate", app, code=1)
    assert not again["ok"]
    assert counted(mark) == ["run", "run"]

    # Its time is over: whatever it started ends with it, also in a session of its own.
    slow = f"setsid sleep 98765 &\n(trap '' TERM; sleep 98765) &\necho run >> {mark}\nsleep 98765"
    norn.write(f"{app}.yaml", migrating(app, slow, "2", timeout=1))
    until(lambda: counted(mark) == ["run"] * 3, told=norn.story)
    until(lambda: "took over 1 s" in pending(norn, app)[1], 40, told=norn.story)
    assert not processes("sleep\x0098765")

    # It migrates no other database than its own; and another revision makes it good.
    other = migrating(app, "true", "3")
    there = "migrations:\n  database: "
    norn.write(f"{app}.yaml", other.replace(f"{there}{database(app)}", f"{there}another_db"))
    until(lambda: "its own database only" in pending(norn, app)[1], told=norn.story)
    norn.write(f"{app}.yaml", migrating(app, "true", "4"))
    until(lambda: pending(norn, app) == (None, ""), told=norn.story)
    assert daemon.stop() == 0


def ended_migrations(norn: Warm, app: str) -> list[dict[str, Any]]:
    return norn.rows(
        "SELECT * FROM reconciler.operations WHERE kind = 'migrate' AND app = %s ORDER BY id", app
    )


def test_off_by_default_it_says_what_to_set(norn: Warm, name, mark: Path) -> None:
    app = name("off")
    norn.write(f"{app}.yaml", migrating(app, f"echo run >> {mark}", "1"))
    norn.start(NORN_MIGRATIONS="")
    until(lambda: norn.is_ready(app) if norn.app(app) else False)
    reason, text = pending(norn, app)
    assert reason == "NotRun"
    assert "NORN_MIGRATIONS=on" in text
    refused = norn.json("migrate", app, code=1)
    assert "NORN_MIGRATIONS=on" in refused["message"]
    assert deployments(norn, app) == []
    assert counted(mark) == []
    norn.daemons[-1].stop()
    # Without a daemon the command is the writer; nothing is due by itself without a revision.
    norn.write(f"{app}.yaml", migrating(app, f"echo run >> {mark}"))
    norn.run("apply", app)
    assert pending(norn, app)[0] == "NotRun"
    assert norn.json("migrate", app)["ok"]
    assert counted(mark) == ["run"]
    assert pending(norn, app) == (None, "")
    if "NORN_COMMANDS_USER" in norn.settings:
        as_root = norn.ended("migrate", app, NORN_COMMANDS_USER="")
        assert as_root.returncode == 1
        assert "NORN_COMMANDS_USER names the user" in as_root.stderr
        assert counted(mark) == ["run"]


PLACES = (
    *(f"work-migrate: after update_operation {step}" for step in range(1, 8)),
    *(f"work-migrate: after record {write}" for write in range(1, 5)),
)


def test_killed_at_each_step_no_command_is_run_twice(norn: Warm, name, mark: Path) -> None:
    app = name("steps")
    norn.write(f"{app}.yaml", migrating(app, f'echo "$NORN_REVISION" >> {mark}'))
    order = norn.folder / "order"
    judge = AtBoundaries(type("World", (), {"order": order})())  # type: ignore[arg-type]

    def next_daemon() -> Daemon:
        daemon = norn.start(order)
        until(lambda: daemon.events("lease.acquired"), told=daemon.log.read_text)
        return daemon

    daemon = next_daemon()
    until(lambda: norn.is_ready(app) if norn.app(app) else False, told=norn.story)
    story = []
    for revision, place in enumerate(map(str, PLACES)):
        judge.order(place)
        number = asked(norn, app, str(revision))
        until(lambda: norn.daemons[-1].process.poll() is not None, told=norn.story)
        assert judge.struck(place), (place, judge.passed())
        judge.cancel()
        daemon = next_daemon()
        done = ended(norn, number)
        times = counted(mark).count(str(revision))
        row = deployments(norn, app)[-1]
        story.append((place, done["state"], times))
        if done["state"] == "done":
            assert times == 1, story
            assert row["status"] == "deployed"
        else:
            assert times <= 1, story
            assert "norn restarted during deployment" in done["result"]
            assert f"norn restore {done['arguments']['snapshot']}" in done["result"]
            assert (row["status"], row["error"]) == ("failed", "norn restarted during deployment")
            until(lambda: pending(norn, app)[0] == "CutOff", told=norn.story)
        whole(norn)
    assert not norn.rows("SELECT 1 FROM deployments WHERE finished_at IS NULL")
    print("\n".join(f"{place:45} {state:7} run {times}" for place, state, times in story))
    states = [state for _, state, _ in story]
    assert states == ["done"] * 6 + ["failed"] + ["done"] * 2 + ["failed", "done"], story

    # While it runs: it goes with the daemon, whatever it has started.
    norn.write(
        f"{app}.yaml", migrating(app, f"setsid sleep 87654 &\necho run >> {mark}\nsleep 87654")
    )
    norn.until_ready(app, generation=2)
    number = asked(norn, app, "last")
    until(lambda: "run" in counted(mark), told=norn.story)
    daemon.process.send_signal(signal.SIGKILL)
    until(lambda: not processes("sleep\x0087654"))
    daemon = next_daemon()
    done = ended(norn, number)
    assert done["state"] == "failed"
    assert counted(mark).count("run") == 1
    assert daemon.stop() == 0
    assert not [line for d in norn.daemons for line in d.events("lane.faulted")]
