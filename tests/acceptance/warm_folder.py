"""A working folder on PostgreSQL alone, for tests that kill daemons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.norn_here import folder_on
from tests.acceptance.warm_norn import Warm
from tests.servers import Servers


@contextmanager
def warm_on_postgres(servers: Servers, place: Path, **settings: str) -> Iterator[Warm]:
    """With a lease that is over soon; whatever daemon still runs at the end is killed."""
    given = {"NORN_POSTGRES_URL": servers.postgres_admin_url, "NORN_LEASE_SECONDS": "3"}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, place, {**given, **settings}) as here:
        norn = Warm(here.folder, here.settings, here.norn_db)
        try:
            yield norn
        finally:
            for daemon in norn.daemons:
                daemon.kill()
