"""A service that no setting names: everything that is asked of it says which setting is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Denied, ServiceError
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.outcome import Applied, Health, Proof
from norn_reconciler.model.plan import Action, Plan, Wanted
from norn_reconciler.model.ports import Fence
from norn_reconciler.model.secret import Credential


class AbsentProvider:
    """Implements Provider; never writes, never connects."""

    def __init__(self, key: str, title: str, condition: str, setting: str) -> None:
        self.key = key
        self.title = title
        self.condition = condition
        self._setting = setting

    def _fault(self) -> ServiceError:
        return Denied(
            self.key, f"no setting names {self.title}", remedy=f"set {self._setting} and restart"
        )

    async def connect(self) -> None:
        return None

    def desired(self, app: App, credential: Credential) -> object:
        return None

    async def observe(
        self, wanted: Mapping[AppName, Wanted[object]]
    ) -> Mapping[AppName, object | ServiceError]:
        return {app: self._fault() for app in wanted}

    def plan(self, wanted: Wanted[object], observed: object) -> Plan[Action]:
        raise self._fault()

    async def apply(
        self, plans: Mapping[AppName, tuple[Action, ...]], fence: Fence
    ) -> Mapping[AppName, Applied]:
        return {app: Applied(error=self._fault()) for app in plans}

    def confirm(self, wanted: Wanted[object], observed: object, done: Sequence[Action]) -> Owned:
        return wanted.owned

    def adoptable(self, wanted: Wanted[object], observed: object) -> Owned:
        return {}

    def recoverable(self, wanted: Wanted[object], observed: object, proven: bool) -> Owned:
        return {}

    async def fits(
        self, app: App, observed: object, credentials: Sequence[Credential]
    ) -> Credential | None:
        raise self._fault()

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        """Nothing that norn could look at."""
        return {}

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        return ()

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        raise self._fault()

    async def prove(self, app: App, credential: Credential) -> Proof:
        return Proof(False, 0.0, str(self._fault()))

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        raise self._fault()

    async def check(self) -> Health:
        return Health(self.key, False, 0.0, str(self._fault()))

    async def diagnose(self) -> Health:
        return await self.check()

    async def end_sessions(self, instance: str) -> int:
        """It has none."""
        return 0

    def forget(self, app: AppName) -> None:
        """It remembers none."""

    async def close(self) -> None:
        return None
