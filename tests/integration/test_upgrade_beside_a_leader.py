"""norn_db is not migrated under a program that is at work on the older schema."""

from __future__ import annotations

import psycopg
import pytest

from norn_reconciler import compose
from norn_reconciler.model.errors import SchemaInUse
from norn_reconciler.settings import Settings
from norn_reconciler.store import lease as leases
from norn_reconciler.store.queries import REVISION
from norn_reconciler.store.revisions import HEAD
from tests.older_schema import OLDER, undo_the_last_migration


async def test_an_older_schema_is_left_alone_while_somebody_holds_the_lease(
    fresh_norn_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORN_DATABASE_URL", fresh_norn_db)
    settings = Settings()
    leader, late = compose.store_of(settings, "leader"), compose.store_of(settings, "late")
    try:
        await compose.upgraded(settings, leader)
        lease, fence = await leases.acquire(leader, 60.0)
        undo_the_last_migration(fresh_norn_db)
        with pytest.raises(SchemaInUse, match="leader is at work on it"):
            await compose.upgraded(settings, late)
        with psycopg.connect(fresh_norn_db) as conn:
            assert conn.execute(REVISION).fetchall() == [(OLDER,)]
        await leases.release(leader, lease, fence)
        await compose.upgraded(settings, late)
        with psycopg.connect(fresh_norn_db) as conn:
            assert conn.execute(REVISION).fetchall() == [(HEAD,)]
    finally:
        await leader.close()
        await late.close()
