"""norn db upgrade: from nothing, beside a Norn installation, twice, two at once, too new."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import norn_reconciler.store
from norn_reconciler.model.errors import NornError, SchemaMismatch, StoreUnavailable
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import schema
from norn_reconciler.store.revisions import HEAD, REVISIONS

SHARED = {
    "deployments": "id app commit_sha image_tag status steps error started_at finished_at",
    "forge_states": "app status steps resources error started_at finished_at",
    "health_checks": "id app healthy response_ms checked_at",
    "cron_states": "app schedule paused next_run_at updated_at",
    "cron_executions": "id app status exit_code output started_at finished_at",
    "cluster_nodes": "id name provider region size role public_ip tailscale_ip status provider_id "
    "error created_at updated_at",
}
OURS = {
    "cron_executions": {"reconciler_epoch"},
    "deployments": {"reconciler_epoch", "reconciler_generation"},
    "forge_states": {"reconciler_epoch"},
    "health_checks": {"reconciler_service", "reconciler_reason"},
}
GOLDEN = Path(__file__).with_name("test_store_schema.txt")


def columns(url: str, table: str) -> set[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name = %s",
            (table,),
        )
        return {r[0] for r in rows}


def described(url: str) -> str:
    """Every column, index and constraint of both schemas, one a line."""
    with psycopg.connect(url) as conn:
        found = conn.execute("""
            SELECT format('column %s.%s.%s %s%s%s', n.nspname, c.relname, a.attname,
                          format_type(a.atttypid, a.atttypmod),
                          CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
                          coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), ''))
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
             WHERE n.nspname IN ('public', 'reconciler') AND c.relkind = 'r'
               AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT 'index ' || indexdef FROM pg_indexes
             WHERE schemaname IN ('public', 'reconciler')
            UNION ALL
            SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid))
              FROM pg_constraint
             WHERE connamespace::regnamespace::text IN ('public', 'reconciler') AND contype <> 'n'
        """)
        return "".join(sorted(f"{row[0]}\n" for row in found))


def test_the_tables_that_norns_users_know_are_made(fresh_norn_db):
    assert schema.current(Secret(fresh_norn_db)) is None
    assert schema.upgrade(Secret(fresh_norn_db)) == HEAD
    assert schema.current(Secret(fresh_norn_db)) == HEAD
    for table, known in SHARED.items():
        assert columns(fresh_norn_db, table) == set(known.split()) | OURS.get(table, set())


def test_the_schema_is_the_sum_of_the_migrations(fresh_norn_db):
    """A released migration must not change: what it makes is written down beside this test. A new
    one adds to that file: write described() into it."""
    schema.upgrade(Secret(fresh_norn_db))
    assert described(fresh_norn_db) == GOLDEN.read_text()


def test_the_program_knows_its_migrations():
    config = Config()
    folder = Path(norn_reconciler.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(config)
    assert tuple(r.revision for r in reversed(list(script.walk_revisions()))) == REVISIONS
    assert script.get_current_head() == schema.head()


def test_a_second_upgrade_changes_nothing(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    with psycopg.connect(fresh_norn_db, autocommit=True) as conn:
        catalog = (
            "SELECT oid, xmin::text FROM pg_class WHERE relnamespace::regnamespace::text = any(%s)"
        )
        names = (["public", "reconciler"],)
        before = conn.execute(catalog, names).fetchall()
        assert schema.upgrade(Secret(fresh_norn_db)) == HEAD
        assert conn.execute(catalog, names).fetchall() == before


def test_two_upgrades_at_once_both_succeed(fresh_norn_db):
    code = (
        "import sys; from norn_reconciler.model.secret import Secret;"
        "from norn_reconciler.store import schema;"
        "print(schema.upgrade(Secret(sys.stdin.read())))"
    )

    def one(_: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=fresh_norn_db, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip() or done.stderr

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [HEAD] * 3


def test_a_newer_schema_is_left_alone_and_named(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    with psycopg.connect(fresh_norn_db, autocommit=True) as conn:
        conn.execute("UPDATE reconciler.alembic_version SET version_num = '7777'")
    with pytest.raises(SchemaMismatch, match="7777 is newer than this program's"):
        schema.upgrade(Secret(fresh_norn_db))
    assert schema.current(Secret(fresh_norn_db)) == "7777"


LEGACY = """
    CREATE TABLE deployments (
        id uuid PRIMARY KEY, app varchar(63) NOT NULL, commit_sha varchar(40) NOT NULL,
        image_tag text NOT NULL, status varchar(20) NOT NULL, steps json NOT NULL,
        error text NOT NULL DEFAULT '', started_at timestamp NOT NULL,
        triggered_by text NOT NULL DEFAULT 'webhook');
    INSERT INTO deployments VALUES
        ('11111111-1111-1111-1111-111111111111', 'old-app', 'abc', 'v1', 'building',
         '[{"step": "build", "status": "running", "durationMs": 5, "output": "…"}]', '',
         '2026-01-01 00:00:00', 'cli');
    CREATE TABLE forge_states (
        app varchar(63) NOT NULL, status text NOT NULL, steps text NOT NULL DEFAULT '[]',
        resources jsonb NOT NULL DEFAULT '{}', error text NOT NULL DEFAULT '',
        started_at timestamptz);
    INSERT INTO forge_states VALUES ('old-app', 'forged', '[{"step": "create", "status": "ok"}]');
    CREATE TABLE cluster_nodes (
        id uuid PRIMARY KEY, name varchar NOT NULL, provider varchar NOT NULL, role text NOT NULL,
        status text NOT NULL, capabilities text[] DEFAULT '{}');
    INSERT INTO cluster_nodes VALUES
        ('22222222-2222-2222-2222-222222222222', 'worker-1', 'hetzner', 'worker', 'ready');
    CREATE TABLE health_checks (id text PRIMARY KEY, app text NOT NULL);
    INSERT INTO health_checks VALUES ('h1', 'old-app');
    CREATE TABLE func_executions (id bigserial PRIMARY KEY, app text NOT NULL);
"""


def test_a_norn_installation_is_taken_over_and_not_broken(fresh_norn_db):
    with psycopg.connect(fresh_norn_db, autocommit=True) as conn:
        conn.execute(LEGACY)
        before = conn.execute("SELECT * FROM deployments").fetchall()
    schema.upgrade(Secret(fresh_norn_db))
    for table, known in SHARED.items():
        assert columns(fresh_norn_db, table) >= set(known.split()) | OURS.get(table, set())
    assert "triggered_by" in columns(fresh_norn_db, "deployments")
    with psycopg.connect(fresh_norn_db) as conn:
        after = conn.execute("SELECT * FROM deployments").fetchall()
        assert [row[: len(before[0])] for row in after] == before
        assert conn.execute("SELECT name, region, error FROM cluster_nodes").fetchall() == [
            ("worker-1", "", "")
        ]
        assert conn.execute("SELECT id, healthy, response_ms FROM health_checks").fetchall() == [
            ("h1", None, 0)
        ]
        conn.execute("INSERT INTO health_checks (app, healthy) VALUES ('mail', true)")
        kept = conn.execute("SELECT pg_typeof(id)::text, pg_typeof(steps)::text FROM deployments")
        assert kept.fetchone() == ("uuid", "json")


def test_a_column_that_would_refuse_every_row_is_named_and_nothing_is_changed(fresh_norn_db):
    with psycopg.connect(fresh_norn_db, autocommit=True) as conn:
        conn.execute("CREATE TABLE forge_states (app text PRIMARY KEY, region text NOT NULL)")
    with pytest.raises(NornError, match=r"forge_states\.region .*SET DEFAULT"):
        schema.upgrade(Secret(fresh_norn_db))
    assert schema.current(Secret(fresh_norn_db)) is None
    assert columns(fresh_norn_db, "deployments") == set()
    assert columns(fresh_norn_db, "forge_states") == {"app", "region"}


def test_a_database_that_is_not_there_is_told_without_the_password():
    with pytest.raises(StoreUnavailable) as caught:
        schema.upgrade(Secret("postgresql://norn:hunter2@127.0.0.1:1/norn_db"))
    assert "hunter2" not in str(caught.value)
