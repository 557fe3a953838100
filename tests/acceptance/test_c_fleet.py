"""(c) 300 apps in one go, with one poisoned app and one dead service."""

from __future__ import annotations

import signal

from infra.stack import Stack
from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import Services

COUNT = 300


def test_300_apps_with_one_poisoned_and_kafka_dead(
    breakable: Norn, breakable_services: Services, private_stack: Stack
) -> None:
    norn, services = breakable, breakable_services
    apps = [f"fleet-{i}" for i in range(COUNT)]
    poisoned = "fleet-150"
    services.sql(f'CREATE ROLE "{poisoned}" LOGIN')  # somebody else's
    private_stack.kafka.process.stop(signal.SIGKILL)
    try:
        with norn.daemon(NORN_REQUEST_TIMEOUT_SECONDS="3"):
            for app in apps:
                norn.write(f"{app}.yaml", spec(app))
            good = [a for a in apps if a != poisoned]

            def true(kind: str) -> int:
                rows = norn.rows(
                    "SELECT count(*) AS n FROM reconciler.apps"
                    " WHERE jsonb_path_exists(conditions,"
                    " '$.** ? (@.type == $k && @.status == \"True\")',"
                    " jsonb_build_object('k', %s::text))",
                    kind,
                )
                return int(rows[0]["n"])

            until(lambda: true("DatabaseReady") == COUNT - 1, 120, told=norn.story)
            until(lambda: true("KeyspaceReady") == COUNT, 60, told=norn.story)
            assert norn.condition(poisoned, "DatabaseReady")["reason"] == "Conflict"
            assert norn.condition(good[0], "TopicsReady")["reason"] == "Unavailable"
            dropped = "fleet-late"
            norn.write("late.yaml", spec(dropped, events=False))
            norn.until_ready(dropped)
            private_stack.kafka.start()
            until(lambda: true("TopicsReady") == COUNT, 120, told=norn.story)
            until(lambda: true("Ready") == COUNT, 60, told=norn.story)  # late one in, poisoned out
            assert {f"{a}.in" for a in good} <= services.topics()
    finally:
        private_stack.kafka.start()
