"""A reader of another app's database: what it reads, all that it must not do there, and what it can
do there all the same; and that a third app gets in nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.outcome import Proof
from norn_reconciler.providers.postgres.section import PostgresSection
from tests.integration.postgres_admin import app_with, database_of
from tests.integration.provider_contract import World, credential, fresh_name
from tests.isolation.postgres_cluster import VERSIONS, Cluster, Connection, running

DENIED = psycopg.errors.InsufficientPrivilege

OLD = """
CREATE TABLE old (x int PRIMARY KEY, y text DEFAULT 'y'); INSERT INTO old VALUES (1);
CREATE SEQUENCE old_sequence; SELECT nextval('old_sequence');
CREATE VIEW old_view AS SELECT x FROM old;
CREATE MATERIALIZED VIEW old_total AS SELECT count(*) FROM old;
CREATE SCHEMA vault; CREATE TABLE vault.old AS SELECT 2 AS x;
CREATE TABLE vault.parts (x int) PARTITION BY LIST (x);
CREATE TABLE vault.part PARTITION OF vault.parts FOR VALUES IN (1);
CREATE SCHEMA "We""ird; --"; CREATE TABLE "We""ird; --"."ta%s ble'" AS SELECT 3 AS x;
CREATE TYPE mood AS ENUM ('new'); CREATE FUNCTION harmless() RETURNS int LANGUAGE sql AS 'SELECT 4';
CREATE PROCEDURE change() LANGUAGE sql AS 'INSERT INTO old VALUES (99)';
CREATE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
"""
NEW = """
CREATE TABLE new AS SELECT 5 AS x; CREATE SEQUENCE new_sequence;
CREATE VIEW new_view AS SELECT x FROM new;
CREATE TABLE vault.new AS SELECT 6 AS x;
CREATE SCHEMA attic; CREATE TABLE attic.new AS SELECT 7 AS x;
CREATE SCHEMA "La""ter; --"; CREATE TABLE "La""ter; --"."new 'one" AS SELECT 8 AS x;
"""
READ = {
    "TABLE old": [(1, "y")], "TABLE old_view": [(1,)],
    "SELECT last_value FROM old_sequence": [(1,)],
    "TABLE old_total": [(1,)], "TABLE vault.old": [(2,)], "TABLE vault.parts": [],
    "TABLE vault.part": [], """TABLE "We""ird; --"."ta%s ble'" """: [(3,)],
    "SELECT harmless()": [(4,)], "TABLE new": [(5,)], "SELECT last_value FROM new_sequence": [(1,)],
    "TABLE new_view": [(5,)], "TABLE vault.new": [(6,)], "TABLE attic.new": [(7,)],
    """TABLE "La""ter; --"."new 'one" """: [(8,)], "COPY old TO STDOUT": None,
    "BEGIN; LOCK TABLE old IN ACCESS SHARE MODE; COMMIT": None, "EXPLAIN SELECT * FROM new": None,
}  # fmt: skip
WRITES = (
    "INSERT INTO old VALUES (7)", "INSERT INTO new VALUES (7)", "INSERT INTO attic.new VALUES (7)",
    "INSERT INTO vault.part VALUES (1)", "UPDATE old SET x = 7", "UPDATE new SET x = 7",
    "DELETE FROM old", "DELETE FROM attic.new", "TRUNCATE old", "TRUNCATE vault.new",
    "MERGE INTO old o USING new n ON o.x = n.x WHEN NOT MATCHED THEN INSERT VALUES (7)",
    "COPY old FROM STDIN", "INSERT INTO old_view VALUES (7)", "SELECT x FROM old FOR UPDATE",
    "SELECT x FROM old FOR KEY SHARE", "SELECT nextval('old_sequence')",
    "SELECT setval('old_sequence', 7)", "SELECT nextval('new_sequence')",
    "BEGIN; LOCK TABLE old IN ROW EXCLUSIVE MODE; COMMIT",
    "BEGIN; LOCK TABLE old IN ACCESS EXCLUSIVE MODE; COMMIT",
    "REFRESH MATERIALIZED VIEW old_total", "CALL change()",
    "CREATE TABLE mine (x int)", "CREATE TABLE public.mine (x int)", "CREATE TABLE vault.mine ()",
    "CREATE TABLE attic.mine ()", "CREATE TEMP TABLE mine (x int)", "SELECT 1 AS x INTO TEMP mine",
    "SELECT 1 AS x INTO public.mine", "CREATE VIEW public.mine AS SELECT 1",
    "CREATE SEQUENCE public.mine", "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS '1'",
    "CREATE TYPE public.mine AS ENUM ()", "CREATE DOMAIN public.mine AS int",
    "CREATE SCHEMA mine", "CREATE SCHEMA AUTHORIZATION CURRENT_USER", "CREATE PUBLICATION mine",
    "CREATE EXTENSION IF NOT EXISTS plpgsql SCHEMA public VERSION '9.9'",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION hook()",
    "CREATE TRIGGER mine BEFORE INSERT ON old FOR EACH ROW EXECUTE FUNCTION hook()",
    "CREATE RULE mine AS ON INSERT TO old DO NOTHING", "CREATE POLICY mine ON old",
    "CREATE INDEX ON old (y)", "CREATE STATISTICS public.mine ON x, y FROM old",
    "ALTER TABLE old ADD z int", "ALTER TABLE old OWNER TO CURRENT_USER",
    "ALTER SCHEMA vault RENAME TO mine", "ALTER TYPE mood ADD VALUE 'mine'",
    "ALTER SEQUENCE old_sequence RESTART", "ALTER FUNCTION harmless() STRICT",
    "DROP TABLE old", "DROP TABLE attic.new", "DROP SCHEMA vault CASCADE", "DROP VIEW new_view",
    "REINDEX TABLE old", "CLUSTER old USING old_pkey",
    "COMMENT ON TABLE old IS 'mine'", "SECURITY LABEL ON TABLE old IS 'x'",
    "GRANT SELECT ON old TO {third}", "GRANT USAGE ON SCHEMA vault TO {third}",
    "REVOKE SELECT ON old FROM {group}", "GRANT {group} TO {third}", "DROP ROLE {group}",
    "ALTER ROLE {group} LOGIN", "COMMENT ON ROLE {group} IS 'x'",
    "GRANT CONNECT ON DATABASE {database} TO {third}", "ALTER DATABASE {database} RENAME TO mine",
    "ALTER DATABASE {database} SET search_path = mine", "COMMENT ON DATABASE {database} IS 'x'",
    "ALTER DATABASE {database} OWNER TO CURRENT_USER", "DROP DATABASE {database}",
    "CREATE DATABASE mine TEMPLATE {database}", "SET ROLE {owner}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO CURRENT_USER",
    "DROP OWNED BY {owner}", "REASSIGN OWNED BY {owner} TO CURRENT_USER",
    "SELECT pg_terminate_backend({pid})", "SELECT pg_cancel_backend({pid})",
    "SELECT lo_put({loid}, 0, 'x')", "SELECT lo_unlink({loid})", "SELECT lo_get({loid})",
    "SELECT pg_read_file('PG_VERSION')", "COPY old TO PROGRAM 'true'",
)  # fmt: skip
# Refused too, by other words than those of privileges.
OTHERWISE = {
    "SECURITY LABEL ON TABLE old IS 'x'": psycopg.errors.InvalidParameterValue,
    "CREATE EXTENSION IF NOT EXISTS plpgsql SCHEMA public VERSION '9.9'": None,  # it is there
    "GRANT CONNECT ON DATABASE {database} TO {third}": None,  # a warning, and nothing granted
    "REVOKE SELECT ON old FROM {group}": None,  # the same
    "GRANT SELECT ON old TO {third}": None,
    "GRANT USAGE ON SCHEMA vault TO {third}": None,
}


@dataclass(frozen=True)
class Scene:
    """owner shares with reader, and not with third; each has a database of its own."""

    cluster: Cluster
    owner: AppName
    reader: AppName
    third: AppName

    @property
    def database(self) -> str:
        return database_of(self.owner)

    @property
    def apps(self) -> list[App]:
        shared = PostgresSection(database=self.database, readers=(self.reader,))
        read = {"postgres": frozenset({self.database})}
        reader = app_with(self.reader)
        return [
            App(self.owner, {"postgres": shared}),
            App(reader.name, reader.sections, read),
            app_with(self.third),
        ]

    def converge(self, world: World) -> None:
        async def run() -> None:
            provider = self.cluster.provider()
            world.provider = provider  # type: ignore[assignment]
            try:
                await world.converge(*self.apps)
                for app in self.apps:
                    known = credential(app.name)
                    assert (await provider.prove(app, known)).ok
                    for neighbour in self.apps:
                        proof = await provider.trespass(app, known, neighbour)
                        assert proof.ok or neighbour == app, proof
            finally:
                await provider.close()

        asyncio.run(run())

    def own(self) -> Connection:
        return self.cluster.app(self.owner, self.database)

    def inside(self, who: AppName | None = None) -> Connection:
        return self.cluster.app(who or self.reader, self.database, options="-c lock_timeout=300ms")

    def words(self, own: Connection, loid: int) -> dict[str, str]:
        names = {
            "owner": self.owner, "third": self.third, "group": f"{self.owner}.readers",
            "database": self.database,
        }  # fmt: skip
        quoted = {word: f'"{name}"' for word, name in names.items()}
        return {**quoted, "pid": str(own.info.backend_pid), "loid": str(loid)}


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as made:
        yield made


@pytest.fixture
def scene(cluster: Cluster) -> Scene:
    """Old things were there before the first reader, new ones came after."""
    names = [fresh_name(stem) for stem in ("owner", "reader", "third")]
    made = Scene(cluster, *names)
    world = cluster.provision(made.owner)
    with closing(made.own()) as own:
        own.execute(OLD)
    made.converge(world)
    with closing(made.own()) as own:
        own.execute(NEW)
    return made


def tables(conn: Connection) -> list[object]:
    """All rights and all rows: what a write of any kind would show in."""
    found: list[object] = conn.execute(
        "SELECT c.oid, c.relname, c.relacl::text, n.nspname, n.nspacl::text, c.relowner"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE NOT starts_with(n.nspname, 'pg_') ORDER BY 1"
    ).fetchall()
    for table in ("old", "new", "vault.old", "vault.new", "attic.new", "vault.parts"):
        found.append(conn.execute(f"TABLE {table}").fetchall())
    found.append(conn.execute("SELECT last_value FROM old_sequence").fetchall())
    return found


def test_a_reader_reads_what_is_there_and_what_comes(scene: Scene) -> None:
    with closing(scene.inside()) as conn:
        for statement, rows in READ.items():
            if rows is None and statement.startswith("COPY"):
                with conn.cursor().copy(statement) as out:
                    assert b"".join(bytes(part) for part in out) == b"1\ty\n"
                continue
            cursor = conn.execute(statement)
            if rows is not None:
                assert cursor.fetchall() == rows, statement


def test_a_reader_fails_at_every_write(scene: Scene) -> None:
    with closing(scene.own()) as own, closing(scene.inside()) as conn:
        row = own.execute("SELECT lo_from_bytea(0, 'large')").fetchone()
        assert row is not None
        words = scene.words(own, row[0])
        before = tables(own)
        for attempt in WRITES:
            statement = attempt.format_map(words)
            kind = OTHERWISE.get(attempt, DENIED)
            if kind is None:
                with suppress(psycopg.Error):
                    conn.execute(statement)
            else:
                with pytest.raises(kind):
                    if statement.startswith("COPY old FROM"):
                        with conn.cursor().copy(statement):
                            pass
                    else:
                        conn.execute(statement)
            conn.execute("ROLLBACK")
            assert tables(own) == before, statement
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        scene.inside(scene.third)


def test_a_third_app_gets_in_nowhere(scene: Scene) -> None:
    for database in (scene.database, database_of(scene.reader)):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            scene.cluster.app(scene.third, database)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        scene.cluster.app(scene.owner, database_of(scene.reader))
    with closing(scene.cluster.app(scene.third, database_of(scene.third))) as conn:
        for role in (scene.owner, scene.reader, f"{scene.owner}.readers"):
            with pytest.raises(DENIED):
                conn.execute(SQL("SET ROLE {}").format(Identifier(role)))


def test_the_group_itself_is_nobodys_to_be(scene: Scene) -> None:
    """From 16 on; on 15 a member can, and gains nothing: see what it can do all the same."""
    group = Identifier(f"{scene.owner}.readers")
    with closing(scene.inside()) as conn:
        if scene.cluster.version == "15":
            conn.execute(SQL("SET ROLE {}").format(group))
            for statement in ("CREATE TEMP TABLE z ()", "CREATE SCHEMA z", "DELETE FROM old"):
                with pytest.raises(DENIED):
                    conn.execute(statement)
        else:
            with pytest.raises(DENIED):
                conn.execute(SQL("SET ROLE {}").format(group))
    with pytest.raises(psycopg.OperationalError, match=r"not permitted to log in|password"):
        scene.cluster.connect(f"{scene.owner}.readers", "x", scene.database)


def test_what_a_reader_can_do_there_all_the_same(scene: Scene) -> None:
    """What docs/security.md says of it, and nothing that it does not say."""
    with closing(scene.own()) as own, closing(scene.inside()) as conn:
        own.execute("LISTEN news")
        conn.execute("NOTIFY news, 'from a reader'")
        assert [n.payload for n in own.notifies(timeout=5, stop_after=1)] == ["from a reader"]
        conn.execute("SELECT pg_advisory_lock(7)")
        row = own.execute("SELECT pg_try_advisory_lock(7)").fetchone()
        assert row == (False,)
        conn.execute("SELECT lo_from_bytea(0, 'mine')")
        assert own.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (1,)
        source = conn.execute("SELECT prosrc FROM pg_proc WHERE proname = 'harmless'").fetchone()
        assert source == ("SELECT 4",)
        conn.execute("BEGIN; SELECT FROM old")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            own.execute("SET lock_timeout = '100ms'; ALTER TABLE old ADD z int")
        conn.execute("COMMIT")
        assert left_by_vacuum(own, while_open=conn) > 0
        own.execute(
            "CREATE FUNCTION door() RETURNS void LANGUAGE sql SECURITY DEFINER"
            " AS 'INSERT INTO public.old VALUES (77)'"
        )
        conn.execute("SELECT door()")
        assert conn.execute("SELECT x FROM old WHERE x = 77").fetchone() == (77,)
        own.execute("GRANT INSERT ON new TO PUBLIC")
        conn.execute("INSERT INTO new VALUES (78)")
        own.execute(
            SQL("ALTER DATABASE {} SET search_path = vault").format(Identifier(scene.database))
        )
    with closing(scene.inside()) as conn:
        assert conn.execute("SHOW search_path").fetchone() == ("vault",)
        query = "SELECT query FROM pg_stat_activity WHERE usename = %s"
        assert {row[0] for row in conn.execute(query, [scene.owner])} <= {
            "<insufficient privilege>"
        }
        conn.execute(SQL("DROP DATABASE {}").format(Identifier(database_of(scene.reader))))


def left_by_vacuum(own: Connection, while_open: Connection) -> int:
    """Bytes of an emptied table while a transaction is open that could still see its rows."""
    own.execute("CREATE TABLE emptied AS SELECT generate_series(1, 1000) AS x")
    while_open.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM old")
    own.execute("DELETE FROM emptied")
    sizes = []
    for statement in ("SELECT 1", "COMMIT"):
        while_open.execute(statement)
        own.execute("VACUUM emptied")
        row = own.execute("SELECT pg_relation_size('emptied')").fetchone()
        assert row is not None
        sizes.append(int(row[0]))
    assert sizes[1] == 0, "once it is over they are cleared away"
    return sizes[0]


@pytest.mark.parametrize("trap", ["view", "policy", "index"])
def test_whoever_reads_runs_the_owners_code_with_its_own_rights(scene: Scene, trap: str) -> None:
    """PostgreSQL's way, and why norn itself, as a reader, reads nothing of the owner's."""
    with closing(scene.own()) as own:
        own.execute(
            """
            CREATE FUNCTION grab() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
              EXECUTE format('ALTER ROLE %I PASSWORD %L', current_user, 'taken'); RETURN 1; END $$;
            CREATE FUNCTION soft() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
              'BEGIN RETURN public.grab(); END'
            """
        )
        if trap == "view":
            own.execute("CREATE VIEW trap AS SELECT public.grab() AS x")
        elif trap == "index":
            own.execute("CREATE TABLE trap (x int); CREATE INDEX ON trap ((x + public.soft()))")
            known = Literal(credential(scene.owner).password.reveal())
            own.execute(SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(known))
        else:
            own.execute(
                "CREATE TABLE trap (x int); ALTER TABLE trap ENABLE ROW LEVEL SECURITY;"
                "CREATE POLICY p ON trap USING (x = public.soft())"
            )

    async def prove() -> bool:
        provider = scene.cluster.provider()
        try:
            _, reader, third = scene.apps
            known = credential(scene.reader)
            return (await provider.trespass(reader, known, third)).ok
        finally:
            await provider.close()

    assert asyncio.run(prove())
    scene.inside().close()  # its password is still its own
    with closing(scene.inside()) as conn:
        conn.execute("SELECT x FROM trap" + ("" if trap == "view" else " LIMIT 0"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        scene.inside()


def test_a_superuser_can_close_large_objects(scene: Scene) -> None:
    """As docs/security.md says it."""
    with closing(scene.cluster.superuser(scene.database)) as conn:
        conn.execute(
            "REVOKE EXECUTE ON FUNCTION"
            " lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC"
        )
    with closing(scene.inside()) as conn:
        for call in ("lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, 'x')", "lo_import('x')"):
            with pytest.raises(DENIED):
                conn.execute(f"SELECT {call}")
        assert conn.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)


def test_a_server_that_lets_no_reader_in_is_told_of(scene: Scene) -> None:
    """Nothing of it will pass by itself, and its URL would be of no use."""
    rules = scene.cluster.postgres.data / "pg_hba.conf"
    before = rules.read_text()
    _, reader, third = scene.apps

    async def tried() -> Proof:
        provider = scene.cluster.provider()
        try:
            return await provider.trespass(reader, credential(scene.reader), third)
        finally:
            await provider.close()

    def put(text: str) -> None:
        rules.write_text(text)
        with closing(scene.cluster.superuser()) as conn:
            conn.execute("SELECT pg_reload_conf(), pg_sleep(0.5)")

    put(f'host "{scene.database}" "{scene.reader}" all reject\n{before}')
    try:
        found = asyncio.run(tried())
    finally:
        put(before)
    assert (found.ok, found.kind) == (False, "ReadRefused")
    assert scene.database in found.reason
    assert asyncio.run(tried()).ok


def test_a_reader_that_takes_the_promise_away_gets_it_back_for_all(scene: Scene) -> None:
    with closing(scene.inside()) as conn, closing(scene.own()) as own:
        conn.execute(SQL("DROP OWNED BY {}").format(Identifier(f"{scene.owner}.readers")))
        own.execute("CREATE TABLE meanwhile (x int)")
        with pytest.raises(DENIED):
            conn.execute("TABLE meanwhile")
        world = scene.cluster.provision()
        adopt(scene, world)
        scene.converge(world)
        own.execute("CREATE TABLE afterwards (x int)")
        conn.execute("SELECT FROM meanwhile, afterwards")


def adopt(scene: Scene, world: World) -> None:
    """Another norn without records of its own takes over what is there."""

    async def run() -> None:
        provider = scene.cluster.provider()
        world.provider = provider  # type: ignore[assignment]
        try:
            seen = await world.observe(scene.apps)
            for app in scene.apps:
                rows = provider.adoptable(world.wanted(app), seen[app.name])
                assert {kind for kind, _ in rows} >= {"role", "database"}
                world.owned[app.name] = rows
                world.marks[app.name] = credential(app.name).mark
        finally:
            await provider.close()

    asyncio.run(run())
