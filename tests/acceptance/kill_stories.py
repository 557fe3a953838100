"""What happens to an app while a daemon runs, for Killer: see killer.Story."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from tests.acceptance.kill_world import World

SESSION_LIVES = "a session that gained rights lives on"
DRIFT_LOST = "drift that is not on record"


class Creation:
    """Each time another app: only a new one is made."""

    title = "creation"

    def next(self, world: World) -> str:
        return world.name(f"new{len(world.apps)}")

    def happen(self, world: World, app: str) -> None:
        world.add(app)

    def done(self, world: World, app: str) -> bool:
        return world.is_ready(app)

    def remark(self, world: World, app: str) -> str:
        return _remarks(world, app, "forged")


class Removal:
    """Each time another one of the apps that are there."""

    title = "removal"

    def next(self, world: World) -> str:
        return next(a for a in world.apps if a.startswith("goes") and a not in world.gone)

    def happen(self, world: World, app: str) -> None:
        world.remove(app)

    def done(self, world: World, app: str) -> bool:
        rows = world.ask("SELECT state FROM reconciler.apps WHERE app = %s", app)
        return bool(rows[0]["state"] == "removed")

    def remark(self, world: World, app: str) -> str:
        return _remarks(world, app, "unforged")


class Repair:
    """Somebody changes the same app on all three services, a session of the app's gains rights by
    that, and somebody asks for a look."""

    title = "repair"
    drifts = 8  # the role's attribute, the user's rules, the six rules that its ACLs make

    def __init__(self) -> None:
        self._told = 0
        self._session = socket.socket()

    def next(self, world: World) -> str:
        app = world.apps[1]
        self._told = self._drifts(world, app)
        self._session.close()
        return app

    def happen(self, world: World, app: str) -> None:
        services = world.judge.services
        services.sql(f'ALTER ROLE "{app}" CREATEDB')
        services.valkey.execute_command("ACL", "SETUSER", app, "~*", "+@all")
        services.delete_acls(app)
        self._session = _session(world.norn.env(app)["VALKEY_URL"])
        world.norn.run("reconcile", app)

    def done(self, world: World, app: str) -> bool:
        states = world.ask("SELECT state FROM reconciler.operations ORDER BY id DESC LIMIT 1")
        return bool(states[0]["state"] in ("done", "failed"))

    def remark(self, world: World, app: str) -> str:
        told = self._drifts(world, app) - self._told
        alive = _answers(self._session)
        self._session.close()
        # An heir tells again what its forerunner had told and not yet repaired.
        remarks = [f"{DRIFT_LOST}: {told} of {self.drifts}"] * (told < self.drifts)
        return "; ".join(remarks + [SESSION_LIVES] * alive)

    def _drifts(self, world: World, app: str) -> int:
        query = "SELECT 1 FROM reconciler.events WHERE event = 'drift.detected' AND app = %s"
        return len(world.ask(query, app))


def _session(url: str) -> socket.socket:
    """One that is logged in and has used what the app must not."""
    parts = urlsplit(url)
    session = socket.create_connection((parts.hostname, parts.port), timeout=10)
    for line in (f"AUTH {parts.username} {parts.password}", "DBSIZE"):
        session.sendall(f"{line}\r\n".encode())
        assert session.recv(100)[:1] in b"+:"
    return session


def _answers(session: socket.socket) -> bool:
    try:
        session.sendall(b"PING\r\n")
        return session.recv(100) != b""
    except (ConnectionResetError, BrokenPipeError):
        return False


def _remarks(world: World, app: str, forge_state: str) -> str:
    rows = world.ask("SELECT status FROM public.forge_states WHERE app = %s", app)
    found = ", ".join(r["status"] for r in rows) or "absent"
    query = "SELECT message FROM reconciler.events WHERE event = 'problem.found' AND app = %s"
    told = [r["message"] for r in world.ask(query, app)]
    return "; ".join([f"forge state {found}"] * (found != forge_state) + told)
