"""What a lane reads and what it reports: the seam between the lanes and the book."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Held, ObjectKey, Owned
from norn_reconciler.model.outcome import Outcome, Verification
from norn_reconciler.model.plan import Action, Step, Wanted
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.records import ServiceRecord
from norn_reconciler.model.secret import Credential
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class AppReport:
    """What one round has to say of one app on one service.

    entry, base, known: what the round started from; a report is about nothing else. began:
    monotonic seconds. owned, record: rows as they should be now, None where unchanged. acted:
    something was written. shown: monotonic seconds when that could be seen, None when nothing was.
    verification: None when the app's isolation was not tried in this round. moved: it has come to
    rest, and something was written for it since it last was.
    """

    app: AppName
    service: str
    entry: Entry
    base: Owned
    known: ServiceRecord
    outcome: Outcome
    began: float
    owned: Owned | None = None
    record: ServiceRecord | None = None
    steps: tuple[Step, ...] = ()
    done: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    acted: bool = False
    verification: Verification | None = None
    shown: float | None = None
    moved: bool = False


class Ledger(Protocol):
    """What the lane knows of norn_db: a mirror that moves only after norn_db did."""

    def entry(self, app: AppName) -> Entry | None: ...
    def left_alone(self, app: AppName) -> bool:
        """Whether long work is at it that no lane may come in between."""
        ...

    def owned(self, service: str, app: AppName) -> Owned: ...
    def service(self, service: str, app: AppName) -> ServiceRecord: ...
    def verified(self, app: AppName) -> bool:
        """Whether norn_db says of its present generation that its isolation was verified."""
        ...

    def neighbours(self, service: str, also: Collection[AppName]) -> Mapping[AppName, App]:
        """The apps that have converged on this service, ordered by name: being refused at theirs
        says something. also: those that this round has brought so far."""
        ...

    def kin(self, service: str, apps: Collection[AppName]) -> set[AppName]:
        """Who reads what one of `apps` shares on this service, and who shares with one of them:
        what has been done for the one may be what the other waits for."""
        ...

    def credential(self, app: AppName, service: str) -> Credential: ...
    def derived(self, app: AppName, service: str, generation: int) -> Credential:
        """As `credential`, of another generation than the recorded one."""
        ...

    async def claim(
        self,
        service: str,
        rows: Mapping[AppName, Mapping[ObjectKey, Held]],
        events: Sequence[Event],
    ) -> None: ...
    async def report(self, reports: Sequence[AppReport]) -> None: ...


def wanted_of(
    provider: AnyProvider,
    ledger: Ledger,
    name: AppName,
    desired: Callable[[App, Credential], object] | None = None,
) -> Wanted[object] | None:
    """What planning `name` on this service starts from; None when there is nothing to look at:
    neither asked for nor ever made there, or a core app, which is not provisioned.

    desired: in place of the provider's own, for whoever keeps what it made before."""
    entry = ledger.entry(name)
    if entry is None or not entry.provisioned:
        return None
    service = provider.key
    owned = ledger.owned(service, name)
    if service not in entry.app.sections and not owned:
        return None
    credential = ledger.credential(name, service)
    want = (desired or provider.desired)(entry.app, credential)
    return Wanted(name, want, owned, ledger.service(service, name).mark)
