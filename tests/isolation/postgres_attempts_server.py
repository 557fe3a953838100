"""What an app tries on the server as a whole: files, programs, sessions, settings, code,
replication, and what others' sessions are doing."""

from __future__ import annotations

from tests.isolation.postgres_attempts import MAY, at, only

FILES = at(
    "own",
    ("COPY to a file", "COPY (SELECT 1) TO '{outbox}/copied'"),
    ("COPY from a file", "CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'"),
    ("COPY to a program", "COPY (SELECT 1) TO PROGRAM 'cat > {outbox}/ran'"),
    ("COPY from a program", "CREATE TEMP TABLE t (x text); COPY t FROM PROGRAM 'id'"),
    ("lo_import", "SELECT lo_import('/etc/passwd')"),
    ("lo_export", "SELECT lo_export(lo_from_bytea(0, 'x'), '{outbox}/exported')"),
    ("pg_read_file", "SELECT pg_read_file('PG_VERSION')"),
    ("pg_read_file of pg_hba.conf", "SELECT pg_read_file('pg_hba.conf', 0, 100, true)"),
    ("pg_read_binary_file", "SELECT pg_read_binary_file('global/pg_control')"),
    ("pg_stat_file", "SELECT pg_stat_file('PG_VERSION')"),
    ("pg_ls_dir", "SELECT pg_ls_dir('.')"),
    ("pg_ls_logdir", "SELECT pg_ls_logdir()"),
    ("pg_ls_waldir", "SELECT pg_ls_waldir()"),
    ("pg_ls_tmpdir", "SELECT pg_ls_tmpdir()"),
    ("pg_ls_archive_statusdir", "SELECT pg_ls_archive_statusdir()"),
    ("pg_ls_logicalsnapdir", "SELECT pg_ls_logicalsnapdir()"),
    ("pg_ls_replslotdir of B's", "SELECT pg_ls_replslotdir('{slot}')"),
    ("pg_current_logfile", "SELECT pg_current_logfile()"),
    ("create a tablespace", "CREATE TABLESPACE more LOCATION '{outbox}'"),
    ("take pg_default", "ALTER TABLESPACE pg_default OWNER TO {a}"),
    ("rename pg_default", "ALTER TABLESPACE pg_default RENAME TO moved"),
    ("setting on pg_default", "ALTER TABLESPACE pg_default SET (seq_page_cost = 9)"),
    ("drop pg_default", "DROP TABLESPACE pg_default"),
    ("grant pg_global", "GRANT CREATE ON TABLESPACE pg_global TO {a}"),
    ("table in pg_global", "CREATE TABLE t (x int) TABLESPACE pg_global", "42501", "22023"),
    ("files named by a dictionary", "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple,"
     " STOPWORDS = '../../../../../../etc/passwd')", "22023"),
)  # fmt: skip

SESSIONS = at(
    "own",
    ("terminate B's session", "SELECT pg_terminate_backend({b_pid})"),
    ("cancel B's query", "SELECT pg_cancel_backend({b_pid})"),
    ("terminate norn_admin's session", "SELECT pg_terminate_backend({norn_pid})"),
    ("cancel norn_admin's query", "SELECT pg_cancel_backend({norn_pid})"),
    ("terminate norn's session", "SELECT pg_terminate_backend({records_pid}, 10)"),
    ("terminate all", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
     " pg_backend_pid()"),
    ("terminate the superuser's session", "SELECT pg_terminate_backend({superuser_pid})"),
    ("terminate the autovacuum launcher", "SELECT pg_terminate_backend({launcher_pid})"),
    ("dump B's memory contexts", "SELECT pg_log_backend_memory_contexts({b_pid})"),
    ("query texts", "SELECT string_agg(query, ' ') FROM pg_stat_activity", MAY),
    ("query texts by function", "SELECT string_agg(pg_stat_get_backend_activity(i), ' ')"
     " FROM pg_stat_get_backend_idset() i", MAY),
    ("query texts by function of pid", "SELECT a.query FROM pg_stat_get_activity({b_pid}) a", MAY),
    ("locks of B's", "SELECT l.* FROM pg_locks l WHERE pid = {b_pid}", MAY),
    ("statements of a preloaded module", "CREATE EXTENSION pg_stat_statements", "42501", "0A000"),
)  # fmt: skip

SETTINGS = (
    *at("own", *(
        (f"SET {name}", f"SET {name} = {value}")
        for name, value in (
            ("log_statement", "'none'"), ("log_min_messages", "panic"), ("log_duration", "off"),
            ("log_min_duration_statement", "-1"), ("temp_file_limit", "-1"),
            ("session_replication_role", "replica"), ("session_preload_libraries", "'x'"),
            ("dynamic_library_path", "'{outbox}'"), ("lc_messages", "'C'"),
            ("deadlock_timeout", "'1h'"), ("track_activities", "off"), ("zero_damaged_pages", "on"),
            ("allow_system_table_mods", "on"), ("lo_compat_privileges", "on"),
            ("ignore_checksum_failure", "on"), ("max_stack_depth", "'7MB'"),
            ("update_process_title", "off"), ("allow_in_place_tablespaces", "on"),
            ("wal_compression", "on"), ("backtrace_functions", "'x'"),
        )
    )),
    *at(
        "own",
        ("SET local_preload_libraries", "SET local_preload_libraries = 'x'", MAY),
        ("ALTER SYSTEM", "ALTER SYSTEM SET work_mem = '64MB'"),
        ("ALTER SYSTEM RESET ALL", "ALTER SYSTEM RESET ALL"),
        ("set_config of a superuser's", "SELECT set_config('log_statement', 'all', false)"),
        ("UPDATE pg_settings", "UPDATE pg_settings SET setting = 'all' WHERE name ="
         " 'log_statement'"),
        ("function with a superuser's setting", "CREATE FUNCTION s() RETURNS int LANGUAGE sql"
         " SET log_statement = 'all' AS 'SELECT 1'"),
        ("function with role=B", "CREATE FUNCTION s() RETURNS name LANGUAGE sql SET role = {b}"
         " AS 'SELECT current_user'; SELECT s()", "42501", "22023"),
        ("grant a parameter", "GRANT SET ON PARAMETER log_statement TO {a}"),
        ("pg_reload_conf", "SELECT pg_reload_conf()"),
        ("pg_rotate_logfile", "SELECT pg_rotate_logfile()"),
        ("CHECKPOINT", "CHECKPOINT"),
        ("own statement_timeout for the session", "SET statement_timeout = 0", MAY),
        ("DISCARD ALL lifts nothing", "DISCARD ALL; SELECT 1 / (current_setting("
         "'temp_file_limit') = '1GB')::int", MAY, "25001"),
    ),
)  # fmt: skip

CODE = at(
    "own",
    ("LOAD", "LOAD 'pgoutput'"),
    ("C function", "CREATE FUNCTION c() RETURNS int LANGUAGE c AS '$libdir/pgoutput', 'x'"),
    ("internal function", "CREATE FUNCTION i(text) RETURNS text LANGUAGE internal AS"
     " 'pg_read_file_all'"),
    ("untrusted language", "CREATE LANGUAGE plpython3u", "42501", "0A000", "42704"),
    ("language of one's own", "CREATE LANGUAGE mine HANDLER plpgsql_call_handler"),
    ("event trigger", "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS"
     " 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()"),
    ("foreign data wrapper", "CREATE FOREIGN DATA WRAPPER mine"),
    ("access method", "CREATE ACCESS METHOD mine TYPE TABLE HANDLER heap_tableam_handler"),
    ("operator class", "CREATE OPERATOR CLASS mine FOR TYPE int4 USING btree AS"
     " OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4)"),
    ("base type", "CREATE TYPE mine; CREATE FUNCTION mine_in(cstring) RETURNS mine LANGUAGE"
     " internal AS 'textin'"),
    ("text search template", "CREATE TEXT SEARCH TEMPLATE mine (LEXIZE = dsimple_lexize)"),
    ("text search parser", "CREATE TEXT SEARCH PARSER mine (START = prsd_start, GETTOKEN ="
     " prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)"),
    ("leakproof function", "CREATE FUNCTION l() RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1'"),
    ("cast without function", "CREATE CAST (bytea AS text) WITHOUT FUNCTION"),
    ("replace a function of pg_catalog", "CREATE OR REPLACE FUNCTION pg_catalog.pg_sleep(float8)"
     " RETURNS void LANGUAGE sql AS 'SELECT 1'"),
    ("object in pg_catalog", "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS"
     " 'SELECT 1'"),
    ("object in information_schema", "CREATE TABLE information_schema.t (x int)"),
    ("rename pg_catalog", "ALTER SCHEMA pg_catalog RENAME TO was_catalog"),
    ("schema named pg_…", "CREATE SCHEMA pg_mine", "42939"),
    ("function of norn's by DO", "DO 'BEGIN SET LOCAL ROLE postgres; END'"),
    ("SECURITY DEFINER of one's own", "CREATE OR REPLACE FUNCTION own_definer() RETURNS name"
     " LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user'; SELECT own_definer()", MAY),
    ("pg_import_system_collations", "SELECT pg_import_system_collations('pg_catalog')"),
    *((f"extension {name}", f"CREATE EXTENSION {name}", "42501", "0A000", "58P01") for name in (
        "file_fdw", "dblink", "postgres_fdw", "plpython3u", "adminpack", "pageinspect",
        "pg_buffercache", "pg_walinspect", "pg_visibility", "pg_surgery", "pg_freespacemap",
        "amcheck", "sslinfo", "pg_prewarm", "vector")),
    ("server of postgres_fdw", "CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS"
     " (dbname {b_db_text})", "42501", "42704"),
    ("server of file_fdw", "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw", "42501", "42704"),
)  # fmt: skip

# Once a superuser has installed the extensions in the attacker's own database.
INSTALL = """
CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw;
CREATE EXTENSION pg_stat_statements;
CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
"""
INSTALLED = only("15", at(
    "own",
    ("dblink to B without a password", "SELECT * FROM dblink('host=127.0.0.1 port={port} dbname="
     "{b_db_raw} user={b_raw}', 'SELECT text FROM strongroom.vault') AS t(x text)",
     "2F003", "08001"),
    ("dblink to postgres as superuser", "SELECT dblink_connect('host=127.0.0.1 port={port}"
     " dbname=postgres user=postgres')", "2F003", "08001"),
    ("dblink by the local socket", "SELECT dblink_connect('dbname=postgres user=postgres')",
     "2F003", "08001"),
    ("dblink to B's database as oneself", "SELECT * FROM dblink('host=127.0.0.1 port={port} dbname="
     "{b_db_raw} user={a_raw} password={a_password_raw}', 'SELECT public.tell()') AS t(x text)",
     "08001"),
    ("drop own database by dblink", "SELECT dblink('host=127.0.0.1 port={port} dbname=postgres"
     " user={a_raw} password={a_password_raw}', 'DROP DATABASE {a_db}')", "08001"),
    ("dblink_connect_u", "SELECT dblink_connect_u('dbname={b_db_raw}')"),
    ("wrapper postgres_fdw", "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {a}"),
    ("user mapping for PUBLIC", "CREATE USER MAPPING FOR PUBLIC SERVER loopback OPTIONS"
     " (user 'postgres')"),
    ("foreign table over a superuser's server", "CREATE FOREIGN TABLE ft (x text) SERVER loopback"),
    ("file over file_fdw", "CREATE FOREIGN TABLE ff (x text) SERVER files OPTIONS"
     " (filename '/etc/passwd')"),
    ("others' statements", "SELECT string_agg(query, ' ') FROM pg_stat_statements", MAY),
    ("reset others' statements", "SELECT pg_stat_statements_reset()"),
))  # fmt: skip

REPLICATION = at(
    "own",
    ("publication for all tables", "CREATE PUBLICATION p FOR ALL TABLES"),
    ("publication of schemas", "CREATE PUBLICATION p FOR TABLES IN SCHEMA public"),
    ("subscription to B's publication", "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1"
     " port={port} dbname={b_db_raw} user={a_raw}' PUBLICATION outlet"),
    ("subscription without a connection", "CREATE SUBSCRIPTION s CONNECTION 'dbname=x'"
     " PUBLICATION outlet WITH (connect = false, slot_name = NONE)"),
    ("physical slot", "SELECT pg_create_physical_replication_slot('mine', true)"),
    ("logical slot", "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"),
    ("read B's slot", "SELECT * FROM pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL,"
     " 'proto_version', '1', 'publication_names', 'outlet')"),
    ("advance B's slot", "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"),
    ("copy B's slot", "SELECT pg_copy_logical_replication_slot('{slot}', 'copied')"),
    ("drop B's slot", "SELECT pg_drop_replication_slot('{slot}')"),
    ("replication origin", "SELECT pg_replication_origin_create('mine')"),
    ("restore point", "SELECT pg_create_restore_point('mine')"),
    ("backup", "SELECT pg_backup_start('mine', true)"),
    ("end a backup", "SELECT pg_backup_stop()"),
    ("switch WAL", "SELECT pg_switch_wal()"),
    ("promote", "SELECT pg_promote(false)"),
    ("pause replay", "SELECT pg_wal_replay_pause()"),
    ("logical message", "SELECT pg_logical_emit_message(true, 'mine', 'x')", MAY),
)  # fmt: skip

CATALOGS = at(
    "own",
    *((f"read {name}", f"SELECT * FROM {name}") for name in (
        "pg_authid", "pg_shadow", "pg_user_mapping", "pg_hba_file_rules", "pg_file_settings",
        "pg_ident_file_mappings", "pg_config", "pg_largeobject", "pg_statistic",
        "pg_subscription", "pg_backend_memory_contexts", "pg_shmem_allocations",
        "pg_replication_origin_status")),
    ("read pg_user_mappings", "SELECT * FROM pg_user_mappings WHERE umoptions IS NOT NULL", MAY),
    ("read pg_show_all_file_settings", "SELECT pg_show_all_file_settings()"),
    ("read pg_hba by function", "SELECT pg_hba_file_rules()"),
    *((f"write {name}", f"{what} {name} {how}") for what, name, how in (
        ("UPDATE", "pg_database", "SET datdba = {a_text}::regrole"),
        ("UPDATE", "pg_authid", "SET rolsuper = true"),
        ("UPDATE", "pg_auth_members", "SET admin_option = true"),
        ("UPDATE", "pg_tablespace", "SET spcowner = {a_text}::regrole"),
        ("UPDATE", "pg_class", "SET relowner = {a_text}::regrole"),
        ("UPDATE", "pg_language", "SET lanpltrusted = true"),
        ("DELETE FROM", "pg_db_role_setting", ""),
        ("DELETE FROM", "pg_shdepend", ""),
        ("TRUNCATE", "pg_shdescription", ""))),
    ("lock pg_database", "BEGIN; LOCK TABLE pg_database IN SHARE MODE"),
    ("lock pg_authid", "BEGIN; LOCK TABLE pg_authid IN ACCESS SHARE MODE"),
    ("lock rows of pg_database", "SELECT datname FROM pg_database FOR UPDATE"),
    ("alter pg_database", "ALTER TABLE pg_database ADD COLUMN mine int"),
    ("trigger on pg_database", "CREATE TRIGGER t AFTER UPDATE ON pg_database EXECUTE FUNCTION"
     " suppress_redundant_updates_trigger()"),
    ("index on pg_authid", "CREATE INDEX ON pg_authid (rolname)"),
    ("grant pg_authid", "GRANT SELECT ON pg_authid TO PUBLIC"),
    ("grant pg_read_file", "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {a}"),
    ("reindex pg_authid", "REINDEX TABLE pg_authid"),
    ("cluster pg_database", "CLUSTER pg_database USING pg_database_oid_index"),
    ("statistics reset", "SELECT pg_stat_reset()"),
    ("shared statistics reset", "SELECT pg_stat_reset_shared('wal')"),
    ("SLRU statistics reset", "SELECT pg_stat_reset_slru(NULL)"),
    ("B's table statistics reset", "SELECT pg_stat_reset_single_table_counters(1262)"),
    ("slot statistics reset", "SELECT pg_stat_reset_replication_slot(NULL)"),
    ("upgrade function", "SELECT binary_upgrade_set_next_pg_authid_oid(10)", "55000", "42501",
     "22023", "55P02"),
)  # fmt: skip

ATTEMPTS = (*FILES, *SESSIONS, *SETTINGS, *CODE, *REPLICATION, *CATALOGS)
