"""What the victim owns and does while it is attacked, and the words by which it is recognised."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Identifier, Literal

from norn_reconciler.model.app import AppName
from tests.integration.postgres_admin import database_of
from tests.integration.provider_contract import fresh_name
from tests.isolation.postgres_cluster import Cluster, Connection

KEY = 47110815  # of the victim's advisory lock

BELONGINGS = """
CREATE SCHEMA strongroom;
CREATE TABLE strongroom.vault (id int PRIMARY KEY, text text NOT NULL);
INSERT INTO strongroom.vault VALUES (1, {secret}), (2, 'second');
CREATE SEQUENCE strongroom.counter; SELECT nextval('strongroom.counter');
CREATE TABLE public.open_table AS SELECT {secret}::text AS text;
CREATE VIEW public.peephole AS SELECT text FROM strongroom.vault;
CREATE FUNCTION public.tell() RETURNS text LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog AS 'SELECT text FROM strongroom.vault WHERE id = 1';
CREATE FUNCTION public.recipe() RETURNS int LANGUAGE sql AS {recipe};
CREATE PUBLICATION outlet FOR TABLE strongroom.vault;
"""


@dataclass(frozen=True, slots=True)
class Words:
    """Found in what the attacker reads, they tell what it saw. secret: data, sources and query
    texts of the victim's. norn_query: in norn's own query texts. The others stand in catalogs that
    all databases share."""

    secret: str = field(default_factory=lambda: f"hush{uuid.uuid4().hex}")
    norn_query: str = field(default_factory=lambda: f"nornhush{uuid.uuid4().hex}")
    setting: str = field(default_factory=lambda: f"set{uuid.uuid4().hex}")
    comment: str = field(default_factory=lambda: f"noted{uuid.uuid4().hex}")
    session: str = field(default_factory=lambda: f"called{uuid.uuid4().hex}")
    transaction: str = field(default_factory=lambda: f"two{uuid.uuid4().hex}")
    slot: str = field(default_factory=lambda: f"slot{uuid.uuid4().hex}")


@dataclass(slots=True)
class Victim:
    """One app with everything in it, and its sessions, which live on for the whole sweep.

    worker: has a prepared statement, an advisory lock, and last ran a query with the secret in it.
    listener: hears channel `news`. dreamer: idle within a transaction, its snapshot exported.
    norn, records: sessions of norn's two users.
    """

    cluster: Cluster
    name: AppName
    words: Words
    worker: Connection
    listener: Connection
    dreamer: Connection
    norn: Connection | None
    records: Connection | None
    large_object: int
    snapshot: str

    @property
    def database(self) -> str:
        return database_of(self.name)

    def sessions(self) -> list[Connection]:
        kept = [self.worker, self.listener, self.dreamer, self.norn, self.records]
        return [conn for conn in kept if conn is not None]

    def pids(self) -> list[int]:
        return [conn.info.backend_pid for conn in self.sessions()]

    def works(self) -> list[str]:
        """What does not work as it should, in words; nothing when all is well. The worker's last
        query keeps the secret in its text."""
        wrong = []
        try:
            if self.worker.execute("EXECUTE kept").fetchall() != [(self.words.secret,)]:
                wrong.append("its prepared statement answers otherwise")
            self.worker.execute(SQL("SELECT {}").format(Literal(self.words.secret)))
            heard = [note.payload for note in self.listener.notifies(timeout=0)]
            if heard:
                wrong.append("its listener heard a stranger")
            self.dreamer.execute(SQL("SELECT {}").format(Literal(self.words.secret)))
        except Exception as fault:
            wrong.append(f"its sessions fail: {type(fault).__name__}")
        return wrong

    def hears_itself(self) -> bool:
        self.worker.execute("NOTIFY news, 'mine'")
        return [n.payload for n in self.listener.notifies(timeout=5, stop_after=1)] == ["mine"]


@contextmanager
def settled(cluster: Cluster, name: AppName) -> Iterator[Victim]:
    """A victim in a role and a database that are there already; its sessions end with the block."""
    words, database = Words(), database_of(name)
    with cluster.superuser(database) as conn:  # it would wait for open transactions
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [words.slot])
    with ExitStack() as sessions:

        def log_in() -> Connection:
            return sessions.enter_context(
                closing(cluster.app(name, database, application_name=words.session))
            )

        worker, listener, dreamer = log_in(), log_in(), log_in()
        large_object = _furnish(worker, words, name, database)
        worker.execute("PREPARE kept AS SELECT text FROM strongroom.vault WHERE id = 1")
        worker.execute("SELECT pg_advisory_lock(%s)", [KEY])
        listener.execute("LISTEN news")
        dreamer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        snapshot = _value(dreamer, "SELECT pg_export_snapshot()")
        norn = records = None
        if cluster.norn_password:
            norn = cluster.norn_admin(application_name="norn:isolation")
            records = cluster.connect("norn", "norn", "norn_db")
            for conn in (norn, records):
                sessions.enter_context(closing(conn))
                conn.execute(SQL("SELECT {}").format(Literal(words.norn_query)))
        victim = Victim(
            cluster, name, words, worker, listener, dreamer, norn, records, large_object, snapshot
        )
        assert victim.works() == []
        try:
            yield victim
        finally:  # else the next victim's slot would wait for it
            worker.execute(SQL("ROLLBACK PREPARED {}").format(Literal(words.transaction)))


def _furnish(conn: Connection, words: Words, name: str, database: str) -> int:
    """What it owns, and what it says of itself where all can read. Returns the large object."""
    secret, recipe = Literal(words.secret), Literal(f"SELECT 1 /* {words.secret} */")
    conn.execute(SQL(BELONGINGS).format(secret=secret, recipe=recipe))
    conn.execute(
        SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(words.comment))
    )
    conn.execute(
        SQL("ALTER ROLE {} SET search_path = public, {}").format(
            Identifier(name), Identifier(words.setting)
        )
    )
    conn.execute("BEGIN; INSERT INTO strongroom.vault VALUES (3, 'third')")
    conn.execute(SQL("PREPARE TRANSACTION {}").format(Literal(words.transaction)))
    return int(_value(conn, SQL("SELECT lo_from_bytea(0, {}::text::bytea)").format(secret)))


def _value(conn: Connection, query: Any) -> Any:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def attacker_and_victim(cluster: Cluster) -> tuple[AppName, AppName]:
    """Two apps that the product made."""
    attacker, victim = fresh_name("attacker"), fresh_name("victim")
    cluster.provision(attacker, victim)
    return attacker, victim
