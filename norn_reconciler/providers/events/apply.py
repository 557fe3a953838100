"""Plans of many apps, done together: phase by phase across the batch, few requests a phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Rejected, ServiceError
from norn_reconciler.model.outcome import Applied
from norn_reconciler.model.plan import Step
from norn_reconciler.model.ports import Fence
from norn_reconciler.providers.events import write
from norn_reconciler.providers.events.actions import EventsAction, Phase, SetPassword
from norn_reconciler.providers.events.chunks import chunks
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.state import SERVICE
from norn_reconciler.providers.events.visible import Expected, until_visible

if TYPE_CHECKING:
    from norn_reconciler.providers.events.wire import Upsert

VISIBLE_WITHIN = 30.0  # seconds; after a batch of 1,000 topics 8 were seen

_Item = tuple[AppName, EventsAction]


async def apply(
    client: EventsClient,
    plans: Mapping[AppName, tuple[EventsAction, ...]],
    fence: Fence,
    visible_within: float = VISIBLE_WITHIN,
) -> Mapping[AppName, Applied]:
    """Do the plans and wait until they show. An app that fails is left out of later phases.

    A fault of the endpoint ends the batch: apps with something left to do carry it as their error;
    when nothing was done yet it is raised. LeaseLost passes through.
    """
    batch = _Batch(client, fence, plans)
    hashing = asyncio.create_task(write.salted(batch.passwords()))
    try:
        for phase in Phase:
            await batch.run(phase, hashing)
        await batch.settle(visible_within)
    except ServiceError as error:
        if not batch.any_done():
            raise
        batch.fail_rest(error)
    finally:
        hashing.cancel()
        await asyncio.gather(hashing, return_exceptions=True)
    return batch.applied()


class _Batch:
    def __init__(
        self,
        client: EventsClient,
        fence: Fence,
        plans: Mapping[AppName, tuple[EventsAction, ...]],
    ) -> None:
        self._client = client
        self._fence = fence
        self._plans = plans
        self._done: dict[AppName, list[EventsAction]] = {app: [] for app in plans}
        self._steps: dict[AppName, list[Step]] = {app: [] for app in plans}
        self._errors: dict[AppName, ServiceError] = {}

    def passwords(self) -> dict[str, Any]:
        return {
            action.name: action.credential.password
            for actions in self._plans.values()
            for action in actions
            if isinstance(action, SetPassword)
        }

    async def run(self, phase: Phase, hashing: asyncio.Task[dict[str, Upsert]]) -> None:
        items: list[_Item] = [
            (app, action)
            for app, actions in self._plans.items()
            if app not in self._errors
            for action in actions
            if action.phase == phase
        ]
        for chunk in chunks(items, lambda item: write.records(item[1])):
            send = _SENDERS[phase]
            upserts = await hashing if phase is Phase.USER else {}
            self._fence.check()
            started = time.monotonic()
            errors = await send(self._client, [action for _, action in chunk], upserts)
            self._note(chunk, errors, int((time.monotonic() - started) * 1000))

    def _note(self, chunk: Sequence[_Item], errors: write.Errors, took_ms: int) -> None:
        for (app, action), error in zip(chunk, errors, strict=True):
            if error is None:
                self._done[app].append(action)
            else:
                self._errors.setdefault(app, error)
            self._steps[app].append(_step(action, error, took_ms))

    async def settle(self, seconds: float) -> None:
        """Wait until all that was acknowledged shows; what does not is its app's error."""
        expected = Expected.after(a for actions in self._done.values() for a in actions)
        await until_visible(self._client, expected, seconds)
        if not expected:
            return
        for app, actions in self._done.items():
            missing = Expected.after(actions).still(expected)
            if missing:
                late = Rejected(
                    SERVICE,
                    f"acknowledged, and not visible after {seconds:.0f} s: {missing.words()}",
                )
                self._errors.setdefault(app, late)

    def any_done(self) -> bool:
        return any(self._done.values())

    def fail_rest(self, error: ServiceError) -> None:
        for app in self._plans:
            self._errors.setdefault(app, error)

    def applied(self) -> dict[AppName, Applied]:
        return {
            app: Applied(tuple(self._done[app]), tuple(self._steps[app]), self._errors.get(app))
            for app in self._plans
        }


def _step(action: EventsAction, error: ServiceError | None, took_ms: int) -> Step:
    if error is None:
        return Step(action.summary(), "ok", took_ms)
    return Step(action.summary(), "failed", took_ms, str(error))


_Sender = Callable[[EventsClient, Sequence[Any], Mapping[str, "Upsert"]], Awaitable[write.Errors]]

_SENDERS: Mapping[Phase, _Sender] = {
    Phase.REVOKE: lambda client, actions, _: write.delete_acls(client, actions),
    Phase.DROP_USER: write.alter_users,
    Phase.CREATE_TOPIC: lambda client, actions, _: write.create_topics(client, actions),
    Phase.GROW_TOPIC: lambda client, actions, _: write.grow_partitions(client, actions),
    Phase.ALTER_TOPIC: lambda client, actions, _: write.alter_configs(client, actions),
    Phase.USER: write.alter_users,
    Phase.GRANT: lambda client, actions, _: write.create_acls(client, actions),
}
