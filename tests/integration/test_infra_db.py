"""`make db` on a server that others use too: the users and norn_db, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra import configuration
from infra.bootstrap import share
from infra.ports import free_port
from infra.postgres import Postgres
from infra.process import StackError
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import schema
from tests.servers import DEBIAN_15, ThrowAway

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["18", "15"])
def shared(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """An untouched server, as a distribution would install it."""
    if request.param == "15" and not DEBIAN_15.exists():
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql)")
    made = ThrowAway()
    binaries = DEBIAN_15 if request.param == "15" else None
    server = Postgres(made.stack.folder, "shared", free_port(), "superuser's", binaries)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        made.remove()


def url(server: Postgres) -> str:
    return server.url(password="superuser%27s")


def query(server: Postgres, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url(server), autocommit=True) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else []


def others(server: Postgres) -> list[tuple[Any, ...]]:
    """Everything cluster-wide that is not norn's."""
    return query(
        server,
        "SELECT 'd', datname::text, datacl::text FROM pg_database WHERE datname <> 'norn_db' "
        "UNION ALL SELECT 'r', rolname::text, rolsuper::text FROM pg_roles WHERE rolname !~ '^norn'"
        "UNION ALL SELECT 'p', parname, paracl::text FROM pg_parameter_acl "
        "UNION ALL SELECT 'm', roleid::text, member::regrole::text FROM pg_auth_members "
        "WHERE member::regrole::text !~ '^norn'"
        "UNION ALL SELECT 's', setrole::text, setconfig::text FROM pg_db_role_setting "
        "ORDER BY 1, 2",
    )


def run_db(server: Postgres, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NORN_")}
    environment |= {
        "NORN_POSTGRES_SUPERUSER_URL": url(server),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "infra", "db", *words],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_makes_its_users_and_norn_db_and_changes_nothing_else(
    shared: Postgres, tmp_path: Path
) -> None:
    before = others(shared)
    made = run_db(shared, tmp_path)
    assert made.returncode == 0, made.stderr
    assert others(shared) == before
    settings = configuration.read(tmp_path / "norn.toml")
    with psycopg.connect(settings["database_url"]) as conn:
        assert conn.execute("SELECT current_user::text").fetchone() == ("norn_keeper",)
    psycopg.connect(shared.url("norn", "norn", "norn_db")).close()
    with psycopg.connect(settings["postgres_url"]) as conn:
        assert conn.execute("SELECT current_user::text").fetchone() == ("norn_admin",)
    assert query(
        shared, "SELECT rolcreatedb, rolcreaterole, rolsuper FROM pg_roles WHERE rolname ~ '^norn'"
        " ORDER BY rolname",
    ) == [(False, False, False), (True, True, False), (False, False, False)]  # fmt: skip
    public = "SELECT has_database_privilege('pg_monitor', 'norn_db', 'CONNECT')"
    assert query(shared, public) == [(False,)]


def test_norn_whose_password_is_published_can_not_touch_norns_own_records(
    shared: Postgres, tmp_path: Path
) -> None:
    """Also where an earlier version had made them as norn. The tables that Norn's users know stay
    theirs to read and write."""
    run_db(shared, tmp_path)
    mine = shared.url("norn", "norn", "norn_db")
    schema.upgrade(Secret(mine))
    with psycopg.connect(mine, autocommit=True) as conn:
        conn.execute("INSERT INTO reconciler.meta (key_fingerprint) VALUES ('x')")
        conn.execute("ALTER DATABASE norn_db SET search_path = evil, pg_catalog")
        conn.execute("ALTER DATABASE norn_db SET role = norn")
    run_db(shared, tmp_path)
    keeper = Secret(configuration.read(tmp_path / "norn.toml")["database_url"])
    assert schema.current(keeper) == schema.HEAD
    with psycopg.connect(mine, autocommit=True) as conn:
        for table in ("inventory", "apps", "services", "operations", "lease", "meta"):
            for statement in ("SELECT * FROM reconciler.{}", "DELETE FROM reconciler.{}",
                              "DROP TABLE reconciler.{}"):  # fmt: skip
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement.format(table))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DROP SCHEMA reconciler CASCADE")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SET ROLE norn_keeper")
        conn.execute("INSERT INTO public.deployments (id, app) VALUES ('1', 'a')")
    query(shared, "DROP DATABASE norn_db")
    run_db(shared, tmp_path)
    schema.upgrade(keeper)
    with psycopg.connect(mine, autocommit=True) as conn:
        conn.execute("INSERT INTO public.deployments (id, app) VALUES ('1', 'a')")
        assert conn.execute("SELECT count(*) FROM health_checks").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("CREATE TRIGGER t BEFORE INSERT ON deployments FOR EACH ROW "
                         "EXECUTE FUNCTION suppress_redundant_updates_trigger()")  # fmt: skip


def test_a_second_run_keeps_the_password(shared: Postgres, tmp_path: Path) -> None:
    run_db(shared, tmp_path)
    before = (tmp_path / "norn.toml").read_bytes()
    verifiers = (
        "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname ~ '^norn' ORDER BY 1"
    )
    held = query(shared, verifiers)
    again = run_db(shared, tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "norn.toml").read_bytes() == before
    assert query(shared, verifiers) == held


def test_another_folder_does_not_take_the_admins_password_away(
    shared: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run_db(shared, tmp_path / "one")
    theirs = configuration.read(tmp_path / "one" / "norn.toml")["postgres_url"]
    refused = run_db(shared, tmp_path / "two")
    assert refused.returncode == 1
    assert "norn_admin exists" in refused.stderr
    assert not (tmp_path / "two" / "norn.toml").exists()
    psycopg.connect(theirs).close()
    renewed = run_db(shared, tmp_path / "two", "--renew")
    assert renewed.returncode == 0, renewed.stderr
    psycopg.connect(configuration.read(tmp_path / "two" / "norn.toml")["postgres_url"]).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(theirs)


def test_no_password_is_said_or_logged(shared: Postgres, tmp_path: Path) -> None:
    query(shared, "ALTER SYSTEM SET log_statement = 'all'")
    query(shared, "SELECT pg_reload_conf()")
    made = run_db(shared, tmp_path)
    settings = configuration.read(tmp_path / "norn.toml")
    password = settings["postgres_url"].split(":")[2].split("@")[0]
    log = shared.process.log.read_text()
    assert "CREATE ROLE" in log
    for text in (made.stdout, made.stderr, log):
        assert password not in text


def test_a_role_that_is_no_superuser_is_told_so(shared: Postgres) -> None:
    query(shared, "CREATE ROLE somebody LOGIN PASSWORD 'x'")
    with pytest.raises(StackError, match="somebody is no superuser"):
        share(shared.url("somebody", "x"), {}, renew=False)


def test_a_server_that_is_not_there_is_said_in_one_line_with_what_to_do() -> None:
    with pytest.raises(StackError, match=r"no PostgreSQL to work on.*\n.*SUPERUSER_URL"):
        share(f"postgresql://postgres:x@127.0.0.1:{free_port()}/postgres", {}, renew=False)
