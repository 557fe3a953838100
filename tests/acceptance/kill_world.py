"""A daemon with a few apps on the real servers, and what must be true whenever it has come back
from a violent end: of the app it was busy with, of the apps beside it, of all with our mark."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import valkey
from kafka.admin import KafkaAdminClient
from psycopg.rows import dict_row

from tests.acceptance.fleet_judge import Judge, Seen
from tests.acceptance.harness import Daemon, Norn, database, spec, until
from tests.acceptance.services import SASL, Services
from tests.acceptance.warm_norn import Warm

# Nothing comes by the clock: whatever is counted was caused by what happens to the one app.
QUICK = {
    "NORN_SETTLE_SECONDS": "0.02",
    "NORN_RESYNC_SECONDS": "3600",
    "NORN_LEASE_SECONDS": "2",
    "NORN_GRACE_SECONDS": "0.1",
    "NORN_REMOVAL_MAX_APPS": "1000",  # they are removed one by one, within minutes
}
_VERSIONS = """
SELECT '{table}' AS table, t.xmin::text AS version, to_jsonb(t) AS row
  FROM {table} AS t WHERE app = ANY (%s) ORDER BY to_jsonb(t)::text
"""
_TABLES = (
    "reconciler.apps",
    "reconciler.inventory",
    "reconciler.services",
    "reconciler.events",
    "public.deployments",
    "public.forge_states",
)


@dataclass
class World:
    """ways: settings of its daemons alone. apps: there, or once there; gone: of these, the removed
    ones. The first app is the one that a daemon is asked about, to learn whether it is at rest; it
    has no topics, since a broker lets such an inquiry wait."""

    norn: Warm = field(repr=False)  # knows passwords
    judge: Judge
    mark: str
    db: psycopg.Connection[dict[str, Any]]
    ways: Mapping[str, str] = field(repr=False)
    apps: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    daemon: Daemon | None = None
    _ids: dict[str, object] = field(default_factory=dict)  # of databases and topics, by app
    _env: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)

    def name(self, text: str) -> str:
        return f"{text}-{self.mark}"

    @property
    def order(self) -> Path:
        """The file by which a daemon learns where to die: see kill_at."""
        return self.norn.folder / "die.order"

    @property
    def live(self) -> set[str]:
        return set(self.apps) - self.gone

    # --- norn ---

    def add(self, *apps: str) -> None:
        self.apps += apps
        for app in apps:
            self.norn.write(f"{app}.yaml", spec(app, events=app != self.apps[0]))

    def remove(self, app: str) -> None:
        self.gone.add(app)
        (self.norn.specs / f"{app}.yaml").unlink()

    def up(self) -> None:
        """A daemon that will die on order."""
        self.order.unlink(missing_ok=True)
        self.daemon = self.norn.start(self.order, **self.ways)

    def at_rest(self) -> None:
        """A second plan is empty, and a daemon runs that has looked at everything, by its own word
        about the first app."""
        with ThreadPoolExecutor(1) as beside:
            plan = beside.submit(self.norn.run, "plan", "--check")
            if self.daemon is None:
                self.up()
            assert self.daemon is not None
            daemon = self.daemon
            until(lambda: daemon.events("lease.acquired"), told=self.norn.story)
            self.norn.run("reconcile", self.apps[0], "--wait")
            plan.result()

    def ask(self, query: str, *values: object) -> list[dict[str, Any]]:
        return self.db.execute(query, values or None).fetchall()

    def is_ready(self, app: str) -> bool:
        rows = self.ask(
            "SELECT conditions, generation = observed_generation AS seen, state"
            "  FROM reconciler.apps WHERE app = %s",
            app,
        )
        return bool(
            rows
            and rows[0]["seen"]
            and rows[0]["state"] == "active"
            and conditions(rows[0]).get("Ready", {}).get("status") == "True"
        )

    def beside(self, app: str) -> list[str]:
        """Every row about the apps that have nothing to do with `app`, with the version that shows
        whether it was written again."""
        others = [a for a in self.apps[1:] if a != app]
        return [
            str(row) for table in _TABLES for row in self.ask(_VERSIONS.format(table=table), others)
        ]

    # --- what must be true ---

    def facts(self, app: str) -> str:
        """All that the servers hold of one app, in words that are the same for each app."""
        return self._facts(self.judge.look(self.mark), app)

    def judged(self, app: str, reference: str) -> None:
        """The servers hold of `app` what `reference` says, norn_db says so too, and nothing else
        bears our mark."""
        seen = self.judge.look(self.mark)
        self._no_orphans(seen)
        self._recorded(app)
        same(self._facts(seen, app), reference)
        if app in self.gone:
            self._shut_out(app)
        else:
            self.delivered(app)
        same(self._saved(app), app not in self.gone)

    def _facts(self, seen: Seen, app: str) -> str:
        name = database(app)
        there = {k: v for k, v in seen.databases.get(name, {}).items() if k != "oid"}
        topics = {t: {**v, "id": ""} for t, v in seen.topics.items() if t == f"{app}.in"}
        acls = seen.acls.get(f"User:{app}")
        held = [seen.roles.get(app), there, self._schema(name), seen.users.get(app), topics]
        text = json.dumps([*held, acls and sorted(acls), seen.scram.get(app)])
        text = re.sub(r"#[0-9a-f]{64}", "#HASH", text)
        return text.replace(name, "DATABASE").replace(app, "APP")

    def _schema(self, name: str) -> str:
        """Who may do what in its schema public."""
        parts = urlsplit(self.judge.services.postgres_url)._replace(path=f"/{name}")
        with psycopg.connect(urlunsplit(parts)) as conn:
            query = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'"
            row = conn.execute(query).fetchone()
        return str(row[0]) if row else ""

    def _no_orphans(self, seen: Seen) -> None:
        apps, live, first = set(self.apps), self.live, {self.apps[0]}
        same(set(seen.roles), apps)
        same(set(seen.databases), {database(a) for a in apps})
        same(set(seen.users), live)
        same(set(seen.topics), {f"{a}.in" for a in apps - first})
        same(set(seen.acls), {f"User:{a}" for a in live - first})
        same(set(seen.scram), live - first)
        files = {p.name for p in (self.norn.folder / ".norn" / "credentials").iterdir()}
        same(files, {f"{a}.env" for a in live})
        for app in apps - first:  # what holds data is still the very same
            ids = seen.databases[database(app)]["oid"], seen.topics[f"{app}.in"]["id"]
            same(ids, self._ids.setdefault(app, ids))

    def _saved(self, app: str) -> bool:
        """Whether Valkey would know the app's user after a restart."""
        path = Path(self.judge.services.valkey.config_get("aclfile")["aclfile"])
        return any(line.startswith(f"user {app} ") for line in path.read_text().splitlines())

    def delivered(self, app: str) -> None:
        """Use every delivered value, as the app would."""
        env = self._env[app] = self.norn.env(app)
        with psycopg.connect(env["DATABASE_URL"]) as conn:
            row = conn.execute("SELECT current_user::text, current_database()::text").fetchone()
            same(row, (app, database(app)))
        with valkey.Valkey.from_url(env["VALKEY_URL"]) as client:
            assert client.set(f"{env['KV_NAMESPACE']}:precious", "1")
        kafka = KafkaAdminClient(
            bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
            **SASL,
            sasl_plain_username=env["KAFKA_SASL_USERNAME"],
            sasl_plain_password=env["KAFKA_SASL_PASSWORD"],
        )
        try:
            same(set(kafka.list_topics()), {f"{app}.in"})
        finally:
            kafka.close()

    def _shut_out(self, app: str) -> None:
        """What it was given opens nothing any more, and its keys are there. (Kafka: neither SCRAM
        user nor ACLs, which the reference says.)"""
        env = self._env[app]
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(env["DATABASE_URL"])
        with (
            valkey.Valkey.from_url(env["VALKEY_URL"]) as client,
            pytest.raises(valkey.exceptions.AuthenticationError),
        ):
            client.ping()
        same(self.judge.services.valkey.get(f"{app}:precious"), "1")

    def _recorded(self, app: str) -> None:
        """norn_db's word on it."""
        removed = app in self.gone
        (row,) = self.ask("SELECT * FROM reconciler.apps WHERE app = %s", app)
        same(row["state"], "removed" if removed else "active")
        assert "Conflict" not in json.dumps(row["conditions"]), row["conditions"]
        held = self.ask("SELECT * FROM reconciler.inventory WHERE app = %s", app)
        states = {r["state"] for r in held}
        same(states, {"retained"} if removed else {"owned"})
        told = self.ask("SELECT event, message FROM reconciler.events WHERE app = %s", app)
        wrong = [e for e in told if e["event"] == "data.missing" or "Conflict" in e["message"]]
        same(wrong, [])
        same(self.ask("SELECT * FROM reconciler.operations WHERE state <> 'done'"), [])
        rollouts = self.ask("SELECT status FROM public.deployments WHERE app = %s", app)
        same({r["status"] for r in rollouts} - {"deployed", "failed"}, set())


def same(found: object, wanted: object) -> None:
    """pytest explains assertions of test modules only."""
    if found == wanted:
        return
    if isinstance(found, list | set) and isinstance(wanted, list | set):
        found, wanted = (
            [one for one in a if one not in b] for a, b in ((found, wanted), (wanted, found))
        )
    raise AssertionError(f"\nfound  {found}\nwanted {wanted}")


def conditions(row: dict[str, Any]) -> dict[str, Any]:
    found = row["conditions"]
    return {c["type"]: c for c in found} if isinstance(found, list) else dict(found)


@contextmanager
def opened(
    norn: Norn, services: Services, *beside: str, ways: Mapping[str, str] | None = None
) -> Iterator[World]:
    """A world with its first app and those `beside` it converged, and a daemon at rest; all of it
    is gone at the end.
    ways: settings of its daemons alone, by which they reach the servers."""
    mark = uuid.uuid4().hex[:8]
    told = {
        "NORN_POSTGRES_ADVERTISED": "NORN_POSTGRES_URL",
        "NORN_VALKEY_ADVERTISED": "NORN_VALKEY_URL",
    }
    direct = {a: urlsplit(norn.settings[b]).netloc.rpartition("@")[2] for a, b in told.items()}
    warm = Warm(norn.folder, {**norn.settings, **QUICK, **(direct if ways else {})}, norn.norn_db)
    judge = Judge(services)
    try:
        warm.run("db", "upgrade")
        with psycopg.connect(norn.norn_db, autocommit=True, row_factory=dict_row) as db:
            world = World(warm, judge, mark, db, ways or {})
            try:
                world.add(world.name("asked"), *(world.name(app) for app in beside))
                world.up()
                until(lambda: all(map(world.is_ready, world.apps)), 60, told=warm.story)
                world.at_rest()
                yield world
            finally:
                if world.daemon is not None:
                    world.daemon.kill()
    finally:
        judge.clean_up(mark)
