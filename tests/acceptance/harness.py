"""norn as a person meets it: a folder, a process, servers. Nothing in here knows norn's inside but
for norn_db's tables, which it reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests import catalogue

MAIL_AGENT = """\
app: {app}
role: webserver
port: 80
healthcheck: /health
services:
  postgres:
    database: {database}
  kv:
    namespace: {app}
  events:
    topics: [{app}-mail.inbound, {app}-mail.processed]
secrets: [DATABASE_URL, SMTP_API_KEY]
migrations:
  command: npm run db:migrate
  database: {database}
artifacts:
  retain: 5
alerts:
  window: 5m
  threshold: 3
"""


def spec(app: str, *, postgres: bool = True, kv: bool = True, events: bool = True) -> str:
    """A worker with one thing on each of the chosen services."""
    lines = [f"app: {app}", "role: worker"]
    if postgres or kv or events:
        lines.append("services:")
    if postgres:
        lines += ["  postgres:", f"    database: {database(app)}"]
    if kv:
        lines += ["  kv:", f"    namespace: {app}"]
    if events:
        lines += ["  events:", f"    topics: [{app}.in]"]
    return "\n".join(lines) + "\n"


def database(app: str) -> str:
    return app.replace("-", "_") + "_db"


def condition(row: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    """Of an app's row in norn_db; empty where there is none."""
    conditions = row["conditions"] if row else {}
    if isinstance(conditions, list):
        conditions = {c["type"]: c for c in conditions}
    found: dict[str, Any] = conditions.get(kind) or {}
    return found


def until(
    what: Callable[[], Any], seconds: float = 20.0, *, told: Callable[[], object] = lambda: ""
) -> Any:
    """The first true answer of `what`; AssertionError with `told()` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s\n{told()}")
        time.sleep(0.05)


@dataclass
class Daemon:
    """A running `norn run`; its log lines parsed."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": "?", "text": line})
        return found

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        return [
            line
            for line in self.lines()
            if line["event"] == name and all(line.get(k) == v for k, v in fields.items())
        ]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@dataclass
class Norn:
    """One working folder: specs/, .norn/, settings in the environment."""

    folder: Path
    settings: Mapping[str, str] = field(repr=False)  # a failing test would show its passwords
    norn_db: str = field(repr=False)
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def specs(self) -> Path:
        return self.folder / "specs"

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NORN_")}
        return {**inherited, **self.settings, "NORN_DATABASE_URL": self.norn_db, **more}

    def write(self, name: str, text: str) -> Path:
        """Drop a file as editors do: whole, by rename."""
        path = self.specs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        half = self.folder / f".{path.name}.half"
        half.write_text(text)
        half.rename(path)
        return path

    def run(self, *arguments: str, code: int | None = 0, **more: str) -> str:
        """One command's standard output; asserts its exit code."""
        done = self.ended(*arguments, **more)
        assert code is None or done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def ended(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """One command with all it said."""
        return subprocess.run(
            [sys.executable, "-m", "norn_reconciler", *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--output", "json", code=code))

    @contextmanager
    def daemon(self, **more: str) -> Iterator[Daemon]:
        """`norn run`, until the block ends."""
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "norn_reconciler", "run"],
                cwd=self.folder,
                env=self.environment(NORN_LOG_FORMAT="json", **more),
                stdout=out,
                stderr=out,
            )
        daemon = Daemon(process, log)
        self.daemons.append(daemon)
        try:
            until(
                lambda: (
                    daemon.events("lease.acquired")
                    or daemon.events("lease.waited")
                    or daemon.events("schema.waited")
                    or process.poll() is not None
                ),
                told=log.read_text,
            )
            yield daemon
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
        assert not daemon.events("lane.faulted"), daemon.log.read_text()
        assert not catalogue.faults(line for line in daemon.lines() if line["event"] != "?")

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.norn_db, row_factory=dict_row) as conn:
            return conn.execute(query, values or None).fetchall()

    def app(self, app: str) -> dict[str, Any] | None:
        try:
            found = self.rows("SELECT * FROM reconciler.apps WHERE app = %s", app)
        except psycopg.errors.UndefinedTable:  # a daemon that waits for norn_db has made none yet
            return None
        return found[0] if found else None

    def condition(self, app: str, kind: str) -> dict[str, Any]:
        return condition(self.app(app), kind)

    def is_ready(self, app: str, generation: int = 1) -> bool:
        row = self.app(app)
        return (
            row is not None
            and row["observed_generation"] >= generation
            and condition(row, "Ready").get("status") == "True"
        )

    def until_ready(self, *apps: str, seconds: float = 20.0, generation: int = 1) -> None:
        until(lambda: all(self.is_ready(a, generation) for a in apps), seconds, told=self.story)

    def events(self, name: str, app: str | None = None) -> list[dict[str, Any]]:
        rows = self.rows("SELECT * FROM reconciler.events WHERE event = %s ORDER BY id", name)
        return [r for r in rows if app is None or r["app"] == app]

    def env(self, app: str) -> dict[str, str]:
        """The delivered file, as systemd would read it (our values need no quotes)."""
        path = self.folder / ".norn" / "credentials" / f"{app}.env"
        return dict(line.split("=", 1) for line in path.read_text().splitlines())

    def story(self) -> str:
        """What a person would look at when a test fails."""
        apps = self.rows(
            "SELECT app, generation, observed_generation, conditions FROM reconciler.apps"
        )
        log = self.daemons[-1].log.read_text()[-6000:] if self.daemons else ""
        return f"{apps}\n{log}"
