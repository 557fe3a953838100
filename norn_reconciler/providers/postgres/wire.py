"""The part of the provider that needs the driver, put together once. Loaded at the first verb."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Rejected, ServiceError, Unavailable
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.outcome import Health, Proof
from norn_reconciler.model.plan import Wanted
from norn_reconciler.model.secret import Credential, Secret
from norn_reconciler.model.snapshots import Source
from norn_reconciler.providers.postgres import blame, diagnose, login, survey, verifier, weigh
from norn_reconciler.providers.postgres.apply import Applier
from norn_reconciler.providers.postgres.client import AdminClient, Session, session_name
from norn_reconciler.providers.postgres.database_actions import InsideAction, RenameDatabase
from norn_reconciler.providers.postgres.endpoint import Endpoint
from norn_reconciler.providers.postgres.faults import translate
from norn_reconciler.providers.postgres.observe import Observer
from norn_reconciler.providers.postgres.source import relations, source, tables, unlooked
from norn_reconciler.providers.postgres.state import (
    COMMENT_PREFIX,
    DATABASE,
    GROUP,
    READERS,
    ROLE,
    SERVICE,
    Desired,
    Observed,
)
from norn_reconciler.providers.postgres.whole import WholeDatabases

_LOGINS = 8  # apps that are logged in as at once: each takes a process of the server's


@dataclass(frozen=True, slots=True)
class Way:
    """How norn and the apps reach the server. sslmode: what apps are told. seconds: one request.
    users: norn's own roles."""

    url: Secret
    admin: Endpoint
    apps: Endpoint
    sslmode: str
    seconds: float
    instance: str
    users: frozenset[str] = frozenset()


# An app's own role, or that of its readers: the comment names the app.
_MARKED = """
SELECT c.app, r.rolname = c.app, r.rolname, d.datname
  FROM pg_roles r LEFT JOIN pg_database d ON d.datdba = r.oid
 CROSS JOIN LATERAL (SELECT substr(shobj_description(r.oid, 'pg_authid'),
                                   length(%(ours)s) + 1) AS app) c
 WHERE starts_with(shobj_description(r.oid, 'pg_authid'), %(ours)s)
   AND r.rolname IN (c.app, c.app || %(readers)s)
"""


async def _verifier(session: Session, role: str) -> str | None:
    """The stored password of a role; None where the admin may not read it."""
    if not session.authid_readable:
        return None
    cursor = await session.conn.execute(
        "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = %s", [role]
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else ""


async def _told(question: Awaitable[bool]) -> bool | None:
    """Its answer; None where nobody can tell."""
    try:
        return await question
    except ServiceError:
        return None


class Wire:
    def __init__(self, way: Way) -> None:
        self._way = way
        self._name = session_name(way.instance)
        self._logins = asyncio.Semaphore(_LOGINS)
        self.client = AdminClient(way.url, self._name, way.seconds)
        self.whole = WholeDatabases(way.url, self._name, way.seconds)
        self.observer = Observer(self.client, way.users)
        self.applier = Applier(self.client, self._inside, self._rename, way.apps == way.admin)

    async def _rename(self, action: RenameDatabase) -> None:
        """Whoever is in it is sent away; one that is shut stays so."""
        seen = await self.whole.seen(action.was)
        if seen is None or seen.id != str(action.oid):
            raise Rejected(
                SERVICE,
                f"database {action.was} is not the one that it was a moment ago",
                object=action.was,
            )
        await self.whole.rename(seen, action.name, open=seen.open)

    async def _inside(self, action: InsideAction, fresh: bool) -> None:
        """By the admin's way in: the advertised one may be a pooler, or not be reachable here."""
        await login.inside(
            action,
            self._way.admin.app_url(
                action.owner, action.credential.password, action.name, self._way.sslmode
            ),
            self._name,
            self._way.seconds,
            self._way.admin.trust,
            fresh=fresh,
        )

    async def version(self) -> int:
        async def ask(session: Session) -> int:
            return session.version

        try:
            return await self.client.read(ask)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault

    async def source(self, role: str, credential: Credential, database: str) -> Source:
        """By the admin's way in, as for `_inside`. Raises ServiceError."""
        way = self._way
        url = way.admin.app_url(role, credential.password, database, way.sslmode)
        async with self._logins:
            return await source(url, self._name, way.seconds, way.admin.trust)

    async def entry(self, role: str, credential: Credential, database: str) -> Source:
        """As `source`, and nothing is looked at. Raises ServiceError."""
        way = self._way
        url = way.admin.app_url(role, credential.password, database, way.sslmode)
        return unlooked(url, self._name, await self.version(), way.admin.trust)

    async def relations(
        self, role: str, credential: Credential, database: str
    ) -> Mapping[tuple[str, ...], str]:
        """Raises ServiceError."""
        way = self._way
        url = way.admin.app_url(role, credential.password, database, way.sslmode)
        return await relations(url, self._name, way.seconds, way.admin.trust)

    async def tables(self, role: str, credential: Credential, database: str) -> int:
        """Raises ServiceError."""
        way = self._way
        url = way.admin.app_url(role, credential.password, database, way.sslmode)
        return await tables(url, self._name, way.seconds, way.admin.trust)

    async def amounts(self, names: Sequence[str]) -> list[weigh.Amount]:
        """Raises ServiceError."""
        try:
            return await self.client.read(lambda session: weigh.amounts(session, names))
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault

    async def rows(self, role: str, credential: Credential, database: str) -> weigh.Rows:
        """Raises ServiceError."""
        way = self._way
        url = way.admin.app_url(role, credential.password, database, way.sslmode)
        try:
            async with self._logins:
                return await weigh.rows(url, self._name, way.seconds, way.admin.trust)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault

    async def prove(self, role: str, credential: Credential, database: str) -> Proof:
        way = self._way
        url = way.apps.app_url(role, credential.password, database, way.sslmode)
        async with self._logins:
            return await login.prove(url, self._name, way.seconds, way.apps.trust)

    async def fits(
        self, role: str, database: str, credentials: Sequence[Credential]
    ) -> Credential | None:
        """By the stored verifier where the admin may read it, else by logging in, past any pooler.
        Raises ServiceError."""
        try:
            stored = await self.client.read(lambda session: _verifier(session, role))
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault
        if stored is not None:
            return await asyncio.to_thread(
                lambda: next((c for c in credentials if verifier.matches(stored, c.password)), None)
            )
        way = self._way

        async def takes(password: Secret) -> bool:
            url = way.admin.app_url(role, password, database, way.sslmode)
            return await login.takes(url, self._name, way.seconds, way.admin.trust)

        async with self._logins:
            if await takes(Secret(secrets.token_urlsafe(32))):
                raise Rejected(
                    SERVICE, "the server takes a wrong password: which is right cannot be told"
                )
            for credential in credentials:
                if await takes(credential.password):
                    return credential
        return None

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        """Roles with norn's comment, and the databases they own. Raises ServiceError."""

        async def ask(session: Session) -> list[tuple[str, bool, str, str | None]]:
            names = {"ours": COMMENT_PREFIX, "readers": READERS}
            cursor = await session.conn.execute(_MARKED, names)
            return list(await cursor.fetchall())

        try:
            rows = await self.client.read(ask)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault
        found: dict[AppName, set[ObjectKey]] = {}
        for app, own, role, database in rows:
            keys = found.setdefault(AppName(app), set())
            keys.add((ROLE if own else GROUP, role))
            if database is not None:
                keys.add((DATABASE, database))
        return {app: frozenset(keys) for app, keys in found.items()}

    async def trespass(self, desired: Desired, database: str, closed: Iterable[str]) -> Proof:
        """database: the app's own; closed: some that it must not get into."""
        way, password = self._way, desired.credential.password

        def url(database: str, password: Secret = password) -> Secret:
            return way.apps.app_url(desired.role, password, database, way.sslmode)

        async def whose(database: str) -> blame.Blame:
            try:
                return await self.client.read(
                    lambda session: blame.of_the_door(session, desired.role, database)
                )
            except (psycopg.Error, TimeoutError, OSError) as fault:
                raise translate(fault) from fault

        doors = login.Doors(
            wrong=url(database, Secret(secrets.token_urlsafe(32))),
            closed={name: url(name) for name in closed},
            own=url(database),
            group=desired.group if desired.readers else "",
            reads={name: url(name) for name in desired.reads},
            blame=whose,
        )
        async with self._logins:
            return await login.trespass(doors, self._name, way.seconds, way.apps.trust)

    async def observe(
        self, wanted: Mapping[AppName, Wanted[Desired]]
    ) -> Mapping[AppName, Observed]:
        """Raises ServiceError."""
        try:
            return await self.observer.observe(wanted)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault

    async def survey(
        self, held: Mapping[AppName, Owned], users: frozenset[str], databases: frozenset[str]
    ) -> list[Found]:
        """users, databases: norn's own. Raises ServiceError."""
        try:
            roles, stores = await self.client.read(survey.read)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault
        return survey.judge(roles, stores, held, users, databases)

    async def check(self) -> Health:
        began = time.monotonic()

        async def ask(session: Session) -> str:
            row = await (await session.conn.execute("SHOW server_version")).fetchone()
            return f"PostgreSQL {row[0].split()[0]}" if row else ""

        try:
            await self.client.connect()
            began = time.monotonic()  # logging in is no part of the round trip
            detail, ok = await self.client.read(ask), True
        except (psycopg.Error, Unavailable, TimeoutError, OSError) as fault:
            detail, ok = str(translate(fault)), False
        return Health(SERVICE, ok, (time.monotonic() - began) * 1000, detail)

    async def diagnose(self, norn_databases: frozenset[str]) -> Health:
        health = await self.check()
        if not health.ok:
            return health
        try:
            facts = await self.client.read(lambda s: diagnose.read(s, norn_databases))
        except (psycopg.Error, Unavailable, TimeoutError, OSError) as fault:
            return Health(SERVICE, False, health.response_ms, str(translate(fault)))
        way = self._way
        wrong = await _told(diagnose.wrong_password_passes(way.url, self._name, self.seconds))
        published = await _told(
            diagnose.published_password_passes(way.admin, way.sslmode, self._name, self.seconds)
        )
        findings = diagnose.judge(facts, wrong_password=wrong, published_password=published)
        ok = not any(diagnose.blocks(f) for f in findings)
        return Health(SERVICE, ok, health.response_ms, health.detail, findings)

    @property
    def seconds(self) -> float:
        return self._way.seconds

    async def end_sessions(self, instance: str) -> int:
        """End the admin sessions of another instance. Returns how many there were."""

        async def end(session: Session) -> int:
            cursor = await session.conn.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = %s AND usename = current_user"
                " AND pid <> pg_backend_pid()",
                [session_name(instance)],
            )
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

        try:
            return await self.client.read(end)
        except (psycopg.Error, TimeoutError, OSError) as fault:
            raise translate(fault) from fault
