"""What the commands say, and their exit codes: a person or a CI job goes by these alone."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import Norn, spec
from tests.servers import Servers


@pytest.fixture
def norn(tmp_path: Path, servers: Servers, fresh_norn_db: str) -> Norn:
    """Without a broker: what is told here does not depend on one."""
    (tmp_path / "specs").mkdir()
    settings = {
        "NORN_POSTGRES_URL": servers.postgres_admin_url,
        "NORN_VALKEY_URL": servers.valkey_url,
    }
    return Norn(tmp_path, settings, fresh_norn_db)


def small(app: str) -> str:
    """One thing on one service, made in a moment."""
    return spec(app, postgres=False, events=False)


@pytest.mark.parametrize(
    ("revision", "words"), [("0001", "0001 is older than"), ("7777", "7777 is newer than")]
)
def test_a_norn_db_of_another_version_is_not_an_empty_one(norn, name, revision, words) -> None:
    app = name("owned")
    norn.write("owned.yaml", small(app))
    assert "create" in norn.run("plan"), "no table of ours at all: it knows nothing"
    norn.run("apply")
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        if revision == "0001":
            conn.execute("ALTER TABLE reconciler.meta DROP COLUMN held")
        conn.execute("UPDATE reconciler.alembic_version SET version_num = %s", (revision,))
    for command in (("plan",), ("plan", app), ("env", app, "--reveal"), ("adopt", app)):
        done = norn.ended(*command)
        assert done.returncode == 1 and words in done.stderr, command
        assert done.stdout == "", command


def test_tables_without_a_version_are_not_nothing(norn, name) -> None:
    norn.write("owned.yaml", small(name("owned")))
    norn.run("apply")
    with psycopg.connect(norn.norn_db, autocommit=True) as conn:
        conn.execute("DROP TABLE reconciler.alembic_version")
    done = norn.ended("plan")
    assert done.returncode == 1 and "no word of their version" in done.stderr
