"""(b) Two daemons of one working folder: they share a name, and each is seen in cluster_nodes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.acceptance.harness import Daemon, Norn, until

LEASE = "2"  # seconds: a heartbeat every 0.7 s


@pytest.fixture
def norn(norn_on_postgres: Norn) -> Norn:
    return norn_on_postgres


def nodes(norn: Norn) -> dict[int, dict[str, Any]]:
    """Rows by PID."""
    return {int(row["provider_id"]): row for row in norn.rows("SELECT * FROM cluster_nodes")}


def roles(norn: Norn) -> dict[int, tuple[str, str]]:
    return {pid: (row["role"], row["status"]) for pid, row in nodes(norn).items()}


def pid(daemon: Daemon) -> int:
    return daemon.process.pid


def test_twins_keep_a_row_each(norn: Norn) -> None:
    with norn.daemon(NORN_LEASE_SECONDS=LEASE) as one:
        until(lambda: roles(norn) == {pid(one): ("leader", "ready")}, told=one.log.read_text)
        with norn.daemon(NORN_LEASE_SECONDS=LEASE) as two:
            both = {pid(one): ("leader", "ready"), pid(two): ("standby", "ready")}
            until(lambda: roles(norn) == both, told=two.log.read_text)
            first = nodes(norn)
            assert len({row["name"] for row in first.values()}) == 1
            ends = time.monotonic() + 4.0
            while time.monotonic() < ends:
                assert roles(norn) == both
                time.sleep(0.1)
            later = nodes(norn)
            assert all(later[p]["updated_at"] > first[p]["updated_at"] for p in both)
            assert two.stop() == 0
        assert roles(norn)[pid(two)] == ("standby", "stopped")
        assert one.stop() == 0
    assert roles(norn)[pid(one)] == ("standby", "stopped")


def test_a_killed_leaders_row_says_so_and_soon_goes(norn: Norn) -> None:
    with (
        norn.daemon(NORN_LEASE_SECONDS=LEASE) as one,
        norn.daemon(NORN_LEASE_SECONDS=LEASE) as two,
    ):
        one.kill()
        until(lambda: roles(norn).get(pid(two)) == ("leader", "ready"), told=two.log.read_text)
        assert roles(norn)[pid(one)] == ("standby", "lost")
        with norn.daemon(NORN_LEASE_SECONDS=LEASE) as again:
            both = {pid(two): ("leader", "ready"), pid(again): ("standby", "ready")}
            until(lambda: roles(norn) == both, told=lambda: roles(norn))


def test_a_killed_daemon_that_comes_back_alone_leaves_no_twin(norn: Norn) -> None:
    with norn.daemon(NORN_LEASE_SECONDS=LEASE) as one:
        one.kill()
    assert roles(norn) == {pid(one): ("leader", "ready")}, "nobody is there to say otherwise"
    with norn.daemon(NORN_LEASE_SECONDS=LEASE) as two:
        until(lambda: two.events("lease.acquired"), told=two.log.read_text)
        until(lambda: roles(norn).get(pid(two)) == ("leader", "ready"))
        assert roles(norn).get(pid(one)) in {("standby", "lost"), None}
        until(lambda: list(roles(norn)) == [pid(two)], told=lambda: roles(norn))
