"""One app against another on a server that norn set up, by every means the manual names; and the
same on a server set up as people usually do, where it must find something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from tests.integration.postgres_admin import database_of
from tests.integration.provider_contract import credential, fresh_name
from tests.isolation import postgres_attempts, postgres_attempts_server
from tests.isolation.postgres_cluster import VERSIONS, Cluster, Connection, running
from tests.isolation.postgres_judge import Judge
from tests.isolation.postgres_open import (
    KNOWN_OPEN,
    NAMES,
    arguments_of,
    functions_that_show,
    relations_that_show,
    words_of,
)
from tests.isolation.postgres_sweep import Sweep, Tally
from tests.isolation.postgres_victim import Victim, attacker_and_victim, settled

# What default grants leave open, by the titles of the attempts that find it.
NAIVE_HOLES = frozenset({
    "connect to B's database", "read B's function source", "call B's function",
    "temporary table in B's database", "notify B's channel", "connect to norn_db",
    "connect to postgres", "temporary table in postgres", "close own database from postgres",
    "drop own database from postgres", "connect to template1", "drop own database from template1",
})  # fmt: skip
ATTEMPTS = (*postgres_attempts_server.ATTEMPTS, *postgres_attempts.ATTEMPTS)


@contextmanager
def judged(cluster: Cluster, attacker: str, victim: Victim) -> Iterator[Judge]:
    outbox = cluster.postgres.home / f"outbox-{attacker}"
    outbox.mkdir()
    outbox.chmod(0o777)  # the server's user could write here
    with closing(cluster.superuser(victim.database)) as eyes:
        yield Judge(eyes, attacker, victim, cluster.postgres.data, outbox)


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as made:
        yield made


@pytest.fixture(params=VERSIONS)
def naive(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """As initdb leaves it, and norn's two users made without a thought for others."""
    with running(request.param, norn=False) as made:
        ready = replace(made, norn_password="naive")
        with made.superuser() as conn:
            conn.execute("CREATE ROLE norn_admin LOGIN CREATEDB CREATEROLE PASSWORD 'naive'")
            conn.execute("CREATE ROLE norn LOGIN PASSWORD 'norn'")
            conn.execute("CREATE DATABASE norn_db OWNER norn")
        yield ready


def told(tally: Tally, version: str, rules: str, record: Callable[[str, object], None]) -> None:
    line = tally.line(version, rules)
    print(line)
    record("sweep", line)


def test_nothing_of_others_is_read_changed_or_disturbed(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    attacker, name = attacker_and_victim(cluster)
    with (
        settled(cluster, name) as victim,
        judged(cluster, attacker, victim) as judge,
    ):
        sweep = Sweep(cluster, judge)
        sweep.run(ATTEMPTS)
        if cluster.version == "15":  # the wheel of 18 brings no such modules
            # By now the attacker has put a role on its database that whoever connects would take.
            with cluster.superuser(database_of(attacker), options="-c role=none") as conn:
                conn.execute(postgres_attempts_server.INSTALL)
            sweep.run(postgres_attempts_server.INSTALLED)
        assert victim.hears_itself()
    tally = sweep.tally
    told(tally, cluster.version, "own rules", record_property)
    assert tally.leaks == []
    assert tally.broken == []
    assert tally.unexpected == []
    assert len({attempt.title for attempt in ATTEMPTS}) == len(ATTEMPTS)
    assert tally.tried > 350


def test_every_role_that_the_server_brings_is_tried(cluster: Cluster) -> None:
    """A version to come may bring more powers than the sweep knows of."""
    with cluster.superuser() as conn:
        roles = conn.execute(r"SELECT rolname FROM pg_roles WHERE rolname ~ '^pg_'").fetchall()
    tried = {
        word
        for attempt in ATTEMPTS
        if attempt.only in ("", cluster.version)
        for word in attempt.statement.split()
    }
    assert len(roles) > 10
    assert {name for (name,) in roles} - tried == set()


def test_the_same_attempts_find_the_holes_of_a_naive_server(
    naive: Cluster, record_property: Callable[[str, object], None]
) -> None:
    attacker, name = fresh_name("attacker"), fresh_name("victim")
    with naive.superuser() as conn:
        for app in (attacker, name):
            make_naively(conn, app)
    with (
        settled(naive, name) as victim,
        judged(naive, attacker, victim) as judge,
    ):
        sweep = Sweep(naive, judge)
        sweep.run(ATTEMPTS, mend=lambda: give_back(naive, attacker))
    told(sweep.tally, naive.version, "naive", record_property)
    found = {title for title, _ in sweep.tally.leaks}
    assert found >= NAIVE_HOLES, NAIVE_HOLES - found
    assert len(sweep.tally.leaks) >= 15


def test_what_everybody_sees_is_exactly_what_is_known_to_be_open(cluster: Cluster) -> None:
    attacker, name = attacker_and_victim(cluster)
    with (
        settled(cluster, name) as victim,
        closing(cluster.app(attacker, database_of(attacker))) as conn,
        closing(cluster.superuser(victim.database)) as eyes,
    ):
        words = words_of(victim)
        found = relations_that_show(conn, words)
        unnamed = {word: text for word, text in words.items() if word not in NAMES}
        by_function = functions_that_show(conn, arguments_of(victim, eyes), unnamed)
        assert victim.works() == []
        seen = {word: found.get(word, set()) | by_function.get(word, set()) for word in words}
        assert {word: places for word, places in seen.items() if places} == KNOWN_OPEN
        # The search itself sees: in the same way the superuser finds what the attacker must not.
        hidden = {"vault", "pg_proc", "pg_stat_activity"}
        assert relations_that_show(eyes, words, only=hidden)["secret"] == hidden


def test_an_app_lifts_its_own_statement_timeout(cluster: Cluster) -> None:
    """Known to be open, too: such a setting is a default, no bound."""
    attacker, _ = attacker_and_victim(cluster)
    with closing(cluster.norn_admin()) as norn:
        norn.execute(SQL("ALTER ROLE {} SET statement_timeout = '1s'").format(Identifier(attacker)))
    with closing(cluster.app(attacker, database_of(attacker))) as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("1s",)
        conn.execute("SET statement_timeout = 0; SELECT pg_sleep(0)")
        conn.execute("ALTER ROLE CURRENT_USER SET statement_timeout = 0")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SET temp_file_limit = -1")
    with closing(cluster.app(attacker, database_of(attacker))) as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("0",)


async def test_the_published_password_of_the_records_opens_norn_db_and_doctor_says_so(
    cluster: Cluster,
) -> None:
    """Open until somebody changes it: an app reaches the server by definition."""
    with closing(cluster.connect("norn", "norn", "norn_db")) as conn:
        assert conn.execute("SELECT has_schema_privilege('public', 'CREATE')").fetchone() == (True,)
    provider = cluster.provider()
    health = await provider.diagnose()
    await provider.close()
    assert "PublishedPassword" in {finding.reason for finding in health.findings}


def make_naively(conn: Connection, app: str) -> None:
    names = {"role": Identifier(app), "database": Identifier(database_of(app))}
    password = Literal(credential(app).password.reveal())
    conn.execute(SQL("CREATE ROLE {role} LOGIN PASSWORD {p}").format(**names, p=password))
    conn.execute(SQL("CREATE DATABASE {database} OWNER {role}").format(**names))


def give_back(cluster: Cluster, app: str) -> None:
    """The attacker's own database, where it dropped or closed it."""
    database, role = Identifier(database_of(app)), Identifier(app)
    with cluster.superuser() as conn:
        row = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database_of(app)])
        if row.fetchone() is None:
            conn.execute(SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        conn.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))
