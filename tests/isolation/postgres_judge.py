"""Whether an attempt did anything, judged by the superuser and not by the attempt's own answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.postgres_admin import database_of
from tests.isolation.postgres_cluster import Connection
from tests.isolation.postgres_victim import KEY, Victim

State = Mapping[str, Any]

# Of everything in the victim's database, and all of it there.
INSIDE = {
    "rows": "SELECT id, text FROM strongroom.vault ORDER BY 1",
    "open rows": "SELECT text FROM public.open_table",
    "sequence": "SELECT last_value, is_called FROM strongroom.counter",
    "large objects": "SELECT m.oid, m.lomowner, m.lomacl::text, md5(lo_get(m.oid))"
    " FROM pg_largeobject_metadata m ORDER BY 1",
    "schemas": "SELECT nspname, nspowner, nspacl::text FROM pg_namespace ORDER BY 1",
    "relations": "SELECT oid, relname, relowner, relacl::text, relkind FROM pg_class"
    " WHERE oid >= 16384 ORDER BY 1",
    "functions": "SELECT oid, proname, proowner, proacl::text, md5(prosrc), prosecdef FROM pg_proc"
    " WHERE oid >= 16384 ORDER BY 1",
    "languages": "SELECT lanname, lanpltrusted, lanacl::text FROM pg_language ORDER BY 1",
    "extensions": "SELECT extname, extowner, extversion FROM pg_extension ORDER BY 1",
    "triggers": "SELECT tgname FROM pg_trigger UNION ALL SELECT evtname FROM pg_event_trigger",
    "servers": "SELECT srvname FROM pg_foreign_server",
    "publications": "SELECT pubname, pubowner, puballtables FROM pg_publication",
    "default rights": "SELECT defaclrole, defaclacl::text FROM pg_default_acl ORDER BY 1",
    "advisory lock": f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {KEY}"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
}

# Of what all databases share. {a} and {a_db} are the attacker's, as literals: what it may change of
# its own is left out, the rest of its own is not.
SHARED = {
    "roles": "SELECT oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,"
    " rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil,"
    " CASE WHEN rolname <> {a} THEN rolpassword END FROM pg_authid ORDER BY 1",
    "memberships": "SELECT row(m.roleid, m.member, m.grantor, m.admin_option)"
    " FROM pg_auth_members m ORDER BY 1",
    "databases": "SELECT oid, datname, datdba, dattablespace, datallowconn,"
    " CASE WHEN datname <> {a_db} THEN row(datconnlimit, datistemplate,"
    " coalesce(datacl, acldefault('d', datdba))::text) END"
    " FROM pg_database ORDER BY 1",
    "settings": "SELECT s.setdatabase, s.setrole, c FROM pg_db_role_setting s,"
    " unnest(s.setconfig) c WHERE (s.setrole <> coalesce({a}::regrole, 0)"
    " AND s.setdatabase IS DISTINCT FROM (SELECT oid FROM pg_database WHERE datname = {a_db}))"
    " OR c LIKE 'temp_file_limit%' ORDER BY 1, 2, 3",
    "comments": "SELECT objoid, classoid, description FROM pg_shdescription WHERE objoid"
    " IS DISTINCT FROM (SELECT oid FROM pg_database WHERE datname = {a_db}) ORDER BY 1, 2",
    "labels": "SELECT * FROM pg_shseclabel",
    "tablespaces": "SELECT spcname, spcowner, spcacl::text, spcoptions FROM pg_tablespace",
    "parameters": "SELECT parname, paracl::text FROM pg_parameter_acl ORDER BY 1",
    "configuration": "SELECT name, setting FROM pg_settings WHERE name !~ '^(transaction_|in_hot)'",
    "file settings": "SELECT name, setting FROM pg_file_settings ORDER BY seqno",
    "reloads": "SELECT pg_conf_load_time(), pg_postmaster_start_time(), pg_is_in_recovery()",
    "slots": "SELECT slot_name, restart_lsn IS NULL, confirmed_flush_lsn FROM pg_replication_slots",
    "origins": "SELECT roname FROM pg_replication_origin",
    "subscriptions": "SELECT subname FROM pg_subscription",
    "statistics": "SELECT datname, stats_reset FROM pg_stat_database"
    " UNION ALL SELECT 'wal', stats_reset FROM pg_stat_wal"
    " UNION ALL SELECT 'archiver', stats_reset FROM pg_stat_archiver"
    " UNION ALL SELECT name, stats_reset FROM pg_stat_slru ORDER BY 1",
    "prepared": "SELECT gid, owner FROM pg_prepared_xacts WHERE owner <> {a} ORDER BY 1",
    "replication": "SELECT pid FROM pg_stat_replication",
}


@dataclass(slots=True)
class Judge:
    """eyes: the superuser's session within the victim's database. folder: the server's data.
    outbox: where attempts try to write files; the server's user could."""

    eyes: Connection
    attacker: str
    victim: Victim
    folder: Path
    outbox: Path

    def look(self) -> State:
        own = {"a": _literal(self.attacker), "a_db": _literal(database_of(self.attacker))}
        queries = INSIDE | {key: text.format(**own) for key, text in SHARED.items()}
        with self.eyes.pipeline():
            cursors = {key: self.eyes.execute(text) for key, text in queries.items()}
            seen: dict[str, Any] = {key: cursor.fetchall() for key, cursor in cursors.items()}
        alive = self.eyes.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s) ORDER BY 1", [self.victim.pids()]
        )
        seen["sessions"] = alive.fetchall()
        seen["files"] = sorted(_files(self.folder))
        seen["outbox"] = sorted(path.name for path in self.outbox.iterdir())
        return seen

    def changes(self, before: State, after: State) -> Iterator[str]:
        """What is otherwise now, or does not work any more; never a value of it."""
        for key in before:
            if before[key] != after[key]:
                yield f"changed {key}"
        for fault in self.victim.works():
            yield f"disturbed: {fault}"

    def launcher(self) -> int:
        row = self.eyes.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def seen(self, answer: str) -> Iterator[str]:
        if self.victim.words.secret in answer:
            yield "read the victim's secret"
        if self.victim.words.norn_query in answer:
            yield "read norn's query"


def _files(folder: Path) -> Iterator[str]:
    """Names that only the server's configuration, tablespaces, slots and databases account for."""
    for part in ("", "base", "pg_tblspc", "pg_replslot"):
        for path in (folder / part).iterdir():
            if path.name not in ("pgsql_tmp", "postmaster.opts"):
                yield f"{part}/{path.name}"
    for name in ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"):
        yield (folder / name).read_text()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
