"""Plans of many apps, done together: one request for the users, one to save them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from valkey.exceptions import ResponseError

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Rejected, ServiceError
from norn_reconciler.model.outcome import Applied
from norn_reconciler.model.plan import Step
from norn_reconciler.model.ports import Fence
from norn_reconciler.providers.kv.actions import (
    DeleteUser,
    DisableUser,
    EndSessions,
    KvAction,
    SaveUsers,
    SetUser,
)
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.faults import words
from norn_reconciler.providers.kv.observe import WHERE_SAVED, persistence
from norn_reconciler.providers.kv.rules import modifiers
from norn_reconciler.providers.kv.session import Command, Reply
from norn_reconciler.providers.kv.state import SERVICE, Persistence

_SAVE: Mapping[Persistence, Command] = {
    Persistence.ACLFILE: ("ACL", "SAVE"),
    Persistence.CONFIG: ("CONFIG", "REWRITE"),
}
_REMEDY: Mapping[Persistence, str] = {
    Persistence.ACLFILE: "let the server write to the folder of its aclfile, and mount that folder "
    "whole: the file is replaced, so a mount of the file alone fails",
    Persistence.CONFIG: "let the server write to its configuration file",
}
_NO_SUCH_USER = "No such user"
_UNKNOWN_COMMAND = "Unknown command or category"


async def apply(
    client: KvClient, plans: Mapping[AppName, tuple[KvAction, ...]], fence: Fence
) -> Mapping[AppName, Applied]:
    """Do the plans. A refused command ends that app's plan only.

    Sessions end in the same request that changes the rules: nothing can come between them. What is
    not saved or not ended by an error is remembered, so that the next plan holds it. Raises
    Unavailable when the first request as a whole failed, LeaseLost before any of the two is sent.
    """
    batch = _Batch(plans)
    where = await _persistence(client)
    if commands := batch.commands():
        fence.check()
        _remember(client, batch, where)
        batch.hear(await client.ask(commands), client)
        if batch.unknown_command:
            await client.forget_features()
    client.unended -= batch.acknowledged(EndSessions, DeleteUser, DisableUser)
    changed = batch.acknowledged(SetUser, DeleteUser, DisableUser, SaveUsers)
    if changed and where.durable:
        fence.check()
        await _save(client, where, batch, changed)
    return batch.applied()


class _Batch:
    """The actions of all apps by phase, and what became of them."""

    def __init__(self, plans: Mapping[AppName, tuple[KvAction, ...]]) -> None:
        self._plans = plans
        pairs = [(app, action) for app, actions in plans.items() for action in actions]
        self._order = sorted(pairs, key=lambda pair: pair[1].phase)
        self._refused: dict[AppName, tuple[KvAction, ServiceError]] = {}
        self._unsaved: dict[AppName, ServiceError] = {}
        self._began = time.monotonic()
        self.unknown_command = False

    def commands(self) -> list[Command]:
        return [command for _, action in self._order for command in _commands(action)]

    def about(self, *kinds: type[KvAction]) -> set[AppName]:
        return {app for app, action in self._order if isinstance(action, kinds)}

    def hear(self, replies: Sequence[Reply], client: KvClient) -> None:
        """The replies to `commands`, in its order."""
        rest = iter(replies)
        for app, action in self._order:
            # Every reply is taken, whatever the ones before it said.
            refusals = [r for _ in _commands(action) if _refusal(r := next(rest), action)]
            if refusals and app not in self._refused:
                self._refused[app] = (action, client.fault(refusals[0], action.name))
                self.unknown_command |= _UNKNOWN_COMMAND in str(refusals[0])

    def done(self, app: AppName) -> tuple[KvAction, ...]:
        """The acknowledged actions, up to the first one that was not."""
        ended = self._refused.get(app)
        done: list[KvAction] = []
        for action in self._plans[app]:
            if ended is not None and action == ended[0]:
                break
            if not (app in self._unsaved and isinstance(action, SaveUsers)):
                done.append(action)
        return tuple(done)

    def acknowledged(self, *kinds: type[KvAction]) -> set[AppName]:
        return {app for app in self._plans if any(isinstance(a, kinds) for a in self.done(app))}

    def not_saved(self, app: AppName, fault: ServiceError) -> None:
        self._unsaved[app] = fault

    def applied(self) -> Mapping[AppName, Applied]:
        return {app: self._applied(app) for app in self._plans}

    def _applied(self, app: AppName) -> Applied:
        took = int((time.monotonic() - self._began) * 1000)  # of the batch: it was one request
        done = self.done(app)
        refused = self._refused.get(app)
        steps = [Step(action.summary(), "ok", took) for action in done]
        if refused is not None:
            steps.append(Step(refused[0].summary(), "failed", took, str(refused[1])))
        error = refused[1] if refused is not None else None
        if (unsaved := self._unsaved.get(app)) is not None:
            steps.append(Step("save the ACL users", "failed", took, str(unsaved)))
            error = error or unsaved
        return Applied(done, tuple(steps), error)


def _commands(action: KvAction) -> tuple[Command, ...]:
    user = action.name
    match action:
        case SetUser():
            return (("ACL", "SETUSER", user, *modifiers(action.rules)),)
        case EndSessions():
            return (("CLIENT", "KILL", "USER", user),)
        case DisableUser():
            return (("ACL", "SETUSER", user, "off"), ("CLIENT", "KILL", "USER", user))
        case DeleteUser():
            # Without rights and password first: no session can begin or do anything in between.
            return (
                ("ACL", "SETUSER", user, "reset"),
                ("CLIENT", "KILL", "USER", user),
                ("ACL", "DELUSER", user),
            )
        case _:
            return ()


def _refusal(reply: Reply, action: KvAction) -> bool:
    ended = isinstance(action, EndSessions) and _NO_SUCH_USER in str(reply)
    return isinstance(reply, ResponseError) and not ended


def _remember(client: KvClient, batch: _Batch, where: Persistence) -> None:
    """Before the request: what it starts is owed until it is acknowledged."""
    client.unended |= batch.about(EndSessions)
    if where.durable:
        client.unsaved |= batch.about(SetUser, DeleteUser, DisableUser)


async def _persistence(client: KvClient) -> Persistence:
    if client.persistence is None:
        client.persistence = persistence(await client.ask(WHERE_SAVED), client.config_rewrite)
    return client.persistence


async def _save(client: KvClient, where: Persistence, batch: _Batch, changed: set[AppName]) -> None:
    fault: ServiceError
    try:
        (reply,) = await client.ask((_SAVE[where],))
    except ServiceError as lost:
        if not batch.commands():
            raise
        fault = lost
    else:
        if not isinstance(reply, ResponseError):
            client.unsaved.clear()  # it saves all users, whoever changed them
            return
        fault = client.fault(reply)
        if isinstance(fault, Rejected):
            text = f"the ACL users are changed, but not saved: {words(reply)}"
            fault = Rejected(SERVICE, text, remedy=_REMEDY[where])
    for app in changed:
        batch.not_saved(app, fault)
