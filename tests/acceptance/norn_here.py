"""norn's commands run inside this process: a property test runs hundreds, and a start of the
interpreter costs more than most of them."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import structlog
from typer.testing import CliRunner

from norn_reconciler import logs
from norn_reconciler.cli.app import app as command
from norn_reconciler.cli.app import load
from norn_reconciler.model.errors import NornError
from tests.acceptance.harness import Norn
from tests.servers import Servers
from tests.trail import keep_names, keep_output, keep_rows


@dataclass
class Here(Norn):
    """The same commands and output as of `Norn`. errors: standard error of the last one, which is
    where log lines go."""

    errors: str = field(default="", repr=False)

    def run(self, *arguments: str, code: int | None = 0, **more: str) -> str:
        load()
        with contextlib.chdir(self.folder), _own_logging():
            done = CliRunner().invoke(command, list(arguments), env=self._overrides(more))
        keep_output(self.norn_db, done.stdout, done.stderr)
        self.errors = done.stderr
        ended, fault = done.exit_code, done.exception
        if isinstance(fault, NornError):  # as main() shows it
            ended, self.errors = 1, f"{done.stderr}norn: {fault}\n"
        elif fault is not None and not isinstance(fault, SystemExit):
            raise fault
        assert code is None or ended == code, f"{arguments}: {ended}\n{done.stdout}\n{self.errors}"
        return str(done.stdout)

    def _overrides(self, more: Mapping[str, str]) -> dict[str, str | None]:
        """What differs from the environment of this process: None takes a variable away."""
        inherited: dict[str, str | None] = dict.fromkeys(k for k in os.environ if k[:5] == "NORN_")
        return {**inherited, **self.settings, "NORN_DATABASE_URL": self.norn_db, **more}


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """Who writes log lines, and where to, ends with a process, and here with the block: whatever
    else this process runs would go on writing to a stream that is closed."""
    to, configured = dict(logs._to), structlog.is_configured()
    rendering, root = structlog.get_config(), logging.getLogger()
    handlers, level, kafka = root.handlers[:], root.level, logging.getLogger("kafka").level
    logs._to.clear()
    logs._set_up.cache_clear()
    structlog.reset_defaults()
    try:
        yield
    finally:
        logs._to.clear()
        logs._to.update(to)
        logs._set_up.cache_clear()
        structlog.reset_defaults()
        if configured:
            structlog.configure(**rendering)
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("kafka").setLevel(kafka)


@contextlib.contextmanager
def folder_on(
    superuser: str, norn_db: str, folder: Path, settings: Mapping[str, str]
) -> Iterator[Here]:
    """A folder, and a norn_db of its own that is gone afterwards. norn_db: the URL of another
    database on that server, as the user who is to own the new one."""
    database = f"norn_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        # Shut until it is closed to PUBLIC: other tests' apps look for doors that stand open.
        conn.execute(
            f"CREATE DATABASE {database} OWNER norn TEMPLATE template0 ALLOW_CONNECTIONS false"
        )
        conn.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        conn.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    (folder / "specs").mkdir(parents=True)
    url = urlunsplit(urlsplit(norn_db)._replace(path=f"/{database}"))
    try:
        yield Here(folder, settings, url)
    finally:
        keep_rows(url)
        keep_names(url, folder)
        with psycopg.connect(superuser, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {database} WITH (FORCE)")


@contextlib.contextmanager
def working_folder(servers: Servers, folder: Path, **settings: str) -> Iterator[Here]:
    """`folder_on` the shared servers."""
    named = {
        "NORN_POSTGRES_URL": servers.postgres_admin_url,
        "NORN_VALKEY_URL": servers.valkey_url,
        "NORN_REDPANDA_BROKERS": servers.brokers,
        "NORN_REDPANDA_USERNAME": servers.kafka_username,
        "NORN_REDPANDA_PASSWORD": servers.kafka_password,
        **settings,
    }
    with folder_on(servers.postgres_superuser_url, servers.norn_db_url, folder, named) as norn:
        yield norn
