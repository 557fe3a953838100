"""An ordinary app's life in what norn made for it: nothing here may be lost to isolation."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from infra.postgres import wheel_binaries
from norn_reconciler.model.app import AppName
from tests.integration.postgres_admin import database_of
from tests.integration.provider_contract import credential, fresh_name
from tests.isolation.postgres_cluster import VERSIONS, Cluster, Connection, running

MIGRATION = """
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid');
CREATE DOMAIN shop.amount AS numeric CHECK (VALUE >= 0);
CREATE TABLE shop.customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE);
CREATE TABLE shop.purchase (
  id bigserial, customer bigint REFERENCES shop.customer ON DELETE CASCADE,
  state shop.state NOT NULL DEFAULT 'new', amount shop.amount, day date NOT NULL,
  PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE shop.purchase_2025 PARTITION OF shop.purchase
  FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.purchase_rest PARTITION OF shop.purchase DEFAULT;
CREATE INDEX purchase_state ON shop.purchase (state) INCLUDE (amount);
CREATE TABLE shop.journal (at timestamptz DEFAULT now(), line jsonb);
CREATE INDEX ON shop.journal USING gin (line);
CREATE FUNCTION shop.write_down() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO shop.journal (line) VALUES (to_jsonb(NEW)); RETURN NEW; END $$;
CREATE TRIGGER write_down AFTER INSERT OR UPDATE ON shop.purchase
  FOR EACH ROW EXECUTE FUNCTION shop.write_down();
CREATE VIEW shop.paid AS SELECT * FROM shop.purchase WHERE state = 'paid';
CREATE MATERIALIZED VIEW shop.total AS
  SELECT customer, sum(amount) AS sum FROM shop.purchase GROUP BY customer;
CREATE UNIQUE INDEX ON shop.total (customer);
CREATE PROCEDURE shop.pay(who bigint) LANGUAGE sql AS
  $$ UPDATE shop.purchase SET state = 'paid' WHERE customer = who $$;
CREATE TABLE in_public (id int PRIMARY KEY, note text);
ALTER TABLE in_public ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON in_public USING (true);
CREATE STATISTICS shop.both ON customer, state FROM shop.purchase;
CREATE PUBLICATION outlet FOR TABLE shop.journal;
COMMENT ON TABLE shop.customer IS 'people';
"""
WORK = """
INSERT INTO shop.customer (name) VALUES ('ada'), ('bob');
INSERT INTO shop.purchase (customer, amount, day) VALUES (1, 5, '2025-03-01'), (1, 7, '2031-01-01');
CALL shop.pay(1);
REFRESH MATERIALIZED VIEW CONCURRENTLY shop.total;
INSERT INTO in_public VALUES (1, 'kept');
"""


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as made:
        yield made


@pytest.fixture
def name(cluster: Cluster) -> AppName:
    made = fresh_name()
    cluster.provision(made)
    return made


@pytest.fixture
def app(cluster: Cluster, name: AppName) -> Iterator[Connection]:
    with closing(cluster.app(name, database_of(name))) as conn:
        yield conn


def value(conn: Connection, query: str) -> object:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_it_migrates_and_works(app: Connection) -> None:
    app.execute(MIGRATION)
    app.execute(WORK)
    assert value(app, "SELECT sum FROM shop.total") == 12
    assert value(app, "SELECT count(*) FROM shop.paid") == 2
    assert value(app, "SELECT count(*) FROM shop.journal") == 4
    app.execute("ALTER TABLE shop.customer ADD COLUMN mail text, ALTER COLUMN name SET NOT NULL")
    app.execute("ALTER TYPE shop.state ADD VALUE 'sent'")
    app.execute("CREATE INDEX CONCURRENTLY ON shop.customer (mail)")
    app.execute("VACUUM ANALYZE shop.purchase")
    app.execute("REINDEX TABLE shop.customer")
    with pytest.raises(psycopg.errors.ForeignKeyViolation), app.transaction():
        app.execute("INSERT INTO shop.purchase (customer, day) VALUES (9, now())")
    app.execute("DROP SCHEMA shop CASCADE")


def test_it_installs_every_trusted_extension(app: Connection) -> None:
    rows = app.execute(
        "SELECT DISTINCT name FROM pg_available_extension_versions v WHERE trusted ORDER BY 1"
    ).fetchall()
    trusted = [row[0] for row in rows]
    # PostgreSQL 15 comes with its contrib modules here, the wheel of 18 with none.
    wanted = {"pgcrypto", "citext", "hstore", "uuid-ossp", "pg_trgm", "btree_gist", "unaccent"}
    assert "plpgsql" in trusted
    assert wanted <= set(trusted) or trusted == ["plpgsql"]
    for extension in trusted:
        app.execute(SQL("CREATE EXTENSION IF NOT EXISTS {} CASCADE").format(Identifier(extension)))
    owned = app.execute(
        "SELECT extname FROM pg_extension WHERE pg_get_userbyid(extowner) = current_user"
    ).fetchall()
    assert {row[0] for row in owned} == set(trusted) - {"plpgsql"}
    if "pgcrypto" in trusted:
        app.execute("CREATE TABLE account (mail citext PRIMARY KEY, tags hstore)")
        assert value(app, "SELECT length(crypt('x', gen_salt('bf')))") == 60
        assert value(app, "SELECT similarity('word', 'words') > 0.5") is True
        app.execute("CREATE INDEX ON account USING gist (mail)")
        app.execute("DROP EXTENSION hstore CASCADE")


def test_it_keeps_temporary_tables_within_its_bound(app: Connection) -> None:
    app.execute("CREATE TEMP TABLE scratch AS SELECT generate_series(1, 1000) AS x")
    assert value(app, "SELECT sum(x) FROM scratch") == 500500
    assert value(app, "SHOW temp_file_limit") == "1GB"
    app.execute("SET work_mem = '64kB'")
    assert value(app, "SELECT count(*) FROM (SELECT x FROM generate_series(1, 200000) x"
                      " ORDER BY md5(x::text)) s") == 200000  # fmt: skip


def test_sessions_of_it_tell_and_wait_for_each_other(
    cluster: Cluster, name: AppName, app: Connection
) -> None:
    with closing(cluster.app(name, database_of(name))) as other:
        other.execute("LISTEN jobs")
        app.execute("NOTIFY jobs, 'one'")
        app.execute("SELECT pg_notify('jobs', 'two')")
        heard = [note.payload for note in other.notifies(timeout=5, stop_after=2)]
        assert heard == ["one", "two"]
        app.execute("SELECT pg_advisory_lock(7)")
        assert value(other, "SELECT pg_try_advisory_lock(7)") is False
        app.execute("SELECT pg_advisory_unlock(7)")
        assert value(other, "SELECT pg_try_advisory_lock(7)") is True


def test_it_sees_and_ends_its_own_sessions(
    cluster: Cluster, name: AppName, app: Connection
) -> None:
    with closing(cluster.app(name, database_of(name))) as other:
        other.execute("SELECT 'mine'")
        query = SQL("SELECT query FROM pg_stat_activity WHERE pid = {}")
        pid = other.info.backend_pid
        assert app.execute(query.format(pid)).fetchone() == ("SELECT 'mine'",)
        assert value(app, f"SELECT pg_terminate_backend({pid}, 5000)") is True
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_it_copies_in_and_out(app: Connection) -> None:
    app.execute("CREATE TABLE many (id int, text text)")
    with app.cursor().copy("COPY many FROM STDIN") as into:
        for number in range(500):
            into.write_row((number, f"row {number}"))
    with app.cursor().copy("COPY (SELECT * FROM many ORDER BY id) TO STDOUT") as out:
        rows = [bytes(row) for row in out]
    assert len(rows) == 500
    assert rows[499] == b"499\trow 499\n"


def test_it_keeps_large_objects(app: Connection) -> None:
    number = value(app, "SELECT lo_from_bytea(0, 'large')")
    with app.transaction():
        handle = value(app, f"SELECT lo_open({number}, {0x20000 | 0x40000})")
        app.execute(f"SELECT lo_lseek({handle}, 0, 2), lowrite({handle}, ' object')")
    assert value(app, f"SELECT convert_from(lo_get({number}), 'UTF8')") == "large object"
    assert value(app, f"SELECT lo_unlink({number})") == 1


def test_it_prepares_statements_and_transactions(app: Connection) -> None:
    app.execute("PREPARE twice (int) AS SELECT $1 * 2")
    assert value(app, "EXECUTE twice(21)") == 42
    assert app.execute("SELECT %s::int + 1", [41], prepare=True).fetchone() == (42,)
    app.execute("CREATE TABLE two (x int)")
    app.execute("BEGIN; INSERT INTO two VALUES (1); PREPARE TRANSACTION 'life-a'")
    app.execute("BEGIN; INSERT INTO two VALUES (2); PREPARE TRANSACTION 'life-b'")
    app.execute("COMMIT PREPARED 'life-a'")
    app.execute("ROLLBACK PREPARED 'life-b'")
    assert app.execute("SELECT x FROM two").fetchall() == [(1,)]


def test_it_sets_what_is_its_own(cluster: Cluster, name: AppName, app: Connection) -> None:
    app.execute("SET statement_timeout = '2s'; SET TIME ZONE 'UTC'; SET work_mem = '8MB'")
    app.execute(SQL("ALTER ROLE {} SET lock_timeout = '3s'").format(Identifier(name)))
    app.execute(
        SQL("ALTER DATABASE {} SET timezone = 'Europe/Vienna'").format(
            Identifier(database_of(name))
        )
    )
    with closing(cluster.app(name, database_of(name))) as again:
        assert value(again, "SHOW lock_timeout") == "3s"
        assert value(again, "SHOW timezone") == "Europe/Vienna"
    changed = Literal("another-one")
    app.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(name), changed))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        cluster.app(name, database_of(name))
    cluster.connect(name, "another-one", database_of(name)).close()


def run(program: Path, cluster: Cluster, name: AppName, *words: str) -> None:
    """One of PostgreSQL's programs, logged in as the app: without a fault and without a warning."""
    environment = os.environ | {
        "PGHOST": "127.0.0.1", "PGPORT": str(cluster.postgres.port), "PGUSER": name,
        "PGDATABASE": database_of(name), "PGPASSWORD": credential(name).password.reveal(),
    }  # fmt: skip
    done = subprocess.run(
        [str(program), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_dumps_itself_and_restores(
    cluster: Cluster, name: AppName, app: Connection, tmp_path: Path
) -> None:
    app.execute(MIGRATION)
    app.execute(WORK)
    app.execute("SELECT lo_from_bytea(4711, 'large')")
    dump, by_newest = str(tmp_path / "dump"), str(tmp_path / "newest")
    programs = cluster.postgres.binaries
    run(programs / "pg_dump", cluster, name, "-Fc", "-f", dump)
    run(wheel_binaries() / "pg_dump", cluster, name, "-f", by_newest)  # 18 serves 15, too
    assert "CREATE TABLE shop.customer" in Path(by_newest).read_text()
    app.execute("DROP SCHEMA shop CASCADE; DROP TABLE in_public; SELECT lo_unlink(4711)")
    app.execute("DROP PUBLICATION outlet")
    run(programs / "pg_restore", cluster, name, "-d", database_of(name), "--exit-on-error", dump)
    assert value(app, "SELECT sum FROM shop.total") == 12
    assert value(app, "SELECT note FROM in_public") == "kept"
    assert value(app, "SELECT convert_from(lo_get(4711), 'UTF8')") == "large"
