"""Tries a table of attempts, one fresh session each, and has each judged."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import psycopg

from tests.integration.postgres_admin import database_of
from tests.integration.provider_contract import credential
from tests.isolation.postgres_attempts import MAY, Attempt
from tests.isolation.postgres_cluster import Cluster, Connection
from tests.isolation.postgres_judge import Judge
from tests.isolation.postgres_victim import KEY

# How a session of the attacker begins, beside its own role, password and database.
WAYS: Mapping[str, Mapping[str, str]] = {
    "own": {},
    "b": {"dbname": "{b_db_raw}"},
    "norn_db": {"dbname": "norn_db"},
    "postgres": {"dbname": "postgres"},
    "template1": {"dbname": "template1"},
    "template0": {"dbname": "template0"},
    "as b": {"user": "{b_raw}", "dbname": "{b_db_raw}"},
    "as b, none": {"user": "{b_raw}", "dbname": "{b_db_raw}", "password": ""},
    "as norn_admin": {"user": "norn_admin", "dbname": "postgres"},
    "as postgres": {"user": "postgres", "dbname": "postgres"},
    "replication": {"replication": "database"},
    "replication b": {"replication": "database", "dbname": "{b_db_raw}"},
    "physical": {"replication": "true"},
    "role=b": {"options": "-c role={b_raw}"},
    "authorization=b": {"options": "-c session_authorization={b_raw}"},
    "preload": {"options": "-c session_preload_libraries=pgoutput"},
    "mods": {"options": "-c allow_system_table_mods=on"},
    "temp": {"options": "-c temp_file_limit=-1"},
    "unlogged": {"options": "-c log_connections=off"},
}
FOREIGN = frozenset(WAYS) - {"own"}
_PATIENCE = "-c statement_timeout=5s -c lock_timeout=300ms"
# How the server refuses a login; libpq hands on no SQLSTATE.
_REFUSED = re.compile(
    "permission denied for database|password authentication failed|no password supplied|"
    "not currently accepting connections|permission denied to (start|set)|must be superuser|"
    "cannot be set|is not permitted to log in|permission denied to initiate|invalid value for"
)


@dataclass(slots=True)
class Tally:
    """leaks, broken: a line each. unexpected: allowed against expectation, or the other way."""

    tried: int = 0
    refused: int = 0
    allowed: list[str] = field(default_factory=list)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def line(self, version: str, rules: str) -> str:
        return (
            f"sweep postgres {version} {rules}: tried {self.tried} refused {self.refused} "
            f"allowed {len(self.allowed)} leaks {len(self.leaks)} broken {len(self.broken)}"
        )


@dataclass(slots=True)
class Sweep:
    cluster: Cluster
    judge: Judge
    tally: Tally = field(default_factory=Tally)

    def run(self, attempts: Iterable[Attempt], mend: Callable[[], None] | None = None) -> None:
        """Adds to the tally. mend: called after each attempt that changed something."""
        tally = self.tally
        before = self.judge.look()
        for attempt in attempts:
            if attempt.only not in ("", self.cluster.version):
                continue
            tally.tried += 1
            let_in, code, answer = self._try(attempt)
            after = self.judge.look()
            found = list(self.judge.seen(answer))
            if let_in and attempt.where in FOREIGN:
                found.append("was let in")
            changed = list(self.judge.changes(before, after))
            tally.leaks += [(attempt.title, what) for what in found + changed]
            self._count(tally, attempt, code)
            if changed and mend is not None:
                mend()
                after = self.judge.look()
            before = after

    @staticmethod
    def _count(tally: Tally, attempt: Attempt, code: str) -> None:
        if code == MAY:
            tally.allowed.append(attempt.title)
            if MAY not in attempt.answers:
                tally.unexpected.append(f"allowed: {attempt.title}")
        elif code in attempt.answers:
            tally.refused += 1
        else:
            tally.broken.append(f"{attempt.title}: {code}")
        if code != MAY and MAY in attempt.answers and len(attempt.answers) == 1:
            tally.unexpected.append(f"refused: {attempt.title}: {code}")

    def _try(self, attempt: Attempt) -> tuple[bool, str, str]:
        """Whether it was let in, the SQLSTATE, and all that it was shown, as one text."""
        words = self.words()
        try:
            conn = self.open(attempt.where, words)
        except psycopg.OperationalError as fault:
            refused = _REFUSED.search(str(fault))
            return False, "42501" if refused else str(fault)[:200], str(fault)
        with contextlib.closing(conn):
            notices: list[str] = []
            conn.add_notice_handler(lambda d: notices.append(d.message_primary or ""))
            try:
                answer = "".join(shown(conn, attempt.statement.format_map(words)))
            except psycopg.Error as fault:
                return True, fault.sqlstate or type(fault).__name__, str(fault)
            return True, MAY, answer + "".join(notices)

    def open(self, where: str, words: Mapping[str, str]) -> Connection:
        attacker = self.judge.attacker
        way = {key: text.format_map(words) for key, text in WAYS[where].items()}
        user, database = way.pop("user", attacker), way.pop("dbname", database_of(attacker))
        password = way.pop("password", credential(attacker).password.reveal())
        if "replication" not in way:
            way["options"] = f"{way.get('options', '')} {_PATIENCE}"
        return self.cluster.connect(user, password, database, **way)

    def words(self) -> dict[str, str]:
        """What stands for the names in braces: as identifiers, as literals (_text) and as they are
        (_raw)."""
        attacker, victim = self.judge.attacker, self.judge.victim
        names = {
            "a": attacker, "b": victim.name, "a_db": database_of(attacker),
            "b_db": victim.database, "a_password": credential(attacker).password.reveal(),
        }  # fmt: skip
        pids = [conn.info.backend_pid if conn else 0 for conn in (victim.norn, victim.records)]
        return {
            **{name: f'"{text}"' for name, text in names.items()},
            **{f"{name}_text": f"'{text}'" for name, text in names.items()},
            **{f"{name}_raw": text for name, text in names.items()},
            "a_password": f"'{names['a_password']}'",
            "norn": "norn_admin",
            "key": str(KEY),
            "b_pid": str(victim.worker.info.backend_pid),
            "norn_pid": str(pids[0]),
            "records_pid": str(pids[1]),
            "superuser_pid": str(self.judge.eyes.info.backend_pid),
            "launcher_pid": str(self.judge.launcher()),
            "loid": str(victim.large_object),
            "snapshot": victim.snapshot,
            "gid": f"'{victim.words.transaction}'",
            "slot": victim.words.slot,
            "outbox": str(self.judge.outbox),
            "port": str(self.cluster.postgres.port),
        }


def shown(conn: Connection, statement: str) -> Iterator[str]:
    """All rows of all results of what may be several statements."""
    cursor = conn.execute(statement)
    while True:
        if cursor.description:
            yield from (str(row) for row in cursor.fetchall())
        if not cursor.nextset():
            return
