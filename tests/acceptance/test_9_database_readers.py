"""The owner of a database lets another app read it; nobody else can, and nobody writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import Services

Connection = psycopg.Connection[Any]
DENIED = psycopg.errors.InsufficientPrivilege


def owner(app: str, *readers: str, name: str = "") -> str:
    line = f"    readers: [{', '.join(readers)}]\n" if readers else ""
    return (
        f"app: {app}\nrole: worker\nservices:\n  postgres:\n"
        f"    database: {name or database(app)}\n{line}"
    )


def plain(app: str) -> str:
    return spec(app, kv=False, events=False)


def variable(app: str) -> str:
    return "DATABASE_READ_URL_" + database(app).upper()


@contextmanager
def session(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def members(services: Services, app: str) -> set[str]:
    found = services.sql(
        "SELECT m.rolname FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid"
        " JOIN pg_roles m ON m.oid = a.member"
        " WHERE g.rolname = %s AND m.rolname <> 'norn_admin'",
        f"{app}.readers",
    )
    return {row[0] for row in found}


def test_a_reader_reads_and_does_nothing_else(norn: Norn, services: Services, name) -> None:
    a, b, c = name("owner"), name("reader"), name("other")
    norn.write("a.yaml", owner(a, b))
    norn.write("b.yaml", plain(b))
    norn.write("c.yaml", plain(c))
    norn.run("apply")
    url = norn.env(b)[variable(a)]
    assert not [key for key in norn.env(c) if key.startswith("DATABASE_READ_URL")]
    assert variable(a) not in norn.env(a)
    with session(norn.env(a)["DATABASE_URL"]) as own, session(url) as read:
        own.execute("CREATE TABLE t AS SELECT 1 AS x; CREATE SCHEMA s; CREATE TABLE s.u (x int)")
        assert read.execute("SELECT x FROM t").fetchall() == [(1,)]
        assert read.execute("SELECT x FROM s.u").fetchall() == []
        for statement in (
            "INSERT INTO t VALUES (2)", "UPDATE t SET x = 2", "DELETE FROM t", "TRUNCATE t",
            "DROP TABLE t", "CREATE TABLE public.z (x int)", "CREATE TABLE s.z (x int)",
            "CREATE TEMP TABLE z (x int)", "CREATE SCHEMA z",
        ):  # fmt: skip
            with pytest.raises(DENIED):
                read.execute(statement)
    assert members(services, a) == {b}
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(norn.env(c)["DATABASE_URL"].replace(database(c), database(a)))
    assert norn.condition(b, "IsolationVerified")["status"] == "True"
    assert norn.condition(b, "DatabaseReady")["message"] == ""
    assert norn.condition(a, "DatabaseReady")["message"] == ""
    assert norn.run("plan", "--check")


def test_its_url_is_masked_unless_it_is_asked_for(norn: Norn, name) -> None:
    a, b = name("owner"), name("reader")
    norn.write("a.yaml", owner(a, b))
    norn.write("b.yaml", plain(b))
    norn.run("apply")
    shown, clear = norn.json("env", b), norn.json("env", b, "--reveal")
    assert clear[variable(a)] == norn.env(b)[variable(a)]
    assert shown[variable(a)].startswith(f"postgres://{b}:***@")


def test_the_owners_file_alone_decides_and_moves_the_reader(
    norn: Norn, services: Services, name
) -> None:
    a, b = name("owner"), name("reader")
    norn.write("b.yaml", plain(b))
    norn.write("a.yaml", owner(a))
    with norn.daemon(NORN_GRACE_SECONDS="0.2"):
        norn.until_ready(a, b)
        generation = (norn.app(b) or {})["generation"]
        norn.write("a.yaml", owner(a, b))
        until(lambda: members(services, a) == {b}, told=norn.story)
        until(lambda: variable(a) in norn.env(b), told=norn.story)
        assert (norn.app(b) or {})["generation"] == generation, "its own spec did not move"
        with session(norn.env(b)[variable(a)]) as inside:
            norn.write("a.yaml", owner(a))
            until(lambda: members(services, a) == set(), told=norn.story)
            until(lambda: variable(a) not in norn.env(b), told=norn.story)
            until(lambda: ended(inside), told=norn.story)
        assert norn.events("drift.detected") == []
        norn.write("a.yaml", owner(a, b))
        until(lambda: members(services, a) == {b}, told=norn.story)
        (norn.specs / "a.yaml").unlink()
        until(lambda: members(services, a) == set(), told=norn.story)
        assert norn.events("drift.detected") == []
        norn.write("a.yaml", owner(a, b))
        until(lambda: members(services, a) == {b}, told=norn.story)
        norn.until_ready(a, b)


def ended(conn: Connection) -> bool:
    try:
        conn.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_a_reader_is_shut_out_only_after_the_grace(norn: Norn, services: Services, name) -> None:
    a, b = name("owner"), name("reader")
    norn.write("b.yaml", plain(b))
    norn.write("a.yaml", owner(a, b))
    with norn.daemon(NORN_GRACE_SECONDS="600"):
        norn.until_ready(a, b)
        until(lambda: members(services, a) == {b}, told=norn.story)
        norn.write("a.yaml", owner(a))
        until(
            lambda: norn.condition(a, "DatabaseReady").get("reason") == "RemovalPending",
            told=norn.story,
        )
        assert members(services, a) == {b}
        norn.write("a.yaml", owner(a, b))
        norn.until_ready(a, generation=3)
        assert members(services, a) == {b}


@pytest.mark.parametrize("first", ["owner", "reader", "both"])
def test_whichever_file_comes_first_both_are_there_soon(
    norn: Norn, services: Services, name, first: str
) -> None:
    a, b = name("owner"), name("reader")
    texts = {"owner": owner(a, b), "reader": plain(b)}
    with norn.daemon():
        if first == "both":
            for file, text in texts.items():
                norn.write(f"{file}.yaml", text)
        else:
            norn.write(f"{first}.yaml", texts.pop(first))
            norn.until_ready(a if first == "owner" else b)
            ((file, text),) = texts.items()
            norn.write(f"{file}.yaml", text)
        until(lambda: members(services, a) == {b}, 5.0, told=norn.story)
        norn.until_ready(a, b, seconds=5.0)
        until(lambda: variable(a) in norn.env(b), 5.0, told=norn.story)
        for app in (a, b):
            until(
                lambda app=app: norn.condition(app, "DatabaseReady")["message"] == "",
                5.0,
                told=norn.story,
            )
        with session(norn.env(b)[variable(a)]) as read:
            assert read.execute("SELECT current_database()").fetchone() == (database(a),)


def test_drift_of_readers_is_repaired_and_recorded(norn: Norn, services: Services, name) -> None:
    a, b, c = name("owner"), name("reader"), name("other")
    for app, text in ((a, owner(a, b)), (b, plain(b)), (c, plain(c))):
        norn.write(f"{app}.yaml", text)
    norn.run("apply")
    group = f"{a}.readers"
    drifts = {
        f'REVOKE CONNECT ON DATABASE {database(a)} FROM "{group}"':
            f'GRANT CONNECT ON DATABASE {database(a)} TO "{group}"',
        f'SET ROLE norn_admin; REVOKE "{group}" FROM "{b}"': f'GRANT "{group}" TO "{b}"',
        f'SET ROLE norn_admin; GRANT "{group}" TO "{c}"': f'REVOKE "{group}" FROM "{c}"',
        f'GRANT TEMPORARY ON DATABASE {database(a)} TO "{group}"':
            f'REVOKE TEMPORARY ON DATABASE {database(a)} FROM "{group}"',
        f'ALTER ROLE "{group}" LOGIN': f'ALTER ROLE "{group}" NOLOGIN',
    }  # fmt: skip
    for done, mended in drifts.items():
        services.sql(done)
        norn.run("apply")
        assert mended in norn.events("drift.detected")[-1]["message"]
    assert len(norn.events("drift.detected")) == len(drifts)
    assert members(services, a) == {b}
    norn.run("plan", "--check")


def test_what_a_reader_takes_from_all_readers_is_given_back(norn: Norn, name) -> None:
    """A member may DROP OWNED BY its group, which takes the promise of tables to come away."""
    a, b, c = name("owner"), name("reader"), name("second")
    for app, text in ((a, owner(a, b, c)), (b, plain(b)), (c, plain(c))):
        norn.write(f"{app}.yaml", text)
    norn.run("apply")
    with session(norn.env(b)[variable(a)]) as read:
        read.execute(f'DROP OWNED BY "{a}.readers"')
    with session(norn.env(a)["DATABASE_URL"]) as own:
        own.execute("CREATE TABLE made_meanwhile (x int)")
        norn.run("apply")
        own.execute("CREATE TABLE made_after (x int)")
    with session(norn.env(c)[variable(a)]) as read:
        read.execute("SELECT FROM made_meanwhile, made_after")
    (event,) = norn.events("drift.detected")
    assert "0 of these three" in str(event["fields"])


def test_one_apps_fault_does_not_reach_the_other(norn: Norn, services: Services, name) -> None:
    a, b = name("owner"), name("reader")
    norn.write("a.yaml", owner(a, b))
    norn.write("b.yaml", plain(b))
    norn.run("apply")
    services.sql(f"DROP DATABASE {database(a)} WITH (FORCE)")
    norn.run("apply", code=1)
    assert norn.condition(a, "DatabaseReady")["reason"] == "DataMissing"
    assert norn.is_ready(b)
    assert norn.condition(b, "DatabaseReady")["reason"] == "ReadPending"

    x, y = name("second"), name("taken")
    services.sql(f'CREATE ROLE "{y}"')
    norn.write("x.yaml", owner(x, y))
    norn.write("y.yaml", plain(y))
    norn.run("apply", code=1)
    assert norn.condition(y, "DatabaseReady")["reason"] == "Conflict"
    assert norn.is_ready(x), norn.story()
    assert norn.condition(x, "DatabaseReady")["reason"] == "ReadersMissing"
    assert members(services, x) == set(), "a stranger's role is let in nowhere"


def test_a_reader_that_is_nobody_is_named(norn: Norn, name) -> None:
    a, topics = name("owner"), name("topics")
    norn.write("a.yaml", owner(a, "ghost", topics, a))
    norn.write("t.yaml", spec(topics, postgres=False, kv=False))
    found = norn.json("validate")
    assert [f["check"] for f in found] == ["spec.reader.unknown"] * 3
    assert "ghost" in str(found)
    norn.run("apply")
    assert norn.is_ready(a)


def test_a_name_too_long_for_a_group_is_a_finding(norn: Norn) -> None:
    norn.write("a.yaml", owner("a" * 56, "b", name="some_db"))
    (found,) = [f for f in norn.json("validate", code=1) if f["severity"] == "error"]
    assert found["check"] == "services.postgres.readers.length"
    assert "55" in found["message"]


def test_a_neighbour_that_shares_is_not_the_wall_that_is_tried(norn: Norn, name) -> None:
    """With the owner as the only neighbour, norn's own database stands in for its."""
    a, b = name("owner"), name("reader")
    norn.write("a.yaml", owner(a, b))
    norn.write("b.yaml", plain(b))
    with norn.daemon(NORN_VERIFY_SECONDS="1", NORN_RESYNC_SECONDS="1"):
        norn.until_ready(a, b)
        query = "SELECT count(*) FROM public.health_checks WHERE app = %s AND healthy"
        until(lambda: norn.rows(query, b)[0]["count"] >= 4, told=norn.story)
        assert norn.events("isolation.failed") == []


def test_an_owner_whose_readers_may_write_is_told(norn: Norn, name) -> None:
    """Inside its database only the owner can have granted it: its own isolation fails, by name."""
    a, b = name("owner"), name("reader")
    norn.write("a.yaml", owner(a, b))
    norn.write("b.yaml", plain(b))
    norn.run("apply")
    with session(norn.env(a)["DATABASE_URL"]) as own, norn.daemon():
        own.execute("CREATE TABLE open_to_all (x int); GRANT INSERT ON open_to_all TO PUBLIC")
        norn.run("reconcile", a)
        norn.run("reconcile", b)
        until(lambda: norn.events("isolation.failed", a), told=norn.story)
        assert "public.open_to_all" in norn.condition(a, "IsolationVerified")["message"]
        assert norn.is_ready(b)
        own.execute("REVOKE INSERT ON open_to_all FROM PUBLIC")
        norn.run("reconcile", a)
        norn.until_ready(a)
