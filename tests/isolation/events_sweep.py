"""Plays attempts as one user and judges each: by what it was answered, by what the reply holds, and
by what an administrator sees afterwards."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.events_attempt import DENIED, MASKED, Attempt
from tests.isolation.events_clients import NOTE, SECRET
from tests.isolation.events_session import Exchange, Refused, Session
from tests.isolation.events_stage import Stage
from tests.isolation.events_witness import Witness

# What the controller does shows to an administrator a little after it was acknowledged.
_BY_CONTROLLER = frozenset(
    {
        "AlterClientQuotas", "AlterConfigs", "AlterPartitionReassignments",
        "AlterUserScramCredentials", "CreateAcls", "CreateDelegationToken", "CreatePartitions",
        "CreateTopics", "DeleteAcls", "DeleteTopics", "ElectLeaders", "IncrementalAlterConfigs",
        "Metadata", "UpdateFeatures",
    }
)  # fmt: skip
_LOOKS, _PAUSE = 3, 0.01
_HUNG_UP = -99
_CODES = {"ErrorCode", "PartitionErrorCode"}
# What has to be put right before the next attempt; the rest is taken as it is.
_RUNNING = frozenset({"groups", "modern group", "classic member", "modern member", "transaction"})
_OBJECTS = frozenset({"topics", "ACLs of B", "ACLs of everybody", "settings", "users", "quotas"})


@dataclass(frozen=True)
class Leak:
    """kind: "answered", "shows …" or "changed …"."""

    api: str
    what: str
    version: int
    kind: str

    def __str__(self) -> str:
        return f"{self.api} v{self.version}: {self.what}: {self.kind}"


@dataclass
class Tally:
    tried: int = 0
    refused: int = 0
    allowed: int = 0
    leaking: int = 0
    leaks: list[Leak] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    apis: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"tried {self.tried} refused {self.refused} allowed {self.allowed} "
            f"leaks {self.leaking} broken {len(self.broken)}"
        )

    def let_through(self) -> set[str]:
        """The attempts that leaked, as their names."""
        return {f"{leak.api}: {leak.what}" for leak in self.leaks}

    def kinds(self) -> set[tuple[str, str]]:
        return {(leak.api, leak.kind) for leak in self.leaks}


def marks(stage: Stage) -> dict[str, bytes]:
    """What nobody but B should be told: label → the bytes of it in a reply."""
    life = stage.life
    names = {
        "topic": stage.topic, "prefixed topic": stage.jobs, "group": life.group,
        "idle group": life.idle_group, "KIP-848 group": life.modern_group, "note": NOTE,
        "member": life.member, "KIP-848 member": life.modern_member,
        "client": f"client-of-{stage.b}", "admin": stage.broker.username,
    }  # fmt: skip
    ids = {f"id of {name}": stage.topic_ids[name].bytes for name in stage.topics}
    return {"record": SECRET} | {k: v.encode() for k, v in names.items()} | ids


def codes(body: Any, names: frozenset[object] = frozenset()) -> Iterator[tuple[frozenset, int]]:
    """Every error code of a reply with the names that stand around it."""
    if isinstance(body, list):
        for one in body:
            yield from codes(one, names)
    elif isinstance(body, dict):
        here = names | {v for v in body.values() if isinstance(v, str | uuid.UUID)}
        for key, value in body.items():
            if key in _CODES:
                yield here, value
            else:
                yield from codes(value, here)


def answers(stage: Stage, exchange: Exchange) -> list[int]:
    """The codes that answer for what was asked of others; all of them where none is named."""
    own = {stage.a, stage.own_topic, stage.topic_ids[stage.own_topic], ""}
    found = list(codes(exchange.body))
    asked = [
        code for names, code in found
        if any(_bytes(name) in exchange.sent for name in names - own)
    ]  # fmt: skip
    return asked or [code for _, code in found]


def _bytes(name: object) -> bytes:
    return name.bytes if isinstance(name, uuid.UUID) else str(name).encode()


def shown(stage: Stage, exchange: Exchange) -> list[str]:
    """Labels of what a reply tells of B beyond what was asked by name."""
    told = exchange.received
    return [
        label for label, mark in marks(stage).items() if mark in told and mark not in exchange.sent
    ]


class Sweep:
    """opened: logs in as the attacker. newest: only the newest version of each request is tried,
    else all that both sides know."""

    def __init__(
        self, stage: Stage, opened: Callable[[], Session], *, newest: bool = False
    ) -> None:
        self.stage = stage
        self._newest = newest
        self.tally = Tally()
        self._opened = opened
        self._session = opened()
        self._witness = Witness(stage)
        self._before = self._witness.seen()

    def play(self, attempts: Iterable[Attempt]) -> Tally:
        for attempt in attempts:
            known = self._session.versions.get(attempt.api, ())
            fitting = [v for v in known if attempt.since <= v <= attempt.until]
            for version in fitting[-1:] if self._newest else fitting:
                self._try(attempt, version, last=version == fitting[-1])
        return self.tally

    def _try(self, attempt: Attempt, version: int, *, last: bool) -> None:
        """last: of the attempt's versions; the whole state is looked at then."""
        tally = self.tally
        tally.tried += 1
        tally.apis.add(attempt.api)
        kinds, found = self._send(attempt, version)
        late = attempt.api in _BY_CONTROLLER and not set(found) <= DENIED
        changed = self._changed(patient=late, wide=last)
        kinds += [f"changed {label}" for label in sorted(changed)]
        expected = DENIED | MASKED | attempt.codes
        if kinds:
            tally.leaking += 1
            tally.leaks += [Leak(attempt.api, attempt.what, version, kind) for kind in kinds]
        elif attempt.lists and not set(found) - {0}:
            tally.allowed += 1
        elif found and set(found) <= expected:
            tally.refused += 1
        else:
            tally.broken.append(f"{attempt} v{version}: codes {sorted(set(found))}")
        if changed & (_RUNNING | _OBJECTS):
            self.stage.restore(objects=bool(changed & _OBJECTS))
        if changed:
            self._before = self._witness.seen()

    def _send(self, attempt: Attempt, version: int) -> tuple[list[str], list[int]]:
        """The kinds of leak that the reply shows, and its codes."""
        try:
            exchange = self._session.exchange(attempt.api, attempt.body(self.stage), version)
        except Refused:
            self._session.close()
            self._session = self._opened()
            return [], [_HUNG_UP]
        kinds = [f"shows {label}" for label in shown(self.stage, exchange)]
        found = answers(self.stage, exchange)
        if 0 in found and not attempt.lists:
            kinds.append("answered")
        return kinds, found

    def _changed(self, *, patient: bool, wide: bool) -> frozenset[str]:
        """Labels of what is not as it was. patient: look more than once."""
        for _ in range(1 + _LOOKS * patient):
            after = self._witness.seen(wide=wide)
            changed = frozenset(key for key in after if after[key] != self._before[key])
            if changed:
                break
            time.sleep(_PAUSE * patient)
        return changed
