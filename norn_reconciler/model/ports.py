"""The Protocols through which the rooms know each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.outcome import Applied, Health, Proof
from norn_reconciler.model.plan import Action, Plan, Wanted
from norn_reconciler.model.secret import Credential

D = TypeVar("D")
O = TypeVar("O")  # noqa: E741  -- the design's letter for "observed"
A = TypeVar("A", bound=Action)


class Fence(Protocol):
    """Guards each single request to a service."""

    def check(self) -> None:
        """Raise LeaseLost unless this process still holds the lease, by a clock that counts
        suspension. Call it right before each request that writes."""
        ...


class SecretSource(Protocol):
    def credential(self, app: AppName, service: str, generation: int) -> Credential:
        """The password of (app, service, generation). Pure derivation, no I/O."""
        ...


class Provider(Protocol[D, O, A]):
    """One backing service. Each verb has one direction of I/O.

    Constructing one does no I/O; the connection opens at the first verb that needs it and opens
    again by itself after a fault. `observe`, `apply`, `prove` and `check` translate driver errors;
    they raise Unavailable when the endpoint as a whole does not answer.
    """

    key: str  # under services: and in every output
    title: str  # for people: "PostgreSQL"
    condition: str  # "DatabaseReady"

    async def connect(self) -> None:
        """Open what is kept open, ahead of the first request. Any fault may be raised; the next
        request tries anew."""
        ...

    def desired(self, app: App, credential: Credential) -> D:
        """What this service must hold for this app; the empty state without a section. Pure."""
        ...

    async def observe(
        self, wanted: Mapping[AppName, Wanted[D]]
    ) -> Mapping[AppName, O | ServiceError]:
        """What the service holds of each app's desired and owned objects, and of anything else that
        bears the app's name (leftover grants). A fixed number of requests, however many apps."""
        ...

    def plan(self, wanted: Wanted[D], observed: O) -> Plan[A]:
        """Actions ordered by phase; deterministic; empty = converged. Pure."""
        ...

    async def apply(
        self, plans: Mapping[AppName, tuple[A, ...]], fence: Fence
    ) -> Mapping[AppName, Applied]:
        """Do the actions, phase by phase across the batch, in as few requests as the service
        allows. A fault of one app ends that app's actions only. LeaseLost passes through."""
        ...

    def confirm(self, wanted: Wanted[D], observed: O, done: Sequence[A]) -> Owned:
        """The inventory rows as they should be now, from what is seen: claimed and present → owned
        with its id; no longer wanted and access gone → retained, or left out when nothing of it
        remains. `done`: actions acknowledged in this round. Pure; equal to wanted.owned when
        nothing moved."""
        ...

    def adoptable(self, wanted: Wanted[D], observed: O) -> Owned:
        """The rows that adoption would write (origin adopted) for the desired objects that exist
        on the server and are not owned. Pure."""
        ...

    def recoverable(self, wanted: Wanted[D], observed: O, proven: bool) -> Owned:
        """The rows that norn_db has lost: desired objects that exist, have no row, and are norn's
        by what the server says of them. proven: the user has a password that only norn can derive;
        it is of origin made then. All else is adopted, so that norn never drops it. Pure."""
        ...

    async def fits(
        self, app: App, observed: O, credentials: Sequence[Credential]
    ) -> Credential | None:
        """The first of `credentials` that the server has as the app's password; None when it has
        another one, or no such user. Writes nothing. Raises ServiceError when nobody can tell: no
        answer, no room, or a server that takes any password."""
        ...

    async def marked(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        """What bears norn's mark on the server, by app, whatever norn_db says of it. Raises
        ServiceError."""
        ...

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        """What the service holds that could be an app's, for `norn import`. Left out: what is
        norn's (held: its inventory here), the server's own, and its administrators. A fixed number
        of requests that only read, none of them inside an app's place. Raises ServiceError."""
        ...

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        """The variables that the app is given for this service, secrets in clear. Pure."""
        ...

    async def prove(self, app: App, credential: Credential) -> Proof:
        """Log in as the app with the very values that `env` delivers; its own place works."""
        ...

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        """Try, as the app, what must be refused: a wrong password, the place of `neighbour`
        (another app that has this section; None: there is none), and writes where it only reads.
        ok when all of it was. Raises ServiceError when nobody can tell."""
        ...

    async def check(self) -> Health:
        """One cheap round trip, for `norn health`. Never raises for a fault of the service."""
        ...

    async def diagnose(self) -> Health:
        """For `norn doctor`: versions, missing admin rights with the exact GRANT as remedy, that a
        wrong password is refused, authorisation, persistence, published default passwords."""
        ...

    async def end_sessions(self, instance: str) -> int:
        """A new leader, before its first write: end what a former one of that name may still have
        under way. Returns how many sessions were ended."""
        ...

    def forget(self, app: AppName) -> None:
        """norn_db has forgotten `app`: so does whoever remembers it between two looks. No I/O."""
        ...

    async def close(self) -> None: ...


AnyProvider = Provider[object, object, Action]
