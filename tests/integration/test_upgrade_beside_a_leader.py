"""norn_db is not migrated under a program that is at work on the older schema."""

from __future__ import annotations

import psycopg
import pytest

from norn_reconciler import compose
from norn_reconciler.model.errors import SchemaMismatch
from norn_reconciler.settings import Settings
from norn_reconciler.store import lease as leases


async def test_an_older_schema_is_left_alone_while_somebody_holds_the_lease(
    fresh_norn_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORN_DATABASE_URL", fresh_norn_db)
    settings = Settings()
    leader, late = compose.store_of(settings, "leader"), compose.store_of(settings, "late")
    try:
        await compose.upgraded(settings, leader)
        lease, fence = await leases.acquire(leader, 60.0)
        with psycopg.connect(fresh_norn_db, autocommit=True) as conn:
            conn.execute("DELETE FROM reconciler.alembic_version")
            with pytest.raises(SchemaMismatch, match="leader is at work on it"):
                await compose.upgraded(settings, late)
            assert conn.execute("SELECT 1 FROM reconciler.alembic_version").fetchone() is None
            conn.execute("INSERT INTO reconciler.alembic_version VALUES (%s)", ["0001"])
            conn.execute("ALTER TABLE reconciler.meta DROP COLUMN held")
        await leases.release(leader, lease, fence)
        await compose.upgraded(settings, late)
    finally:
        await leader.close()
        await late.close()
