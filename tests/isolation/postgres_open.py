"""What PostgreSQL shows to everybody: every relation and function that an app may read is read, and
searched for what belongs to another app."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from tests.isolation.postgres_cluster import Connection
from tests.isolation.postgres_victim import KEY, Victim

_RELATIONS = """
SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attnum)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND has_schema_privilege(n.oid, 'USAGE')
   AND has_column_privilege(c.oid, a.attnum, 'SELECT')
   AND c.relname <> 'pg_timezone_names' -- reads a thousand files
 GROUP BY 1, 2 ORDER BY 1, 2
"""
# Those with no argument, and those with one of a kind that names something of others. An immutable
# one knows nothing but its argument.
_FUNCTIONS = """
SELECT p.oid::regprocedure::text, p.proname, coalesce(p.proargtypes[0]::regtype::text, '')
  FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provolatile <> 'i'
   AND has_function_privilege(p.oid, 'EXECUTE') AND p.proname <> 'pg_timezone_names'
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
   AND (p.pronargs = 0 OR p.pronargs = 1 AND p.proargtypes[0]::regtype::text = ANY(%s))
 ORDER BY 1
"""
_BACKENDS = 40  # numbers that pg_stat_get_backend_… takes


def words_of(victim: Victim) -> dict[str, str]:
    """By what they are called in KNOWN_OPEN."""
    return asdict(victim.words) | {
        "role": victim.name,
        "database": victim.database,
        "advisory lock": str(KEY),
    }


def relations_that_show(
    conn: Connection, words: Mapping[str, str], only: Collection[str] = ()
) -> dict[str, set[str]]:
    """By word, the relations in which it was found: in all that may be read, or in `only` some."""
    found = defaultdict(set)
    for schema, relation, columns in conn.execute(_RELATIONS).fetchall():
        if only and relation not in only:
            continue
        query = SQL("SELECT row({})::text FROM {}").format(
            SQL(", ").join(map(Identifier, columns)), Identifier(schema, relation)
        )
        text = "\n".join(row[0] for row in conn.execute(query))
        for word, letters in words.items():
            if letters in text:
                found[word].add(relation)
    return dict(found)


def functions_that_show(
    conn: Connection, arguments: Mapping[str, tuple[object, ...]], words: Mapping[str, str]
) -> dict[str, set[str]]:
    """By word, the functions whose answer had it. arguments: by type, the values to try."""
    found = defaultdict(set)
    functions = conn.execute(_FUNCTIONS, [list(arguments)]).fetchall()
    assert len(functions) > 200  # else the query above misses them
    for signature, name, kind in functions:
        for argument in arguments[kind] if kind else ("",):
            given = SQL("{}::" + kind).format(Literal(argument)) if kind else SQL("")
            text = "\n".join(_answers(conn, name, given))
            for word, letters in words.items():
                if letters in text:
                    found[word].add(signature)
    return dict(found)


def _answers(conn: Connection, name: str, given: object) -> Iterator[str]:
    query = SQL("SELECT f::text FROM pg_catalog.{}({}) AS f").format(Identifier(name), given)
    try:
        rows = conn.execute(query).fetchall()
    except psycopg.Error as fault:
        yield str(fault)
    else:
        yield from (str(row[0]) for row in rows)


def arguments_of(victim: Victim, eyes: Connection) -> dict[str, tuple[object, ...]]:
    """What a function could be asked about the victim. eyes: the superuser, in its database."""
    row = eyes.execute(
        "SELECT d.oid, d.datdba, 'strongroom.vault'::regclass::oid FROM pg_database d"
        " WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    numbers = (*victim.pids(), *range(1, _BACKENDS))
    names = (victim.words.slot, victim.database, victim.name)
    return {
        "oid": (*row, victim.large_object),
        "integer": numbers,
        "bigint": (KEY, *victim.pids()),
        "name": names,
        "text": names,
    }


# What the server shows of every app to every app, and no right can close.
KNOWN_OPEN: Mapping[str, frozenset[str]] = {
    # Names, and whose they are.
    "role": frozenset({
        "pg_database", "pg_prepared_xacts", "pg_replication_slots", "pg_roles",
        "pg_shdescription", "pg_stat_activity", "pg_stat_database", "pg_stat_database_conflicts",
        "pg_user",
    }),
    "database": frozenset({
        "pg_database", "pg_prepared_xacts", "pg_replication_slots", "pg_stat_activity",
        "pg_stat_database", "pg_stat_database_conflicts",
    }),
    # That sessions exist, and what they call themselves.
    "session": frozenset({"pg_stat_activity", "pg_stat_get_activity(integer)"}),
    # What ALTER ROLE SET and ALTER DATABASE SET leave: no place for a secret.
    "setting": frozenset({"pg_db_role_setting", "pg_roles", "pg_user"}),
    "comment": frozenset({"pg_shdescription"}),  # on a database
    "transaction": frozenset({"pg_prepared_xacts", "pg_prepared_xact()"}),  # a prepared one's name
    "advisory lock": frozenset({"pg_locks"}),  # its number
    "slot": frozenset({"pg_replication_slots", "pg_stat_replication_slots"}),
}  # fmt: skip
# The names are given to functions as arguments, and come back from many.
NAMES = ("role", "database", "slot", "advisory lock")
