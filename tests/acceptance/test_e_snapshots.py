"""(e) Copies of an app's database: whole, restored as they were, beside whatever else goes on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from norn_reconciler.snapshots import clients
from tests.acceptance.harness import database, spec
from tests.acceptance.norn_here import Here, folder_on
from tests.servers import PostgresServer, Servers

NO_TMPFS = "a full disk takes a small tmpfs, and that root"
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


def ready(norn: Here, app: str) -> str:
    """It has a database. Its URL."""
    norn.write(f"{app}.yaml", spec(app, kv=False, events=False))
    norn.run("apply", app)
    return norn.env(app)["DATABASE_URL"]


def folder(norn: Here) -> Path:
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
    own = [listed[key].split(".")[0] for key in ("server_version", "client_version")]
    assert own[0] == own[1], "the server's own client"
    restored(path, copy, path.name, norn)
    assert content(copy) == before


def test_what_the_owner_does_to_its_database_neither_stops_nor_bends_a_snapshot(
    norn: Here, name, postgres: PostgresServer
) -> None:
    app, other = name("hostile"), name("copy")
    url, copy = ready(norn, app), ready(norn, other)
    with psycopg.connect(url, autocommit=True) as conn:
        for act in HOSTILE:
            conn.execute(act.format(app=app, db=database(app)))
        before_acts = conn.execute("SELECT count(*) FROM evil.seen").fetchone()
    made = json.loads(norn.run("snapshot", "create", app, "-o", "json"))
    path = folder(norn) / made["snapshot"]
    superuser = psycopg.conninfo.make_conninfo(postgres.superuser_url, dbname=database(app))
    options = "-c search_path=pg_catalog -c default_transaction_read_only=off"
    with psycopg.connect(superuser, autocommit=True, options=options) as conn:
        assert conn.execute("SELECT count(*) FROM evil.seen").fetchone() == before_acts
        conn.execute(f'ALTER ROLE "{app}" RESET ALL')
        conn.execute(f"ALTER DATABASE {database(app)} RESET ALL")
    restored(path, copy, made["snapshot"], norn)
    with psycopg.connect(copy) as conn:
        assert conn.execute("SELECT t FROM public.texts").fetchall() == [("€ \\ 'x'",)]
        assert conn.execute("SELECT at FROM public.times").fetchone() == (
            conn.execute("SELECT '2026-02-01 03:04:05+00'::timestamptz").fetchone()
        )

    # What only a superuser can put there.
    with psycopg.connect(superuser, autocommit=True, options=options) as conn:
        on = ["ddl_command_end", *(["login"] if postgres.version == "18" else [])]
        conn.execute(
            "CREATE FUNCTION public.hook() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM set_config('search_path', 'evil', false),"
            " set_config('lock_timeout', '1', false); END$$"
        )
        for number, when in enumerate(on):
            conn.execute(f"CREATE EVENT TRIGGER t{number} ON {when} EXECUTE FUNCTION public.hook()")
    norn.run("snapshot", "create", app)
    with psycopg.connect(superuser, autocommit=True, options=options) as conn:
        assert conn.execute("SELECT count(*) FROM evil.seen").fetchone() == before_acts

    # Of a superuser's doing: what the app can't read is named, and no half copy is made.
    with psycopg.connect(superuser, autocommit=True, options=options) as conn:
        conn.execute("CREATE TABLE public.theirs (n int)")
        conn.execute("CREATE SEQUENCE public.counter")
        conn.execute("ALTER TABLE public.texts ENABLE ROW LEVEL SECURITY")
        conn.execute("ALTER TABLE public.texts FORCE ROW LEVEL SECURITY")
    text = json.loads(norn.run("snapshot", "create", app, "-o", "json", code=1))["message"]
    assert "table public.theirs belongs to postgres" in text
    assert "sequence public.counter belongs to postgres" in text
    assert "ALTER TABLE public.texts NO FORCE ROW LEVEL SECURITY" in text
    assert len(list(folder(norn).iterdir())) == 2


HOSTILE = (
    "CREATE SCHEMA evil",
    "CREATE TABLE evil.seen (who text, what text)",
    "CREATE TABLE public.texts (t text)",
    "INSERT INTO public.texts VALUES ('€ \\ ''x''')",
    "CREATE TABLE public.times (at timestamptz)",
    "INSERT INTO public.times VALUES ('2026-02-01 03:04:05+00')",
    # What pg_dump and norn themselves call: it would run if a name were resolved by search_path.
    "CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS "
    "'BEGIN INSERT INTO evil.seen VALUES (session_user, $1); RETURN $2; END'",
    "CREATE FUNCTION evil.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS "
    "'BEGIN INSERT INTO evil.seen VALUES (session_user, ''id''); RETURN ''x''; END'",
    "CREATE FUNCTION evil.row_security_active(oid) RETURNS boolean LANGUAGE plpgsql AS "
    "'BEGIN INSERT INTO evil.seen VALUES (session_user, ''rls''); RETURN false; END'",
    "CREATE TABLE evil.pg_class (oid oid, relname name)",
    "ALTER ROLE \"{app}\" SET DateStyle = 'SQL, DMY'",
    "ALTER ROLE \"{app}\" SET client_encoding = 'LATIN1'",
    'ALTER ROLE "{app}" SET standard_conforming_strings = off',
    'ALTER ROLE "{app}" SET lock_timeout = 1',
    'ALTER ROLE "{app}" SET idle_in_transaction_session_timeout = 1',
    "ALTER DATABASE {db} SET row_security = on",
    "ALTER DATABASE {db} SET default_transaction_read_only = on",
    'ALTER ROLE "{app}" SET search_path = evil, pg_catalog',
    "ALTER DATABASE {db} SET search_path = evil, pg_catalog",
    'ALTER ROLE "{app}" SET statement_timeout = 1',
)


def restored(path: Path, url: str, name: str, norn: Here) -> None:
    """By hand, as the page says: as the app, by the client that made it."""
    shown = json.loads(norn.run("snapshot", "show", name, "-o", "json"))
    major = int(shown["client_version"].split(".")[0])
    client = clients.chosen(clients.found(clients.folders()), major)
    subprocess.run(
        [client.restore, "--no-owner", "--exit-on-error", "--dbname", url, path], check=True
    )


@pytest.fixture
def on_18(servers: Servers, tmp_path: Path) -> Iterator[Here]:
    settings = {"NORN_POSTGRES_URL": servers.postgres_admin_url}
    shared, own = servers.postgres_superuser_url, servers.norn_db_url
    with folder_on(shared, own, tmp_path / "norn", settings) as norn:
        yield norn


def test_what_can_not_be_copied_is_said(on_18: Here, name, servers: Servers) -> None:
    norn, app, bare = on_18, name("plain"), name("bare")

    def refused(what: str, code: int = 1, **more: str) -> str:
        norn.run("snapshot", "create", what, code=code, **more)
        return norn.errors

    norn.write("bare.yaml", spec(bare, postgres=False, kv=False, events=False))
    norn.run("apply")
    assert "no app nobody is known" in refused("nobody")
    norn.write("plain.yaml", spec(app, kv=False, events=False))
    assert f"database {database(app)} is not there yet" in refused(app)
    norn.run("apply")
    assert f"{bare} has no database" in refused(bare)
    norn.run("pause", app)
    norn.run("apply")
    assert f"{app} is paused: norn resume {app}" in refused(app)
    norn.run("resume", app)
    norn.run("apply")
    assert "others may write into" in refused(app, NORN_SNAPSHOTS_DIR="/tmp")
    assert "no setting names PostgreSQL" in refused(app, NORN_POSTGRES_URL="")
    norn.rows("UPDATE reconciler.services SET fingerprint = NULL, generation = NULL RETURNING 1")
    assert f"enters a database as its owner only: first norn rotate {app}" in refused(app)
    norn.run("rotate", app)
    norn.run("apply")
    norn.rows("UPDATE reconciler.services SET fingerprint = 'due', generation = 2 RETURNING 1")
    assert f"the password of {app} is being set anew" in refused(app)
    norn.run("apply")
    with psycopg.connect(servers.postgres_superuser_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {database(app)} WITH (FORCE)")
    assert f'database "{database(app)}" does not exist' in refused(app)
    assert not folder(norn).exists() or not list(folder(norn).iterdir())
    norn.run("snapshot", "list")
    norn.run("snapshot", "show", "../etc/passwd", code=1)
    assert "no snapshot's name" in norn.errors
    norn.run("snapshot", "show", "a_1f0c2ab_20260131T080000.dump", code=1)
    assert "no snapshot a_1f0c2ab_20260131T080000.dump is known" in norn.errors


def test_without_a_client_that_is_new_enough_it_says_what_to_install(
    on_18: Here, name, monkeypatch: pytest.MonkeyPatch
) -> None:
    norn, app = on_18, name("tools")
    ready(norn, app)
    monkeypatch.setattr(clients, "folders", lambda: [Path("/usr/lib/postgresql/15/bin")])
    norn.run("snapshot", "create", app, code=1)
    assert "apt-get install postgresql-client-18" in norn.errors
    services = json.loads(norn.run("doctor", "-o", "json", code=None))["services"]
    (postgres,) = [s for s in services if s["service"] == "postgres"]
    (found,) = [f for f in postgres["findings"] if f["reason"] == "NoDumpClient"]
    assert found["severity"] == "warning"
    assert found["remedy"].startswith("apt-get install postgresql-client-18")


def test_older_ones_go_and_the_last_good_one_stays(on_18: Here, name) -> None:
    norn, app = on_18, name("old")
    ready(norn, app)
    few = {"NORN_SNAPSHOTS_KEEP": "2"}

    def states() -> dict[str, str]:
        listed = json.loads(norn.run("snapshot", "list", "-o", "json"))["snapshots"]
        return {s["name"]: s["state"] for s in listed}

    names = [
        json.loads(norn.run("snapshot", "create", app, "-o", "json", **few))["snapshot"]
        for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert states() == {names[2]: "ok", names[1]: "ok"}
    # The newest one is bent, and the size does not tell: the one before it is the last good one.
    path = folder(norn) / names[2]
    bent = bytearray(path.read_bytes())
    bent[-9] ^= 1
    path.write_bytes(bent)
    norn.run("snapshot", "verify", names[2], code=1)
    assert "is not what it was" in norn.errors
    norn.run("snapshot", "verify", names[1])
    norn.run("snapshot", "prune", app, NORN_SNAPSHOTS_KEEP="1")
    assert set(states()) >= {names[1]}
    # A file that norn_db has no record of is shown, and stays.
    stray = folder(norn) / f"{database(app)}_beef123_20200101T000000.dump"
    stray.write_bytes(path.read_bytes())
    (folder(norn) / f".{names[0]}.part").write_text("left by somebody who was killed")
    norn.run("snapshot", "prune", NORN_SNAPSHOTS_KEEP="1")
    assert states()[stray.name] == "unrecorded"
    assert not list(folder(norn).glob(".*"))
    (folder(norn) / names[1]).unlink()
    assert states()[names[1]] == "missing"
    assert len(norn.rows("SELECT 1 FROM reconciler.events WHERE event = 'snapshot.pruned'")) >= 1


@pytest.mark.skipif(os.geteuid() != 0, reason=NO_TMPFS)
def test_a_full_disk_leaves_nothing(on_18: Here, name, tmp_path: Path) -> None:
    norn, app = on_18, name("full")
    url = ready(norn, app)
    with psycopg.connect(url) as conn:
        conn.execute(
            "CREATE TABLE noise AS SELECT md5(n::text || 'a') || md5(n::text || 'b') AS t "
            "FROM generate_series(1, 60000) AS n"
        )
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip(NO_TMPFS)
    try:
        text = json.loads(
            norn.run("snapshot", "create", app, "-o", "json", code=1, NORN_SNAPSHOTS_DIR=str(small))
        )["message"]
        assert "No space left on device" in text
        assert list(small.iterdir()) == []
        assert norn.rows("SELECT 1 FROM reconciler.snapshots") == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
    norn.run("snapshot", "create", app)
