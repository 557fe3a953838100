"""The postgres provider: what the engine calls, each verb handed to the module that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.databases import Databases
from norn_reconciler.model.errors import Rejected, ServiceError, Unavailable
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held, ObjectKey, Origin, Owned
from norn_reconciler.model.outcome import Applied, Health, Proof
from norn_reconciler.model.plan import Plan, Problem, Severity, Wanted
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.secret import Credential, Secret
from norn_reconciler.model.snapshots import Source
from norn_reconciler.model.stakes import Fact, Stake
from norn_reconciler.providers.postgres import inventory
from norn_reconciler.providers.postgres import plan as planning
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.endpoint import Endpoint
from norn_reconciler.providers.postgres.section import (
    PostgresSection,
    read_variables,
    refused_app_name,
    refused_database,
)
from norn_reconciler.providers.postgres.state import (
    DATABASE,
    GROUP,
    ROLE,
    SERVICE,
    Desired,
    Observed,
    group_name,
)

if TYPE_CHECKING:
    from norn_reconciler.providers.postgres.wire import Wire

TEMP_FILE_LIMIT = "1GB"


class PostgresProvider:
    """PostgreSQL 15 to 18. Implements model.snapshots.Sources and
    model.databases.HasDatabases, too.

    url: of the admin (CREATEDB, CREATEROLE). advertised: `host[:port]` that apps are told, None
    when it is the admin's. sslmode: what apps are told. request_timeout: seconds for one request.
    norn_users, norn_databases: names that norn's settings use; no app may have them.
    instance: names the admin's sessions, so that a new leader can end them.
    Construction does no I/O and loads no driver. Raises NornError for a URL that is none.
    """

    key = SERVICE
    title = "PostgreSQL"
    condition = "DatabaseReady"
    data = frozenset({DATABASE})
    copied = True
    section = PostgresSection

    def __init__(
        self,
        url: Secret,
        *,
        advertised: str | None = None,
        sslmode: str = "disable",
        request_timeout: float = 10.0,
        norn_users: frozenset[str] = frozenset(),
        norn_databases: frozenset[str] = frozenset(),
        instance: str = "norn",
    ) -> None:
        self._url = url
        self._endpoint = Endpoint.parse(url)
        self._for_apps = self._endpoint.advertised(advertised)
        self._sslmode = sslmode
        self._request_timeout = request_timeout
        self._users = norn_users | {self._endpoint.user}
        self._databases = norn_databases
        self._instance = instance

    @cached_property
    def _wire(self) -> Wire:
        from norn_reconciler.providers.postgres.wire import (  # noqa: PLC0415 -- loads the driver
            Way,
            Wire,
        )

        return Wire(
            Way(
                self._url,
                self._endpoint,
                self._for_apps,
                self._sslmode,
                self._request_timeout,
                self._instance,
                self._users,
            )
        )

    @property
    def requests(self) -> int:
        """Round trips of the admin's connections so far, connecting included."""
        return self._wire.client.requests

    async def connect(self) -> None:
        await self._wire.client.connect()

    def desired(self, app: App, credential: Credential) -> Desired:
        section = app.sections.get(SERVICE)
        if not isinstance(section, PostgresSection):
            return Desired(app.name, None, 0, None, credential)
        return Desired(
            app.name,
            section.database,
            section.connections,
            TEMP_FILE_LIMIT,
            credential,
            tuple(sorted(section.extensions)),
            tuple(sorted(set(section.readers) - {app.name})),
            tuple(sorted(app.readable.get(SERVICE, ()))),
            section.renamed_from,
        )

    async def observe(
        self, wanted: Mapping[AppName, Wanted[Desired]]
    ) -> Mapping[AppName, Observed | ServiceError]:
        if not wanted:
            return {}
        try:
            return await self._wire.observe(wanted)
        except Unavailable:
            raise
        except ServiceError as fault:
            return dict.fromkeys(wanted, fault)

    def plan(self, wanted: Wanted[Desired], observed: Observed) -> Plan[PostgresAction]:
        refused = refused_app_name(wanted.app, self._users)
        if wanted.desired.database is not None:
            refused = refused or refused_database(wanted.desired.database, self._databases)
        if refused is not None:
            # The spec's checks say so first; this is the last door before the server.
            return Plan((), (Problem(Severity.BLOCKING, "Reserved", refused, "rename it"),))
        return planning.plan(wanted, observed)

    async def apply(
        self, plans: Mapping[AppName, tuple[PostgresAction, ...]], fence: Fence
    ) -> Mapping[AppName, Applied]:
        return await self._wire.applier.apply(plans, fence)

    def confirm(
        self, wanted: Wanted[Desired], observed: Observed, done: Sequence[PostgresAction]
    ) -> Owned:
        return inventory.confirm(wanted, observed, done)

    def adoptable(self, wanted: Wanted[Desired], observed: Observed) -> Owned:
        return inventory.adoptable(wanted, observed)

    def recoverable(self, wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
        return inventory.recoverable(wanted, observed, proven)

    async def fits(
        self, app: App, observed: Observed, credentials: Sequence[Credential]
    ) -> Credential | None:
        if observed.role is None or not credentials:
            return None
        database = self.desired(app, credentials[0]).database or app.name
        return await self._wire.fits(app.name, database, credentials)

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return await self._wire.marked()

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        return await self._wire.survey(held, self._users, self._databases)

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        database = self.desired(app, credential).database
        if database is None:
            return {}

        def url(database: str) -> str:
            return self._for_apps.app_url(
                app.name, credential.password, database, self._sslmode
            ).reveal()

        reads = read_variables(app.readable.get(SERVICE, ()))
        return {"DATABASE_URL": url(database), **{reads[name]: url(name) for name in reads}}

    async def prove(self, app: App, credential: Credential) -> Proof:
        database = self.desired(app, credential).database
        if database is None:
            return Proof(False, 0.0, "the spec has no postgres section")
        return await self._wire.prove(app.name, credential, database)

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        """Without a neighbour, or with one that lets it read, norn's own database stands in."""
        desired = self.desired(app, credential)
        other = neighbour.sections.get(SERVICE) if neighbour is not None else None
        closed = [min(self._databases, default="norn_db")]
        if isinstance(other, PostgresSection) and other.database not in desired.reads:
            closed.insert(0, other.database)
        return await self._wire.trespass(desired, desired.database or "", closed)

    async def destroy(self, app: AppName, held: Held) -> str:
        seen = await self._wire.whole.seen(held.name)
        if seen is None or seen.id != held.server_id:
            return "it was gone already"
        await self._wire.whole.drop(seen)
        return f"{seen.size} bytes"

    async def leave(self, app: AppName, owned: Owned) -> Sequence[Held]:
        """The group of its readers first: that one may be granted to the role."""
        for key in ((GROUP, group_name(app)), (ROLE, app)):
            if (held := owned.get(key)) is not None and held.origin is Origin.MADE:
                await self._wire.whole.drop_role(held.name)
        return [held for held in owned.values() if held.origin is Origin.ADOPTED]

    async def weigh(self, app: App, owned: Owned, credential: Credential | None) -> Sequence[Stake]:
        names = [held.name for held in owned.values() if held.kind == DATABASE]
        stakes = []
        for one in await self._wire.amounts(names) if names else ():
            if owned[DATABASE, one.name].server_id not in {None, one.id}:
                continue  # another one that has its name by now
            facts: dict[str, Fact] = {}
            unread: dict[str, str] = {}
            try:
                if credential is None:
                    raise Rejected(SERVICE, f"norn does not know the password of {app.name}")
                rows = await self._wire.rows(app.name, credential, one.name)
                facts |= {"rows": rows.total, "tables": rows.tables, "largest": dict(rows.largest)}
            except ServiceError as fault:  # nobody but the app looks into its database
                unread["rows"] = str(fault)
            if one.size is None:
                unread["bytes"] = "norn's admin may not connect to it"
            else:
                facts = {"bytes": one.size, **facts}
            facts |= {
                "sessions": one.sessions,
                "transactions": one.transactions,
                "rows_written": one.written,
            }
            if one.since is not None:
                facts["counted_since"] = one.since.isoformat(timespec="seconds")
            unread["last_use"] = "PostgreSQL keeps no time of it"
            stakes.append(Stake(DATABASE, one.name, facts, unread))
        return stakes

    def whole(self) -> Databases:
        return self._wire.whole

    def database(self, app: App) -> ObjectKey | None:
        section = app.sections.get(SERVICE)
        return (DATABASE, section.database) if isinstance(section, PostgresSection) else None

    async def version(self) -> int:
        return await self._wire.version()

    async def look(self, app: App, credential: Credential, database: str | None = None) -> Source:
        if database is None:
            own = self.database(app)
            assert own is not None, "asked first"
            database = own[1]
        return await self._wire.source(app.name, credential, database)

    async def entry(self, app: AppName, credential: Credential, database: str) -> Source:
        return await self._wire.entry(app, credential, database)

    async def relations(
        self, app: AppName, credential: Credential, database: str
    ) -> Mapping[tuple[str, ...], str]:
        return await self._wire.relations(app, credential, database)

    async def tables(self, app: AppName, credential: Credential, database: str) -> int:
        return await self._wire.tables(app, credential, database)

    async def check(self) -> Health:
        return await self._wire.check()

    async def diagnose(self) -> Health:
        return await self._wire.diagnose(self._databases)

    async def end_sessions(self, instance: str) -> int:
        """End the admin sessions of another instance of norn (a leader that lost its lease).
        Returns how many. Raises ServiceError."""
        return await self._wire.end_sessions(instance)

    def forget(self, app: AppName) -> None:
        """Each look asks the server which roles are norn's."""

    async def close(self) -> None:
        if "_wire" in self.__dict__:
            await self._wire.client.close()
