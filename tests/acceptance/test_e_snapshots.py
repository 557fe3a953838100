"""(e) Copies of an app's database: whole, restored as they were, beside whatever else goes on."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from norn_reconciler.snapshots import clients
from tests.acceptance.harness import Norn, database, spec
from tests.acceptance.norn_here import Here, folder_on
from tests.servers import PostgresServer, Servers

FULL = """
    CREATE SCHEMA "od d";
    CREATE TYPE mood AS ENUM ('fine', 'so so');
    CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
                         at timestamptz DEFAULT now(), feels mood, raw bytea, more jsonb);
    INSERT INTO people (name, feels, raw, more)
    SELECT 'Ünï ' || n, 'so so', decode(md5(n::text), 'hex'), jsonb_build_object('n', n)
      FROM generate_series(1, 2000) AS n;
    CREATE INDEX ON people (name);
    CREATE TABLE "od d"."Odd ""name" (a int REFERENCES people (id), b numeric[]);
    INSERT INTO "od d"."Odd ""name" VALUES (7, '{1.50,2}');
    CREATE VIEW fine AS SELECT name FROM people WHERE feels = 'fine';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM people;
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
    CREATE SEQUENCE steps START 42; SELECT nextval('steps');
    SELECT lo_from_bytea(0, 'a large object');
"""


@pytest.fixture
def norn(postgres: PostgresServer, servers: Servers, tmp_path: Path) -> Iterator[Here]:
    """A working folder whose apps live on that PostgreSQL."""
    settings = {"NORN_POSTGRES_URL": postgres.admin_url}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


def ready(norn: Norn, app: str) -> str:
    """It has a database. Its URL."""
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    norn.run("apply", app)
    return norn.env(app)["DATABASE_URL"]


def folder(norn: Norn) -> Path:
    return norn.folder / "snapshots"


def content(url: str) -> dict[str, Any]:
    """A checksum for each table, what sequences are at, and the definitions as pg_dump has them."""
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname !~ '^pg_|information_schema' ORDER BY 1"
        ).fetchall()
        found: dict[str, Any] = {
            table: conn.execute(
                f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
            ).fetchone()
            for (table,) in tables
        }
        found["sequences"] = conn.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
        found["large objects"] = conn.execute(
            "SELECT lo_get(oid) FROM pg_largeobject_metadata ORDER BY 1"
        ).fetchall()
    client = clients.newest()
    text = subprocess.run(
        [client.dump, "--schema-only", "--no-owner", url], capture_output=True, check=True
    ).stdout.decode()
    found["schema"] = [line for line in text.splitlines() if not line.startswith(("--", "\\"))]
    return found


def test_a_snapshot_is_restored_as_it_was(norn: Here, name) -> None:
    app, other = name("whole"), name("copy")
    url = ready(norn, app)
    with psycopg.connect(url) as conn:
        conn.execute(FULL)
    before = content(url)

    made = json.loads(norn.run("snapshot", "create", app, "-o", "json"))

    assert made["ok"], made
    path = folder(norn) / made["snapshot"]
    assert path.name.startswith(f"{database(app)}_")
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder(norn).stat().st_mode & 0o777 == 0o700
    assert [p.name for p in folder(norn).iterdir()] == [path.name], "and nothing half"
    (listed,) = json.loads(norn.run("snapshot", "list", app, "-o", "json"))["snapshots"]
    assert (listed["state"], listed["app"], listed["database"]) == ("ok", app, database(app))
    assert listed["size"] == path.stat().st_size
    assert listed["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(norn.run("snapshot", "show", path.name, "-o", "json")) == listed
    assert "is what it was" in norn.run("snapshot", "verify", path.name)

    copy = ready(norn, other)
    major = int(listed["server_version"].split(".")[0])
    assert listed["client_version"].split(".")[0] == str(major), "the server's own"
    client = clients.chosen(clients.found(clients.folders()), major)
    subprocess.run(
        [client.restore, "--no-owner", "--exit-on-error", "--dbname", copy, path], check=True
    )
    assert content(copy) == before
