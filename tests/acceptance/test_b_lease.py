"""(b) Lease, fence, operations: one writer, whatever happens to it."""

from __future__ import annotations

import signal

from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import Services


def second(norn: Norn) -> Norn:
    """Another machine's working folder: its own state, the same specs, key and norn_db."""
    key = norn.folder / ".norn" / "master.key"
    other = norn.folder / "other"
    other.mkdir()
    settings = {
        **norn.settings,
        "NORN_SPECS_DIR": str(norn.specs),
        "NORN_MASTER_KEY_FILE": str(key),
        "NORN_INSTANCE": "second",
    }
    return Norn(other, settings, norn.norn_db)


def test_a_standby_takes_over_when_the_leader_is_killed(norn, services, name) -> None:
    app, later = name("first"), name("later")
    norn.write("first.yaml", spec(app))
    with norn.daemon(NORN_LEASE_SECONDS="2") as leader:
        norn.until_ready(app)
        with second(norn).daemon(NORN_LEASE_SECONDS="2") as standby:
            until(lambda: standby.events("lease.waited"))
            roles = {r["name"]: r["role"] for r in norn.rows("SELECT * FROM cluster_nodes")}
            assert sorted(roles.values()) == ["leader", "standby"]
            leader.kill()
            until(lambda: standby.events("lease.acquired"))
            norn.write("later.yaml", spec(later))
            norn.until_ready(later)
            assert norn.run("plan", "--check")


def test_a_frozen_leader_that_wakes_up_writes_nothing_more(norn, services, name) -> None:
    app = name("frozen")
    norn.write("frozen.yaml", spec(app, events=False))
    with norn.daemon(NORN_LEASE_SECONDS="2", NORN_RESYNC_SECONDS="0.2") as old:
        norn.until_ready(app)
        with second(norn).daemon(NORN_LEASE_SECONDS="2", NORN_RESYNC_SECONDS="3600") as new:
            until(lambda: new.events("lease.waited"))
            old.process.send_signal(signal.SIGSTOP)
            until(lambda: new.events("lease.acquired"))
            norn.run("reconcile", app, "--wait")
            norn.run("pause", app)
            services.sql(f'ALTER ROLE "{app}" CREATEDB')
            old.process.send_signal(signal.SIGCONT)
            until(lambda: old.events("lease.lost"), told=old.log.read_text)
            until(lambda: len(old.events("lease.waited")) >= 1, told=old.log.read_text)
            rolcreatedb = services.sql("SELECT rolcreatedb FROM pg_roles WHERE rolname = %s", app)
            assert rolcreatedb == [(True,)], "the frozen leader repaired a paused app"


def test_apply_is_refused_while_a_daemon_holds_the_lease(norn: Norn, name) -> None:
    app = name("busy")
    norn.write("busy.yaml", spec(app, events=False, kv=False))
    with norn.daemon(NORN_INSTANCE="the-daemon") as daemon:
        norn.until_ready(app)
        refused = norn.ended("apply")
        assert refused.returncode == 1
        assert "the-daemon" in refused.stderr
        assert daemon.stop() == 0
    assert "1 of 1" in norn.run("apply")


def test_another_working_folder_never_rotates_a_fleet(norn: Norn, services: Services, name) -> None:
    app = name("keyed")
    norn.write("keyed.yaml", spec(app, events=False))
    norn.run("apply")
    password = norn.env(app)["DATABASE_URL"]
    other = second(norn)
    other.settings = {k: v for k, v in other.settings.items() if k != "NORN_MASTER_KEY_FILE"}
    other.run("apply", code=1)
    assert not (other.folder / ".norn" / "master.key").exists()
    with other.daemon() as daemon:
        until(lambda: daemon.events("credentials.held"), told=daemon.log.read_text)
    norn.run("apply")
    assert norn.env(app)["DATABASE_URL"] == password


def test_an_operation_survives_the_death_of_its_writer(norn: Norn, services, name) -> None:
    """Asked for while nobody is there, or dies over it: the next writer does it."""
    app = name("asked")
    norn.write("asked.yaml", spec(app, events=False, kv=False))
    norn.run("apply")
    services.sql(f'ALTER ROLE "{app}" CREATEDB')
    out = norn.run("reconcile", app)
    assert "No daemon" in out
    with norn.daemon(NORN_RESYNC_SECONDS="3600"):
        until(
            lambda: norn.rows("SELECT 1 FROM reconciler.operations WHERE state = 'done'"),
            told=norn.story,
        )
    assert norn.run("plan", "--check")
