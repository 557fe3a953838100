"""What a snapshot's name says of the specs, and how a client program is told to log in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import AppRecord, SpecRecord
from norn_reconciler.providers.postgres.source import environment
from norn_reconciler.snapshots.clients import bare
from norn_reconciler.snapshotting import commit_of

RECORD = AppRecord(AppName("mail"), SpecRecord("mail.yaml", "", 0, 0, '{"app": "mail"}'), 1)


def git(folder: Path, *words: str) -> str:
    config = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *config, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_the_checkouts_else_the_specs_own_hash(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    commit = commit_of(specs)
    assert commit(RECORD) == "7084f87"
    git(tmp_path, "init", "-q")
    assert commit(RECORD) == "7084f87", "nothing is committed yet"
    (specs / "mail.yaml").write_text("app: mail")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert commit(RECORD) == git(tmp_path, "rev-parse", "--short=7", "HEAD")
    assert commit_of(tmp_path / "gone")(RECORD) == "7084f87"


def test_a_client_gets_the_way_to_the_server_and_no_password() -> None:
    url = "postgres://mail:s3cret@one:5432,two:5433/mail_db?sslmode=verify-full"
    given = conninfo_to_dict(url, sslrootcert="/ca.pem")
    found = environment(given, "norn:here", 150000)
    assert "s3cret" not in repr(found)
    options = found["PGOPTIONS"]
    assert {k: v for k, v in found.items() if k != "PGOPTIONS"} == {
        "PGHOST": "one,two",
        "PGPORT": "5432,5433",
        "PGUSER": "mail",
        "PGDATABASE": "mail_db",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca.pem",
        "PGAPPNAME": "norn:here",
        "PGCONNECT_TIMEOUT": "30",
    }
    assert "-c search_path=pg_catalog" in options
    assert "transaction_timeout" not in options.replace("idle_in_transaction_session_timeout", "")
    assert "-c transaction_timeout=0" in environment(given, "n", 170000)["PGOPTIONS"]


def test_a_client_inherits_nothing_that_leads_elsewhere(monkeypatch) -> None:
    for variable in ("PGSERVICE", "PGOPTIONS", "PGPASSWORD", "NORN_POSTGRES_URL", "PATH"):
        monkeypatch.setenv(variable, "x")
    assert set(bare()) <= {"HOME", "LD_LIBRARY_PATH", "LC_ALL"}
