"""6. A PostgreSQL role and its database, with data in it, from Conflict to Ready and out again:
on 18 a superuser's GRANT is asked for, on 15 none is. Each word says what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.acceptance.harness import Norn, until
from tests.servers import PostgresServer


@dataclass(frozen=True)
class Old:
    """What was there before norn: a role with more power than it needs, its database, a table."""

    server: PostgresServer
    app: str
    database: str
    password: str = "the old one"

    def as_superuser(self, statement: str, *names: str, database: str = "postgres") -> list[tuple]:
        url = urlunsplit(urlsplit(self.server.superuser_url)._replace(path=f"/{database}"))
        with psycopg.connect(url, autocommit=True) as conn:
            cursor = conn.execute(SQL(statement).format(*map(Identifier, names)))
            return cursor.fetchall() if cursor.description else []

    def rows(self, password: str) -> list[tuple]:
        """What the app reads when it logs in with `password`."""
        host, port = self.server.host, self.server.port
        with psycopg.connect(
            host=host, port=port, user=self.app, password=password, dbname=self.database
        ) as conn:
            return conn.execute("SELECT text FROM invoices").fetchall()

    @property
    def paid(self) -> list[tuple]:
        return self.as_superuser("SELECT text FROM invoices", database=self.database)


@pytest.fixture
def old(postgres: PostgresServer, name: Callable[[str], str]) -> Iterator[Old]:
    app = name("billing")
    found = Old(postgres, app, f"Billing-{app[-6:]}")
    found.as_superuser("CREATE ROLE {} LOGIN CREATEDB PASSWORD 'the old one'", app)
    found.as_superuser("CREATE DATABASE {} OWNER {}", found.database, app)
    found.as_superuser(
        "CREATE TABLE invoices AS SELECT 'paid' AS text; ALTER TABLE invoices OWNER TO {}",
        app,
        database=found.database,
    )
    yield found
    found.as_superuser("DROP DATABASE {} WITH (FORCE)", found.database)
    found.as_superuser("DROP ROLE {}", app)


@pytest.fixture
def norn(tmp_path: Path, old: Old, fresh_norn_db: str) -> Norn:
    (tmp_path / "specs").mkdir()
    made = Norn(tmp_path, {"NORN_POSTGRES_URL": old.server.admin_url}, fresh_norn_db)
    text = f"app: {old.app}\nrole: worker\nservices:\n  postgres:\n    database: {old.database}\n"
    made.write("billing.yaml", text)
    made.write("other.yaml", "app: other\nrole: worker\n")  # an empty folder would hold removals
    return made


def message(norn: Norn, old: Old) -> str:
    """What `norn status` says of it."""
    (found,) = norn.json("status", old.app)["apps"]
    (ready,) = (c for c in found["conditions"] if c["type"] == "Ready")
    return str(ready["message"])


def test_a_role_and_its_database_are_adopted_with_their_data(norn: Norn, old: Old) -> None:
    grant = f'GRANT "{old.app}" TO norn_admin WITH ADMIN TRUE, INHERIT TRUE, SET TRUE'
    asks = old.server.version != "15"
    with norn.daemon(NORN_GRACE_SECONDS="0.3") as daemon:
        until(lambda: f"norn adopt {old.app}" in message(norn, old), told=norn.story)
        # Shown before anything is agreed to; refused at the question, nothing is noted.
        shown = norn.run("adopt", old.app, code=1)
        assert f'REVOKE CONNECT ON DATABASE "{old.database}" FROM PUBLIC' in shown
        assert f'ALTER ROLE "{old.app}" NOCREATEDB' in shown
        assert f"norn rotate {old.app}" in shown
        assert (f"  do: as a superuser: {grant}\n" in shown) is asks
        assert norn.rows("SELECT 1 FROM reconciler.operations WHERE kind = 'adopt'") == []

        said = norn.run("adopt", old.app, "--yes").splitlines()[-1]
        assert (grant in said) is asks and said.endswith("when its clients can be restarted")
        if asks:
            until(lambda: grant in message(norn, old), told=norn.story)
            assert grant in norn.run("events", old.app, "--output", "json").replace('\\"', '"')
            assert grant in norn.run("plan", old.app, code=1)
            (printed,) = re.findall(r"do: as a superuser: (.*)", norn.run("plan", old.app, code=1))
            assert printed == grant
            old.as_superuser(printed)
        norn.run("reconcile", old.app, "--wait")

        assert norn.condition(old.app, "DatabaseReady")["reason"] == "PasswordKept"
        assert f"norn rotate {old.app}" in norn.condition(old.app, "DatabaseReady")["message"]
        assert old.rows(old.password) == [("paid",)], "its clients go on with what they have"
        assert not (norn.folder / ".norn" / "credentials" / f"{old.app}.env").exists()
        assert norn.json("plan", old.app)["changes"] == 0

        assert "proven and delivered" in norn.run("rotate", old.app)
        norn.until_ready(old.app)
        with psycopg.connect(norn.env(old.app)["DATABASE_URL"]) as conn:
            assert conn.execute("SELECT text FROM invoices").fetchall() == [("paid",)]
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            old.rows(old.password)
        assert norn.events("drift.detected", old.app) == [], "what a person asks for is no drift"
        assert {o["origin"] for o in norn.json("describe", old.app)["objects"]} == {"adopted"}
        assert "Nothing" in norn.run("adopt", old.app)

        (norn.specs / "billing.yaml").unlink()
        until(lambda: daemon.events("app.removed", app=old.app), told=norn.story)
    login = old.as_superuser(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{old.app}'")
    assert login == [(False,)], "its role is shut, not dropped"
    assert old.paid == [("paid",)], "its data is all there"


def test_a_superuser_is_asked_to_be_none_before_it_can_be_adopted(norn: Norn, old: Old) -> None:
    old.as_superuser("ALTER ROLE {} SUPERUSER", old.app)
    with norn.daemon():
        until(lambda: norn.condition(old.app, "DatabaseReady").get("reason") == "Conflict")
        shown = norn.run("adopt", old.app, "--yes")
        (printed,) = set(re.findall(r"do: as a superuser: (.*)", shown))
        assert printed.startswith(f'ALTER ROLE "{old.app}" NOSUPERUSER')
        until(lambda: printed in message(norn, old), told=norn.story)
        for statement in printed.split("; "):
            old.as_superuser(statement)
        norn.run("reconcile", old.app, "--wait")
        assert norn.condition(old.app, "DatabaseReady")["reason"] == "PasswordKept"
        assert old.rows(old.password) == [("paid",)]


def test_a_superusers_database_is_asked_for_with_what_is_inside(norn: Norn, old: Old) -> None:
    old.as_superuser("ALTER DATABASE {} OWNER TO postgres", old.database)
    with norn.daemon():
        until(lambda: norn.condition(old.app, "DatabaseReady").get("reason") == "Conflict")
        shown = norn.run("adopt", old.app, "--yes")
        owner = f'ALTER DATABASE "{old.database}" OWNER TO "{old.app}"'
        assert f"do: as a superuser: {owner}; then, in that database, ALTER … OWNER TO" in shown
        for statement in re.findall(r"do: as a superuser: ((?:GRANT|ALTER)[^;\n]*)", shown):
            old.as_superuser(statement)
        norn.run("reconcile", old.app, "--wait")
        assert norn.condition(old.app, "DatabaseReady")["reason"] == "PasswordKept"
        assert old.rows(old.password) == [("paid",)]
