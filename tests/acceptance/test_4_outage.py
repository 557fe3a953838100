"""4. A service is down or frozen: the others converge as ever; all does when it is back."""

from __future__ import annotations

import signal

import psycopg

from infra.stack import Stack
from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import Services

FAST = {"NORN_REQUEST_TIMEOUT_SECONDS": "2", "NORN_LEASE_SECONDS": "6"}


def test_a_frozen_kafka_delays_nothing_in_postgresql(
    breakable: Norn, private_stack: Stack, name
) -> None:
    norn, app, whole = breakable, name("quick"), name("whole")
    with norn.daemon(**FAST) as daemon:
        norn.write("first.yaml", spec(name("first")))
        norn.until_ready(name("first"))
        private_stack.kafka.process.send(signal.SIGSTOP)
        try:
            norn.write("whole.yaml", spec(whole))
            norn.write("quick.yaml", spec(app, kv=False, events=False))
            norn.until_ready(app, seconds=5)
            condition = until(
                lambda: (
                    (c := norn.condition(whole, "TopicsReady")).get("reason") == "Unavailable" and c
                ),
                told=norn.story,
            )
            assert condition["status"] == "Unknown"
            assert "next try at" in condition["message"]
            assert norn.condition(whole, "DatabaseReady")["status"] == "True"
            assert norn.condition(whole, "Ready")["status"] != "True"
            assert not (norn.folder / ".norn" / "credentials" / f"{whole}.env").exists()
        finally:
            private_stack.kafka.process.send(signal.SIGCONT)
        norn.until_ready(whole, seconds=40)
        assert daemon.events("service.lost") and daemon.events("service.recovered")


def test_a_killed_valkey_comes_back_and_all_converges(breakable, private_stack, name) -> None:
    norn, app = breakable, name("kv")
    with norn.daemon(**FAST):
        private_stack.valkey.process.stop(signal.SIGKILL)
        try:
            norn.write("kv.yaml", spec(app, events=False))
            until(
                lambda: norn.condition(app, "KeyspaceReady").get("reason") == "Unavailable",
                told=norn.story,
            )
            until(lambda: norn.condition(app, "DatabaseReady").get("status") == "True")
        finally:
            private_stack.valkey.start()
        norn.until_ready(app, seconds=40)


def test_norn_db_away_nothing_is_written_and_it_recovers(breakable, private_stack, name) -> None:
    """norn_db alone: its connections are refused and ended, PostgreSQL itself answers."""
    norn, app = breakable, name("away")
    database = norn.norn_db.rsplit("/", 1)[1]
    services = Services(
        private_stack.postgres.url(), private_stack.valkey.url, private_stack.kafka.brokers,
        "norn-admin", private_stack.kafka.password,
    )  # fmt: skip

    def allow(yes: bool) -> None:
        with psycopg.connect(private_stack.postgres.url(), autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {yes}")
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (database,),
            )

    norn.write("away.yaml", spec(app, events=False))
    with norn.daemon(**FAST, NORN_RESYNC_SECONDS="0.5") as daemon:
        norn.until_ready(app)
        allow(False)
        try:
            until(lambda: daemon.events("store.lost"))
            # Until the fence has run out, what was allowed is still allowed.
            until(lambda: _fence_is_over(daemon), 20)
            norn.write("new.yaml", spec(name("new"), events=False))
            services.sql(f'ALTER ROLE "{app}" CREATEDB')
            seen = len(daemon.lines())
            until(lambda: len(daemon.lines()) > seen + 3, 20)
            assert services.sql("SELECT rolcreatedb FROM pg_roles WHERE rolname = %s", app) == [
                (True,)
            ]
            assert services.can_login(name("new")) is None
        finally:
            allow(True)
        norn.until_ready(name("new"), seconds=40)
        until(lambda: norn.events("drift.detected", app), told=norn.story)
        assert daemon.process.poll() is None
        assert not daemon.events("?"), "what drivers say of it is JSON, too"
    services.close()


def _fence_is_over(daemon) -> bool:
    """The first loss is older than the lease."""
    from datetime import UTC, datetime  # noqa: PLC0415

    first = daemon.events("store.lost")[0]["timestamp"]
    age = datetime.now(UTC) - datetime.fromisoformat(first)
    return age.total_seconds() > 6.5


def test_a_daemon_that_starts_without_norn_db_waits_for_it(breakable, private_stack, name) -> None:
    norn, app = breakable, name("early")
    good = norn.norn_db
    norn.write("early.yaml", spec(app, events=False, kv=False))
    log = norn.folder / "log"
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    private_stack.postgres.stop()
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "norn_reconciler", "run"], cwd=norn.folder,
                env=norn.environment(NORN_LOG_FORMAT="json"), stdout=out, stderr=out,
            )  # fmt: skip
        until(lambda: "store.lost" in log.read_text(), told=log.read_text)
    finally:
        private_stack.postgres.start()
    norn.norn_db = good
    try:
        norn.until_ready(app, seconds=30)
    finally:
        process.terminate()
        process.wait(20)
