"""What an owner may do to its own database and role, and how norn's work is watched meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.outcome import Proof
from tests.integration.postgres_admin import database_of
from tests.integration.provider_contract import World, credential
from tests.isolation.postgres_cluster import Cluster, Connection

SECONDS = 2.0  # norn's bound for one request; a lock is waited for 0.3 of it
BOUND = 20.0  # seconds for all that norn does in a test
ROUNDS = 4

# A trap: whoever resolves names here by the owner's search_path runs its code, which notes who did.
TRAP = """
CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC;
CREATE TABLE evil.caught (as_user name, session name, by text);
GRANT ALL ON evil.caught TO PUBLIC;
CREATE FUNCTION evil.note(by text) RETURNS void LANGUAGE sql AS
  'INSERT INTO evil.caught VALUES (current_user, session_user, by)';
GRANT EXECUTE ON FUNCTION evil.note TO PUBLIC;
DO $do$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.proname, p.oid::regprocedure AS shown, p.proretset,
      pg_get_function_identity_arguments(p.oid) AS given, pg_get_function_result(p.oid) AS result
    FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
     AND p.proname IN ('version', 'now', 'current_setting', 'set_config', 'pg_has_role',
       'has_table_privilege', 'has_parameter_privilege', 'pg_get_userbyid', 'shobj_description',
       'split_part', 'starts_with', 'pg_backend_pid', 'pg_terminate_backend', 'current_database')
     AND NOT p.proretset AND pg_get_function_result(p.oid) !~ 'any|internal|cstring'
  LOOP
    EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname,
      f.given, f.result, format('BEGIN PERFORM evil.note(%L); RETURN NULL; END', f.proname));
  END LOOP;
END $do$;
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN PERFORM evil.note(''=''); RETURN true; END';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What norn made of one app. done: summaries of actions. errors: reasons of refusals. problem:
    the reason why a person is asked, or "". proof: of the login at the end."""

    done: tuple[str, ...]
    errors: tuple[str, ...]
    problem: str
    rests: bool  # nothing left to do
    proof: Proof

    @property
    def outcome(self) -> str:
        """harmless: nothing was to be done. repaired: something was. reported: a person learns of
        it. Else it is stuck in silence."""
        if self.errors or self.problem or not self.proof.ok:
            told = self.errors or self.problem or self.proof.reason
            return "reported" if told else "stuck"
        if not self.rests:
            return "stuck"
        return "repaired" if self.done else "harmless"


@dataclass(slots=True)
class Scene:
    """A hostile app and its neighbour, both made by the product. held: sessions left open."""

    cluster: Cluster
    world: World
    hostile: App
    neighbour: App
    held: list[Connection] = field(default_factory=list)

    def words(self) -> dict[str, str]:
        names = {"h": self.hostile.name, "n": self.neighbour.name}
        names |= {"h_db": database_of(names["h"]), "n_db": database_of(names["n"])}
        return {key: f'"{name}"' for key, name in names.items()}

    def log_in(self, app: App, database: str | None = None, **more: str) -> Connection:
        return self.cluster.app(app.name, database or database_of(app.name), **more)

    def act(self, *statements: str, hold: bool = False) -> None:
        """As the hostile app, in its own database. hold: leave the session as it is."""
        conn = self.log_in(self.hostile)
        self.held.append(conn)
        try:
            for statement in statements:
                conn.execute(statement.format_map(self.words()))
        finally:
            if not hold:
                conn.close()

    def caught(self) -> set[tuple[str, str]]:
        """Who ran the trap's code; the superuser looks with nothing of the owner's in force."""
        options = "-c search_path=pg_catalog -c role=none -c statement_timeout=10s"
        with self.cluster.superuser(database_of(self.hostile.name), options=options) as conn:
            if conn.execute("SELECT to_regclass('evil.caught')").fetchone() == (None,):
                return set()  # the owner itself has dropped it
            return set(conn.execute("SELECT as_user, session FROM evil.caught").fetchall())

    def powers(self) -> list[tuple[Any, ...]]:
        """Who is a member of whom, and the attributes of all roles, as far as they are rights. The
        admin's joining of apps is its own."""
        with self.cluster.superuser() as conn:
            members = conn.execute(
                "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members"
                " WHERE member <> 'norn_admin'::regrole ORDER BY 1, 2"
            ).fetchall()
            return (
                members
                + conn.execute(
                    "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication,"
                    " rolbypassrls FROM pg_roles ORDER BY 1"
                ).fetchall()
            )

    def sessions(self, app: App) -> int:
        with self.cluster.superuser() as conn:
            query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
            row = conn.execute(query, [app.name]).fetchone()
            assert row is not None
            return int(row[0])

    def close(self) -> None:
        for conn in self.held:
            with contextlib.suppress(psycopg.Error):
                conn.close()


async def rounds(world: World, *apps: App, most: int = ROUNDS) -> dict[AppName, Seen]:
    """What the engine would do, faults and all, until all rest or `most` rounds are over."""
    done: dict[AppName, list[str]] = {app.name: [] for app in apps}
    errors: dict[AppName, list[str]] = {app.name: [] for app in apps}
    for _ in range(most):
        plans = await world.plans(apps)
        if not any(plan.actions for plan in plans.values()):
            break
        applied = await world.apply(plans)
        for name, result in applied.items():
            done[name] += [action.summary() for action in result.done]
            errors[name] += [_words(result.error)] if result.error else []
        await world.confirm(apps, applied)
    plans = await world.plans(apps)
    return {
        app.name: Seen(
            tuple(done[app.name]),
            tuple(errors[app.name]) if plans[app.name].actions else (),
            blocked.reason if (blocked := plans[app.name].blocked) else "",
            not plans[app.name].actions,
            await _proof(world, app),
        )
        for app in apps
    }


async def _proof(world: World, app: App) -> Proof:
    try:
        return await world.provider.prove(app, credential(app.name))
    except ServiceError as fault:
        return Proof(False, 0.0, _words(fault))


def _words(fault: ServiceError) -> str:
    return f"{fault.reason}: {fault}"


def forget_what_was_done_inside(world: World, app: App) -> None:
    """As after `norn adopt` and a rotation: norn must log in there as the app once more."""
    world.marks.pop(app.name, None)
    rows = {key: replace(row, settings={}) for key, row in world.owned[app.name].items()}
    world.owned[app.name] = rows


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
