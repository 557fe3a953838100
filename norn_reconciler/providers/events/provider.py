"""The events provider: what the engine calls, each verb handed to the module that does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.outcome import Applied, Health, Proof
from norn_reconciler.model.plan import Plan, Wanted
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.secret import Credential, Secret
from norn_reconciler.model.stakes import Stake
from norn_reconciler.providers.events import inventory
from norn_reconciler.providers.events.acl import own_prefix, reader_acls, wanted_acls
from norn_reconciler.providers.events.actions import EventsAction
from norn_reconciler.providers.events.apply import apply
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.destroy import delete_topic
from norn_reconciler.providers.events.diagnose import diagnose
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.observe import marked, names_norn_user, observe
from norn_reconciler.providers.events.plan import plan
from norn_reconciler.providers.events.problems import reserved_user
from norn_reconciler.providers.events.prove import Ground, fits, prove, trespass
from norn_reconciler.providers.events.read import read_acls, read_topics
from norn_reconciler.providers.events.section import (
    EventsSection,
    Topic,
    refused_app_name,
    variable,
)
from norn_reconciler.providers.events.state import (
    MECHANISM,
    SERVICE,
    TOPIC,
    Desired,
    Observed,
    TopicSpec,
)
from norn_reconciler.providers.events.survey import survey
from norn_reconciler.providers.events.weigh import weigh

_LOGINS_AT_ONCE = 24  # apps; a broker lets a wrong password wait for 100 ms before it says no


class EventsProvider:
    """Redpanda or Apache Kafka through the Kafka API.

    brokers: comma list of host:port, the admin's way in. advertised: the same for apps, None when
    it is no other. request_timeout: seconds for one request. Construction does no I/O.
    """

    key = SERVICE
    title = "Redpanda"
    data = frozenset({TOPIC})
    copied = False
    condition = "TopicsReady"
    section = EventsSection

    def __init__(
        self,
        *,
        brokers: str,
        security_protocol: str = "SASL_PLAINTEXT",
        sasl_mechanism: str = "SCRAM-SHA-256",
        username: str | None = None,
        password: Secret | None = None,
        ca_file: str | None = None,
        advertised: str | None = None,
        request_timeout: float = 10.0,
    ) -> None:
        self._advertised = advertised or brokers
        endpoint = Endpoint.parse(brokers, security_protocol, ca_file, request_timeout)
        self._apps_way_in = Endpoint.parse(
            self._advertised, security_protocol, ca_file, request_timeout
        )
        self._client = EventsClient(endpoint, sasl_mechanism, username, password)
        self._logins = asyncio.Semaphore(_LOGINS_AT_ONCE)
        self._norn_apps: set[str] = set()
        self._norn_topics: dict[str, set[str]] = {}

    @property
    def requests(self) -> int:
        """Requests sent so far, logins not counted: what a round costs."""
        return self._client.requests

    async def connect(self) -> None:
        await self._client.connect()

    def desired(self, app: App, credential: Credential) -> Desired:
        section = app.sections.get(SERVICE)
        if not isinstance(section, EventsSection):
            return Desired(app.name, False, (), (), credential)
        topics = sorted(
            TopicSpec(t.name, t.partitions, t.replication, tuple(sorted(t.config.items())))
            for t in section.topics
        )
        acls = wanted_acls(app.name, (t.name for t in topics), app.readable.get(SERVICE, ()))
        withheld = tuple(sorted(app.withheld.get(SERVICE, ())))
        readers = reader_acls(section.shares())
        return Desired(app.name, True, tuple(topics), acls, credential, withheld, readers)

    async def observe(
        self, wanted: Mapping[AppName, Wanted[Desired]]
    ) -> Mapping[AppName, Observed | ServiceError]:
        for app, one in wanted.items():
            self._norn_topics[app] = {h.name for h in one.owned.values() if h.kind == TOPIC}
            if names_norn_user(one):
                self._norn_apps.add(app)
            else:
                self._norn_apps.discard(app)
        topics = set().union(*self._norn_topics.values())
        return await observe(self._client, wanted, self._norn_apps, topics)

    def plan(self, wanted: Wanted[Desired], observed: Observed) -> Plan[EventsAction]:
        if refused := self._refused(wanted.app):
            # The spec's checks say so first; this is the last door before the broker.
            return Plan(problems=(reserved_user(wanted.app, refused),))
        return plan(wanted, observed)

    def _refused(self, app: AppName) -> str | None:
        username = self._client.username
        return refused_app_name(app, frozenset() if username is None else frozenset({username}))

    async def apply(
        self, plans: Mapping[AppName, tuple[EventsAction, ...]], fence: Fence
    ) -> Mapping[AppName, Applied]:
        return await apply(self._client, plans, fence)

    def confirm(
        self, wanted: Wanted[Desired], observed: Observed, done: Sequence[EventsAction]
    ) -> Owned:
        return inventory.confirm(wanted, observed, done)

    def adoptable(self, wanted: Wanted[Desired], observed: Observed) -> Owned:
        return {} if self._refused(wanted.app) else inventory.adoptable(wanted, observed)

    def recoverable(self, wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
        if self._refused(wanted.app):
            return {}
        return inventory.recoverable(wanted, observed, proven)

    async def fits(
        self, app: App, observed: Observed, credentials: Sequence[Credential]
    ) -> Credential | None:
        if MECHANISM not in observed.mechanisms or not credentials:
            return None
        async with self._logins:
            return await fits(self._apps_way_in, app.name, credentials)

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return marked(await read_acls(self._client))

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        return await survey(self._client, held)

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        section = app.sections.get(SERVICE)
        if not isinstance(section, EventsSection):
            return {}
        names = [topic.name for topic in section.topics]
        reads = app.readable.get(SERVICE, frozenset())
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self._advertised,
            "REDPANDA_BROKERS": self._advertised,
            "KAFKA_SECURITY_PROTOCOL": self._apps_way_in.security_protocol,
            "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": app.name,
            "KAFKA_SASL_PASSWORD": credential.password.reveal(),
            "KAFKA_TOPICS": ",".join(names),
            **({"KAFKA_READ_TOPICS": ",".join(sorted(reads))} if reads else {}),
            **{variable(name): name for name in names},
        }

    async def prove(self, app: App, credential: Credential) -> Proof:
        async with self._logins:
            return await prove(self._apps_way_in, app.name, credential.password)

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        """Without a neighbour a topic and a group that nobody has stand in for its."""
        mine = app.sections.get(SERVICE)
        other = neighbour.sections.get(SERVICE) if neighbour is not None else None
        reads = app.readable.get(SERVICE, frozenset())
        topics: tuple[Topic, ...] = other.topics if isinstance(other, EventsSection) else ()
        whose = neighbour.name if neighbour is not None else "norn-nobody"
        ground = Ground(
            app.name,
            tuple(topic.name for topic in mine.topics) if isinstance(mine, EventsSection) else (),
            f"{own_prefix(app.name)}norn-proof",
            next((t.name for t in topics if t.name not in reads), f"{own_prefix(whose)}norn-proof"),
            whose,
            await self._client.sees_rights(),
        )
        async with self._logins:
            return await trespass(self._apps_way_in, credential.password, ground)

    async def destroy(self, app: AppName, held: Held) -> str:
        was = await delete_topic(self._client, held)
        return "its records are gone" if was else "it was gone already"

    async def weigh(self, app: App, owned: Owned, credential: Credential | None) -> Sequence[Stake]:
        """The groups of its readers are told as well, while its spec says who they are."""
        section = app.sections.get(SERVICE)
        readers: set[AppName] = (
            set(section.shares()) if isinstance(section, EventsSection) else set()
        )
        topics = [held for held in owned.values() if held.kind == TOPIC]
        return await weigh(self._client, topics, {app.name, *readers}) if topics else ()

    async def leave(self, app: AppName, owned: Owned) -> Sequence[Held]:
        """Its user went when its access was closed; one that was adopted stays."""
        return list(owned.values())

    async def check(self) -> Health:
        started = time.monotonic()
        try:
            version = await self._client.version()
            await read_topics(self._client, ())  # logs in to the broker that is asked from then on
            started = time.monotonic()
            found = await read_topics(self._client, ())
        except ServiceError as error:
            return Health(SERVICE, False, _since(started), str(error))
        took = _since(started)
        count = len(found.brokers)
        detail = f"Kafka API {version}, {count} broker{'' if count == 1 else 's'}"
        return Health(SERVICE, True, took, detail)

    async def diagnose(self) -> Health:
        return await diagnose(self._client, await self.check())

    async def end_sessions(self, instance: str) -> int:
        """Nothing to end: a request is one round trip, and is over or lost with its
        sender."""
        return 0

    def forget(self, app: AppName) -> None:
        self._norn_apps.discard(app)
        self._norn_topics.pop(app, None)

    async def close(self) -> None:
        await self._client.close()


def _since(started: float) -> float:
    """Milliseconds since `started`."""
    return (time.monotonic() - started) * 1000
