"""What an app tries beyond its own: on databases, roles, grants and other apps' objects. The rest,
on the server as a whole, is in postgres_attempts_server.py."""

from __future__ import annotations

from dataclasses import dataclass

DENIED = "42501"  # insufficient_privilege
MAY = "00000"  # its own business: the attempt succeeds


@dataclass(frozen=True, slots=True)
class Attempt:
    """title: one of a kind. statement: names in braces are filled in, see postgres_sweep.py.
    where: a way in, see WAYS there. answers: the SQLSTATEs that are to be expected; anything else
    means that the attempt itself is broken. only: the version that has such a thing."""

    title: str
    statement: str
    where: str = "own"
    answers: tuple[str, ...] = (DENIED,)
    only: str = ""


def at(where: str, *rows: tuple[str, ...]) -> tuple[Attempt, ...]:
    """Rows of (title, statement, SQLSTATEs other than "permission denied")."""
    return tuple(Attempt(row[0], row[1], where, row[2:] or (DENIED,)) for row in rows)


def only(version: str, attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    return tuple(Attempt(a.title, a.statement, a.where, a.answers, version) for a in attempts)


# Whoever gets in may do all of this by default; the server's rules must not let it in.
FOREIGN_DATABASES = (
    *at(
        "b",
        ("connect to B's database", "SELECT 1"),
        ("read B's function source", "SELECT prosrc FROM pg_proc WHERE proname = 'recipe'"),
        ("call B's function", "SELECT public.tell()"),
        ("temporary table in B's database", "CREATE TEMP TABLE t AS SELECT 1"),
        ("notify B's channel", "NOTIFY news, 'forged'"),
        ("B's advisory lock", "SELECT pg_advisory_lock_shared({key}::bigint)", "42501", "55P03"),
        ("read B's table", "SELECT * FROM strongroom.vault"),
        ("read B's table in public", "SELECT * FROM public.open_table"),
        ("read B's large object", "SELECT lo_get({loid})"),
        ("change B's table", "UPDATE public.open_table SET text = ''"),
        ("use B's snapshot", "BEGIN ISOLATION LEVEL REPEATABLE READ;"
         " SET TRANSACTION SNAPSHOT '{snapshot}'; SELECT text FROM strongroom.vault; ROLLBACK"),
        ("make a table in B's public", "CREATE TABLE public.mine (x int)"),
        ("make a schema in B's database", "CREATE SCHEMA mine"),
        ("lock B's table", "BEGIN; LOCK TABLE public.open_table IN ACCESS SHARE MODE; ROLLBACK"),
        ("install an extension in B's database", "CREATE EXTENSION pgcrypto", "42501", "0A000"),
    ),
    *at("norn_db", ("connect to norn_db", "SELECT 1"), ("look around in norn_db", "TABLE apps")),
    *at(
        "postgres",
        ("connect to postgres", "SELECT 1"),
        ("temporary table in postgres", "CREATE TEMP TABLE t AS SELECT 1"),
        ("table in postgres", "CREATE TABLE public.mine (x int)"),
        ("rename own database from postgres", "ALTER DATABASE {a_db} RENAME TO moved"),
        ("close own database from postgres", "ALTER DATABASE {a_db} ALLOW_CONNECTIONS false"),
        ("drop own database from postgres", "DROP DATABASE {a_db}"),
    ),
    *at(
        "template1",
        ("connect to template1", "SELECT 1"),
        ("table in template1", "CREATE TABLE public.mine (x int)"),
        ("function in template1", "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql"
         " AS 'SELECT 1'"),
        ("drop own database from template1", "DROP DATABASE {a_db} WITH (FORCE)"),
    ),
    *at("template0", ("connect to template0", "SELECT 1")),
)  # fmt: skip

LOGINS = (
    *at("as b", ("log in as B with one's own password", "SELECT 1")),
    *at("as b, none", ("log in as B without a password", "SELECT 1")),
    *at("as norn_admin", ("log in as norn_admin with one's own password", "SELECT 1")),
    *at("as postgres", ("log in as the superuser with one's own password", "SELECT 1")),
    *at("replication", ("replication connection to own database", "IDENTIFY_SYSTEM")),
    *at("replication b", ("replication connection to B's database", "IDENTIFY_SYSTEM")),
    *at("physical", ("physical replication connection", "IDENTIFY_SYSTEM")),
    *at("role=b", ("log in with role=b", "SELECT current_user")),
    *at("authorization=b", ("log in with session_authorization=b", "SELECT current_user")),
    *at("preload", ("log in with session_preload_libraries", "SELECT 1")),
    *at("mods", ("log in with allow_system_table_mods", "SELECT 1")),
    *at("temp", ("log in with temp_file_limit lifted", "SELECT 1")),
    *at("unlogged", ("log in with log_connections off", "SELECT 1")),
)

DATABASES = at(
    "own",
    ("create a database", "CREATE DATABASE more"),
    ("create a database of B's", "CREATE DATABASE more TEMPLATE {b_db}"),
    ("create a database owned by B", "CREATE DATABASE more OWNER {b}"),
    ("rename own database", "ALTER DATABASE {a_db} RENAME TO moved", "42501", "0A000"),
    ("give own database to B", "ALTER DATABASE {a_db} OWNER TO {b}"),
    ("give own database to norn", "ALTER DATABASE {a_db} OWNER TO {norn}"),
    ("move own database", "ALTER DATABASE {a_db} SET TABLESPACE pg_default", "55006"),
    ("drop own database", "DROP DATABASE {a_db}", "55006"),
    ("close own database", "ALTER DATABASE {a_db} ALLOW_CONNECTIONS false", "22023"),
    ("mark own database invalid", "ALTER DATABASE {a_db} CONNECTION LIMIT -2", "22023"),
    ("limit own database", "ALTER DATABASE {a_db} CONNECTION LIMIT 9", MAY),
    ("own database a template", "ALTER DATABASE {a_db} IS_TEMPLATE true", MAY),
    ("setting on own database", "ALTER DATABASE {a_db} SET work_mem = '8MB'", MAY),
    ("superuser's setting on own database", "ALTER DATABASE {a_db} SET log_statement = 'all'"),
    ("preload on own database", "ALTER DATABASE {a_db} SET session_preload_libraries = 'x'"),
    ("temp_file_limit on own database", "ALTER DATABASE {a_db} SET temp_file_limit = -1"),
    ("delay on own database", "ALTER DATABASE {a_db} SET post_auth_delay = 60", "55P02"),
    # Checked when a session begins there; norn takes it back, and never works there as its admin.
    ("role=B on own database", "ALTER DATABASE {a_db} SET role = {b}", MAY),
    ("open own database to PUBLIC", "GRANT ALL ON DATABASE {a_db} TO PUBLIC", MAY),
    ("open own database to B", "GRANT ALL ON DATABASE {a_db} TO {b}", MAY),
    ("comment on own database", "COMMENT ON DATABASE {a_db} IS 'mine'", MAY),
    ("alter B's database", "ALTER DATABASE {b_db} CONNECTION LIMIT 0"),
    ("rename B's database", "ALTER DATABASE {b_db} RENAME TO moved"),
    ("take B's database", "ALTER DATABASE {b_db} OWNER TO {a}"),
    ("move B's database", "ALTER DATABASE {b_db} SET TABLESPACE pg_default"),
    ("B's database a template", "ALTER DATABASE {b_db} IS_TEMPLATE true"),
    ("close B's database", "ALTER DATABASE {b_db} ALLOW_CONNECTIONS false"),
    ("setting on B's database", "ALTER DATABASE {b_db} SET search_path = evil, pg_catalog"),
    ("settings of B's database away", "ALTER DATABASE {b_db} RESET ALL"),
    ("refresh B's collation version", "ALTER DATABASE {b_db} REFRESH COLLATION VERSION"),
    ("drop B's database", "DROP DATABASE {b_db} WITH (FORCE)"),
    ("drop norn_db", "DROP DATABASE norn_db"),
    ("alter norn_db", "ALTER DATABASE norn_db SET search_path = evil"),
    ("drop template0", "DROP DATABASE template0"),
    ("alter template1", "ALTER DATABASE template1 ALLOW_CONNECTIONS false"),
    ("setting on postgres", "ALTER DATABASE postgres SET search_path = evil, pg_catalog"),
    ("grant CONNECT on B's database", "GRANT CONNECT ON DATABASE {b_db} TO {a}"),
    ("grant B's database to PUBLIC", "GRANT ALL ON DATABASE {b_db} TO PUBLIC"),
    ("revoke B's rights on B's database", "REVOKE ALL ON DATABASE {b_db} FROM {b}"),
    ("grant CONNECT on postgres", "GRANT CONNECT ON DATABASE postgres TO {a}"),
    ("grant CONNECT on norn_db", "GRANT CONNECT ON DATABASE norn_db TO {a}"),
    ("comment on B's database", "COMMENT ON DATABASE {b_db} IS 'x'"),
    ("label B's database", "SECURITY LABEL ON DATABASE {b_db} IS 'x'", "42501", "22023"),
    ("size of B's database", "SELECT pg_database_size({b_db_text})"),
)  # fmt: skip

_ROLE_ATTRIBUTES = (
    "SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS", "CONNECTION LIMIT -1",
    "VALID UNTIL 'infinity'", "NOINHERIT",
)  # fmt: skip
_PREDEFINED = (
    "pg_read_all_data", "pg_write_all_data", "pg_monitor", "pg_read_all_settings",
    "pg_read_all_stats", "pg_stat_scan_tables", "pg_signal_backend", "pg_read_server_files",
    "pg_write_server_files", "pg_execute_server_program", "pg_checkpoint",
)  # fmt: skip

ROLES = (
    *at("own", *((f"own role {name}", f"ALTER ROLE {{a}} {name}") for name in _ROLE_ATTRIBUTES)),
    *at("own", *((f"SET ROLE {name}", f"SET ROLE {name}") for name in _PREDEFINED)),
    *at(
        "own",
        *((f"grant oneself {name}", f"GRANT {name} TO {{a}}", DENIED, "0LP01")
          for name in _PREDEFINED),
        *((f"SET ROLE {name}", f"SET ROLE {role}")
          for name, role in (("B", "{b}"), ("norn_admin", "{norn}"), ("superuser", "postgres"))),
        *((f"SET SESSION AUTHORIZATION {name}", f"SET SESSION AUTHORIZATION {role}")
          for name, role in (("B", "{b}"), ("norn_admin", "{norn}"), ("superuser", "postgres"))),
        *((f"grant oneself {name}", f"GRANT {role} TO {{a}}", DENIED)
          for name, role in (("B", "{b}"), ("norn_admin", "{norn}"), ("superuser", "postgres"))),
        # An owner is this in its own database, and nowhere else.
        ("SET ROLE pg_database_owner", "SET ROLE pg_database_owner", MAY),
        ("grant oneself pg_database_owner", "GRANT pg_database_owner TO {a}", "42501", "0A000"),
        ("become B by set_config", "SELECT set_config('role', {b_text}, false)"),
        ("become superuser by is_superuser", "SELECT set_config('is_superuser', 'on', false)",
         "55P02"),
        ("ADMIN on oneself to oneself", "GRANT {a} TO {a} WITH ADMIN OPTION", "42501", "0LP01"),
        ("oneself to B", "GRANT {a} TO {b}"),
        ("norn out of oneself", "REVOKE {a} FROM {norn}"),
        ("norn's admin option away", "REVOKE ADMIN OPTION FOR {a} FROM {norn}"),
        ("create a role", "CREATE ROLE more"),
        ("create a superuser", "CREATE ROLE more SUPERUSER"),
        ("create a group of B", "CREATE ROLE more ROLE {b}"),
        ("drop B", "DROP ROLE {b}"),
        ("drop oneself", "DROP ROLE {a}"),
        ("rename oneself", "ALTER ROLE {a} RENAME TO moved", "0A000"),
        ("rename B", "ALTER ROLE {b} RENAME TO moved"),
        ("B's password", "ALTER ROLE {b} PASSWORD 'x'"),
        ("norn_admin's password", "ALTER ROLE {norn} PASSWORD 'x'"),
        ("norn's password", "ALTER ROLE norn PASSWORD 'x'"),
        ("the superuser's password", "ALTER ROLE postgres PASSWORD 'x'"),
        ("B NOLOGIN", "ALTER ROLE {b} NOLOGIN"),
        ("B's connection limit", "ALTER ROLE {b} CONNECTION LIMIT 0"),
        ("setting on B", "ALTER ROLE {b} SET search_path = evil"),
        ("setting on B in own database", "ALTER ROLE {b} IN DATABASE {a_db} SET work_mem = '1MB'"),
        ("setting on norn_admin", "ALTER ROLE {norn} SET search_path = evil, pg_catalog"),
        ("setting on all", "ALTER ROLE ALL SET search_path = evil"),
        ("setting on all in own database", "ALTER ROLE ALL IN DATABASE {a_db} SET work_mem = '8MB'",
         MAY),
        ("setting on all in B's database", "ALTER ROLE ALL IN DATABASE {b_db} SET role = 'none'"),
        # Nobody but oneself in a place where one can't go.
        ("setting on oneself in B's database", "ALTER ROLE {a} IN DATABASE {b_db} SET work_mem ="
         " '8MB'", MAY),
        ("own temp_file_limit", "ALTER ROLE {a} SET temp_file_limit = -1"),
        ("own temp_file_limit away", "ALTER ROLE {a} RESET temp_file_limit"),
        ("own settings away", "ALTER ROLE {a} RESET ALL", MAY),
        ("superuser's setting on oneself", "ALTER ROLE {a} SET session_replication_role = replica"),
        ("own password", "ALTER ROLE {a} PASSWORD {a_password}", MAY),
        ("own statement_timeout", "ALTER ROLE {a} SET statement_timeout = 0", MAY),
        ("comment on oneself", "COMMENT ON ROLE {a} IS 'norn: app {b}'"),
        ("comment on B", "COMMENT ON ROLE {b} IS 'x'"),
        ("label B", "SECURITY LABEL ON ROLE {b} IS 'x'", "42501", "22023"),
        ("REASSIGN OWNED BY B", "REASSIGN OWNED BY {b} TO {a}"),
        ("REASSIGN OWNED TO B", "REASSIGN OWNED BY {a} TO {b}"),
        ("DROP OWNED BY B", "DROP OWNED BY {b}"),
        ("DROP OWNED BY norn_admin", "DROP OWNED BY {norn}"),
        ("default rights of B", "ALTER DEFAULT PRIVILEGES FOR ROLE {b} GRANT ALL ON TABLES TO {a}"),
        ("schema for B", "CREATE SCHEMA gift AUTHORIZATION {b}"),
        ("function to B", "CREATE FUNCTION gift() RETURNS int LANGUAGE sql SECURITY DEFINER"
         " AS 'SELECT 1'; ALTER FUNCTION gift() OWNER TO {b}"),
        ("table to the superuser", "CREATE TABLE gift (x int); ALTER TABLE gift OWNER TO postgres"),
        ("view to norn_admin", "CREATE VIEW peep AS SELECT rolpassword FROM pg_authid;"
         " ALTER VIEW peep OWNER TO {norn}"),
        ("user mapping for B", "CREATE USER MAPPING FOR {b} SERVER none_such", "42704"),
        ("B's prepared transaction rolled back", "ROLLBACK PREPARED {gid}"),
        ("B's prepared transaction committed", "COMMIT PREPARED {gid}"),
        ("B's snapshot in own database", "BEGIN ISOLATION LEVEL REPEATABLE READ;"
         " SET TRANSACTION SNAPSHOT '{snapshot}'", "0A000", "22023"),
        ("B's large object by its number", "SELECT lo_get({loid})", "42704"),
        ("B's channel in own database", "NOTIFY news, 'forged'", MAY),
        ("B's advisory lock in own database", "SELECT pg_advisory_lock({key})", MAY),
        ("own prepared transaction", "BEGIN; CREATE TABLE later (x int);"
         " PREPARE TRANSACTION 'own'", MAY),
        ("own prepared transaction back", "ROLLBACK PREPARED 'own'", MAY),
        ("grant on own table to B", "CREATE TABLE shared (x int); GRANT ALL ON shared TO {b};"
         " DROP TABLE shared", MAY),
    ),
    *only("18", at(
        "own",
        ("SET createrole_self_grant", "SET createrole_self_grant = 'set, inherit'", MAY),
        ("SET ROLE pg_maintain", "SET ROLE pg_maintain"),
        ("grant oneself pg_maintain", "GRANT pg_maintain TO {a}"),
        ("grant oneself pg_create_subscription", "GRANT pg_create_subscription TO {a}"),
        ("grant oneself pg_use_reserved_connections",
         "GRANT pg_use_reserved_connections TO {a}"),
        ("SET ROLE pg_signal_autovacuum_worker", "SET ROLE pg_signal_autovacuum_worker"),
        ("norn's SET on oneself away", "REVOKE SET OPTION FOR {a} FROM {norn}"),
        ("oneself to B, by norn", "GRANT {a} TO {b} GRANTED BY {norn}"),
    )),
)  # fmt: skip

ATTEMPTS = (*FOREIGN_DATABASES, *LOGINS, *DATABASES, *ROLES)
