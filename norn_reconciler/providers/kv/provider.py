"""Valkey as the engine sees it: each verb hands on to the module that does it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from valkey.exceptions import ResponseError

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.outcome import Applied, Health, Proof
from norn_reconciler.model.plan import Plan, Wanted
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.stakes import Stake
from norn_reconciler.providers.kv import apply, diagnose, inventory, login, observe, plan, survey
from norn_reconciler.providers.kv.actions import KvAction
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.destroy import delete_keys
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.section import KvSection
from norn_reconciler.providers.kv.state import (
    NAMESPACE,
    SERVICE,
    USER,
    Desired,
    Observed,
    sha256_of,
)
from norn_reconciler.providers.kv.weigh import weigh


class KvProvider:
    """Implements model.ports.Provider.

    request_timeout: seconds, the longest one request may take. config_rewrite: whether users may be
    saved by CONFIG REWRITE on a server without an aclfile.
    """

    key = SERVICE
    title = "Valkey"
    condition = "KeyspaceReady"
    data = frozenset({NAMESPACE})
    copied = False

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        request_timeout: float = 10.0,
        config_rewrite: bool = False,
    ) -> None:
        self._client = KvClient(endpoint, request_timeout, config_rewrite)
        self._reserved = frozenset({endpoint.username})
        self._norn_users: set[str] = set()
        self._address = endpoint.address

    @property
    def requests(self) -> int:
        """How many requests norn's own connection has sent."""
        return self._client.requests

    async def connect(self) -> None:
        await self._client.connect()

    def desired(self, app: App, credential: Credential) -> Desired:
        section = app.sections.get(SERVICE)
        sha256, mark = sha256_of(credential), credential.mark
        if not isinstance(section, KvSection):
            return Desired(app.name, None, sha256, mark)
        channels = tuple(sorted(section.channels))
        return Desired(app.name, section.namespace, sha256, mark, section.info, channels)

    async def observe(
        self, wanted: Mapping[AppName, Wanted[Desired]]
    ) -> Mapping[AppName, Observed | ServiceError]:
        for app, one in wanted.items():
            known = (USER, app) in one.owned
            (self._norn_users.add if known else self._norn_users.discard)(app)
        return await observe.observe(self._client, wanted, self._norn_users | self._reserved)

    def plan(self, wanted: Wanted[Desired], observed: Observed) -> Plan[KvAction]:
        return plan.plan(wanted, observed, self._reserved)

    async def apply(
        self, plans: Mapping[AppName, tuple[KvAction, ...]], fence: Fence
    ) -> Mapping[AppName, Applied]:
        return await apply.apply(self._client, plans, fence)

    def confirm(
        self, wanted: Wanted[Desired], observed: Observed, done: Sequence[KvAction]
    ) -> Owned:
        return inventory.confirm(wanted, observed, done)

    def adoptable(self, wanted: Wanted[Desired], observed: Observed) -> Owned:
        return inventory.adoptable(wanted, observed)

    def recoverable(self, wanted: Wanted[Desired], observed: Observed, proven: bool) -> Owned:
        return inventory.recoverable(wanted, observed, proven)

    async def fits(
        self, app: App, observed: Observed, credentials: Sequence[Credential]
    ) -> Credential | None:
        """The server shows the hashes: nobody has to log in."""
        stored = observed.user.passwords if observed.user is not None else frozenset()
        return next((c for c in credentials if sha256_of(c) in stored), None)

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return await observe.marked(self._client)

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        (lines,) = await self._client.ask((("ACL", "LIST"),))
        if isinstance(lines, ResponseError):
            raise self._client.fault(lines)
        return survey.judge(observe.users_of(lines).values(), held, self._reserved)

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        section = app.sections.get(SERVICE)
        if not isinstance(section, KvSection):
            return {}
        return {
            "VALKEY_URL": self._address.url("valkey", app.name, credential.password),
            "REDIS_URL": self._address.url("redis", app.name, credential.password),
            "KV_NAMESPACE": section.namespace,
        }

    async def prove(self, app: App, credential: Credential) -> Proof:
        namespace = self.desired(app, credential).namespace
        client = self._client
        return await login.prove(
            client.endpoint, client.seconds, app.name, credential.password, namespace
        )

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        """Without a neighbour a namespace that nobody has stands in for its."""
        client = self._client
        other = neighbour.sections.get(SERVICE) if neighbour is not None else None
        foreign = other.namespace if isinstance(other, KvSection) else "norn-nobody"
        return await login.trespass(
            client.endpoint, client.seconds, app.name, credential.password, foreign
        )

    async def destroy(self, app: AppName, held: Held) -> str:
        count = await delete_keys(self._client, held.name)
        return f"{count} key{'' if count == 1 else 's'} deleted"

    async def weigh(self, app: App, owned: Owned, credential: Credential | None) -> Sequence[Stake]:
        names = [held.name for held in owned.values() if held.kind == NAMESPACE]
        return [await weigh(self._client, name) for name in names]

    async def leave(self, app: AppName, owned: Owned) -> Sequence[Held]:
        """Its user went when its access was closed; one that was adopted stays."""
        return list(owned.values())

    async def check(self) -> Health:
        began = time.perf_counter()
        try:
            await self._client.connect()
            began = time.perf_counter()  # logging in is no part of the round trip
            pong, info = await self._client.ask((("PING",), ("INFO", "server")))
            if isinstance(pong, ResponseError):
                raise self._client.fault(pong)
        except ServiceError as fault:
            return Health(SERVICE, False, (time.perf_counter() - began) * 1000, str(fault))
        took = (time.perf_counter() - began) * 1000
        fields = {} if isinstance(info, ResponseError) else observe.info_of(info)
        version = fields.get("valkey_version") or fields.get("redis_version") or "unknown version"
        name = fields.get("server_name", "valkey").title()
        return Health(SERVICE, True, took, f"{name} {version}")

    async def diagnose(self) -> Health:
        return await diagnose.diagnose(self._client, await self.check())

    async def end_sessions(self, instance: str) -> int:
        """Nothing to end: a request is one round trip, and is over or lost with its
        sender."""
        return 0

    def forget(self, app: AppName) -> None:
        self._norn_users.discard(app)

    async def close(self) -> None:
        await self._client.close()
