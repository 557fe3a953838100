"""What a hostile owner does, as values, and what norn is to make of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """statements: {h} and {h_db} are its own, {n} and {n_db} the neighbour's. first: what norn
    makes of it at its next look. inside: the same once norn has to log in to the database as the
    app and work there. Several outcomes with | where it is a race. hold: the session stays."""

    name: str
    statements: tuple[str, ...]
    first: str
    inside: str = "repaired"
    hold: bool = False


def _settings(*settings: str, of: str) -> tuple[str, ...]:
    return tuple(f"ALTER {of} SET {setting}" for setting in settings)


_ROLE, _DATABASE = "ROLE {h}", "DATABASE {h_db}"

ACTS = (
    Act("search_path on the database",
        ("ALTER DATABASE {h_db} SET search_path = evil, pg_catalog",), "repaired"),
    Act("search_path on its role", ("ALTER ROLE {h} SET search_path = evil, pg_catalog",),
        "harmless"),
    Act("another app's role on the database", ("ALTER DATABASE {h_db} SET role = {n}",),
        "repaired"),
    Act("norn's role on the database", ("ALTER DATABASE {h_db} SET role = norn_admin",),
        "repaired"),
    Act("another app's role on its role", ("ALTER ROLE {h} SET role = {n}",), "harmless"),
    Act("odd settings on its role", _settings(
        "role = 'none'", "statement_timeout = 1", "lock_timeout = 1",
        "idle_in_transaction_session_timeout = 1", "client_encoding = 'SJIS'",
        "standard_conforming_strings = off", "row_security = off", "exit_on_error = on",
        "default_transaction_isolation = serializable", "quote_all_identifiers = on",
        of=_ROLE), "harmless"),
    Act("odd settings on the database", _settings(
        "statement_timeout = 1", "default_transaction_read_only = on", "lock_timeout = 1",
        "client_encoding = 'SJIS'", "idle_session_timeout = 1", "exit_on_error = on",
        "local_preload_libraries = 'none_such'", of=_DATABASE), "repaired"),
    Act("its role can only read", _settings("default_transaction_read_only = on", of=_ROLE),
        "harmless", inside="repaired"),
    Act("idle sessions of its role end", _settings("idle_session_timeout = 1", of=_ROLE),
        "harmless|reported", inside="repaired|reported"),
    Act("its role can't log in for want of a library",
        _settings("local_preload_libraries = 'none_such'", of=_ROLE), "reported", "reported"),
    Act("its database opened in every way",
        ("ALTER DATABASE {h_db} IS_TEMPLATE true", "ALTER DATABASE {h_db} CONNECTION LIMIT 0",
         "GRANT ALL ON DATABASE {h_db} TO PUBLIC",
         "GRANT ALL ON DATABASE {h_db} TO {n}",
         "GRANT CONNECT ON DATABASE {h_db} TO norn, norn_admin"), "repaired"),
    Act("its own rights revoked", ("REVOKE ALL ON DATABASE {h_db} FROM {h}",), "repaired"),
    Act("schema public dropped", ("DROP SCHEMA public CASCADE",), "harmless"),
    Act("schema public opened and full of impostors",
        ("GRANT ALL ON SCHEMA public TO PUBLIC", "CREATE TABLE public.pg_class (x int)",
         "CREATE VIEW public.pg_roles AS SELECT 1 AS x", "CREATE TABLE public.pg_database (y int)",
         "CREATE FUNCTION public.version() RETURNS text LANGUAGE sql AS"
         " 'SELECT evil.note(''version''); SELECT ''x''::text'",
         "CREATE FUNCTION public.aclexplode(aclitem[]) RETURNS int LANGUAGE sql AS"
         " 'SELECT evil.note(''acl''); SELECT 1'"), "harmless"),
    Act("another password", ("ALTER ROLE {h} PASSWORD 'x'",), "reported"),
    Act("no password", ("ALTER ROLE {h} PASSWORD NULL",), "reported"),
    Act("all that it owns dropped", ("DROP OWNED BY {h}",), "harmless"),
    Act("a prepared transaction", ("BEGIN", "CREATE TABLE later (x int)",
        "PREPARE TRANSACTION 'of {h}'"), "harmless"),
    Act("its database's row locked", ("GRANT CONNECT ON DATABASE {h_db} TO PUBLIC", "BEGIN",
        "ALTER DATABASE {h_db} CONNECTION LIMIT 7"), "reported", "reported", hold=True),
    Act("its role's row locked", ("BEGIN", "ALTER ROLE {h} PASSWORD 'x'"), "harmless", "reported",
        hold=True),
    Act("the neighbour's role and database held", ("BEGIN", "GRANT CONNECT ON DATABASE {h_db} TO"
        " {n}", "ALTER ROLE {h} IN DATABASE {n_db} SET work_mem = '9MB'"), "harmless", hold=True),
)  # fmt: skip

# The server itself says no: statement and SQLSTATE.
REFUSED = (
    ("ALTER ROLE {h} VALID UNTIL '-infinity'", "42501"),
    ("ALTER ROLE {h} RENAME TO renamed", "0A000"),
    ("ALTER ROLE {h} NOLOGIN", "42501"),
    ("ALTER ROLE {h} CONNECTION LIMIT -1", "42501"),
    ("ALTER ROLE {h} SET temp_file_limit = -1", "42501"),
    ("COMMENT ON ROLE {h} IS 'norn: app other'", "42501"),
    ("GRANT {h} TO {n}", "42501"),
    ("REVOKE {h} FROM norn_admin", "42501"),
    ("DROP ROLE {h}", "42501"),
    ("DROP DATABASE {h_db}", "55006"),
    ("ALTER DATABASE {h_db} RENAME TO renamed", "42501 0A000"),
    ("ALTER DATABASE {h_db} OWNER TO {n}", "42501"),
    ("ALTER DATABASE {h_db} ALLOW_CONNECTIONS false", "22023"),
    # What norn takes for the leavings of a DROP, and clears away.
    ("ALTER DATABASE {h_db} CONNECTION LIMIT -2", "22023"),
    ("ALTER DATABASE {h_db} SET event_triggers = off", "42501 42704"),
    ("ALTER DATABASE {h_db} SET session_preload_libraries = 'x'", "42501"),
    ("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION evil.note()", "42501"),
    ("ALTER DATABASE {h_db} SET client_encoding = 'MULE_INTERNAL'", "0A000"),
)
