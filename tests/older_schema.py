"""norn_db as the revision before the last left it: what an older program is at work on."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from norn_reconciler.store.revisions import REVISIONS

VERSIONS = Path(__file__).parents[1] / "norn_reconciler/store/migrations/versions"
OLDER = REVISIONS[-2]


def undo_the_last_migration(url: str) -> None:
    """Take its columns and tables away again, and its number. A quiet program does not look at
    them."""
    (migration,) = VERSIONS.glob(f"{REVISIONS[-1]}_*.py")
    text = migration.read_text()
    added = re.findall(r"ALTER TABLE (\S+) ADD COLUMN (\w+)", text)
    made = re.findall(r"CREATE TABLE (\S+)", text)
    assert added or made, f"{migration.name} adds no column or table: say here how to undo it"
    with psycopg.connect(url, autocommit=True) as conn:
        for table, column in added:
            conn.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in made:
            conn.execute(f"DROP TABLE {table}")
        conn.execute("DELETE FROM reconciler.alembic_version")
        conn.execute("INSERT INTO reconciler.alembic_version VALUES (%s)", [OLDER])
