"""A whole service, store and delivery in memory: for what no real server can be made to do on cue
(a fault at one exact step). What real servers do is tested on real servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from norn_reconciler.model.app import App, AppName, Claim, DeletionText
from norn_reconciler.model.errors import ServiceError, StoreUnavailable
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Held, HeldState, ObjectKey, Owned
from norn_reconciler.model.outcome import NEIGHBOUR_OPEN, WRONG_PASSWORD, Applied, Health, Proof
from norn_reconciler.model.plan import Action, Effect, Plan, Problem, Severity, Step, Wanted
from norn_reconciler.model.records import Changes, Generation, Operation, Snapshot
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class Box:
    """A section: the names of boxes that an app wants, and who may look into them."""

    names: tuple[str, ...]
    readers: tuple[str, ...] = ()
    deletion: DeletionText | None = None

    def claims(self, app: AppName) -> frozenset[Claim]:
        return frozenset(Claim("box", name) for name in self.names)

    def formerly(self, app: AppName) -> frozenset[Claim]:
        return frozenset()

    def shares(self) -> Mapping[AppName, frozenset[ObjectKey]]:
        return {AppName(r): frozenset(("box", name) for name in self.names) for r in self.readers}

    @staticmethod
    def passes(held: Held, renamed: bool) -> bool:
        return False

    @staticmethod
    def held(app: AppName, held: Held) -> frozenset[Claim]:
        return frozenset({Claim("box", held.name)})


@dataclass(frozen=True, slots=True)
class Make(Action):
    verb: ClassVar[str] = "create"
    phase: ClassVar[int] = 1
    effect: ClassVar[Effect] = Effect.CREATE
    sets_credential: ClassVar[bool] = True

    def summary(self) -> str:
        return f"MAKE {self.name}"


@dataclass(frozen=True, slots=True)
class Repair(Action):
    verb: ClassVar[str] = "alter"
    phase: ClassVar[int] = 2

    def summary(self) -> str:
        return f"REPAIR {self.name}"

    @property
    def expected(self) -> str:
        return "whole"

    @property
    def found(self) -> str:
        return "bent"


@dataclass(frozen=True, slots=True)
class Take(Action):
    verb: ClassVar[str] = "revoke"
    phase: ClassVar[int] = 0
    effect: ClassVar[Effect] = Effect.REMOVAL
    destructive: ClassVar[bool] = True

    def summary(self) -> str:
        return f"TAKE {self.name}"


@dataclass
class Boxes:
    """A service that holds boxes: name → "whole", "bent", "closed" or "for all"."""

    key: str = "box"
    title: str = "Boxes"
    condition: str = "BoxesReady"
    server: dict[str, str] = field(default_factory=dict)
    down: ServiceError | None = None
    neighbours: list[str | None] = field(default_factory=list)
    open: str = ""  # what a trespasser found, in words
    silent: ServiceError | None = None
    unsure: ServiceError | None = None  # why it cannot be told which password is set
    poisoned: Mapping[str, ServiceError] = field(default_factory=dict)
    proof: bool = True
    passwords: dict[str, int] = field(default_factory=dict)  # app → generation that is set
    tried: list[tuple[str, list[int]]] = field(default_factory=list)
    witnessed: set[str] = field(default_factory=set)  # apps that bear norn's mark
    marks: dict[AppName, frozenset] = field(default_factory=dict)
    observations: list[frozenset[str]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def desired(self, app: App, credential: Credential) -> tuple[str, ...]:
        section = app.sections.get(self.key)
        return section.names if isinstance(section, Box) else ()

    async def observe(self, wanted: Mapping[AppName, Wanted[tuple[str, ...]]]):
        if self.down:
            raise self.down
        self.observations.append(frozenset(wanted))
        return {app: dict(self.server) for app in wanted}

    def plan(self, wanted: Wanted[tuple[str, ...]], observed: Mapping[str, str]) -> Plan[Action]:
        actions: list[Action] = []
        problems: list[Problem] = []
        for name in wanted.desired:
            key = ("box", name)
            held = wanted.owned.get(key)
            if name not in observed:
                if held and held.state is HeldState.OWNED:
                    gone = Problem(Severity.BLOCKING, "DataMissing", f"{name} is gone", "", key)
                    problems.append(gone)
                else:
                    actions.append(Make(*key))
            elif held is None:
                problems.append(Problem(Severity.BLOCKING, "Conflict", f"{name} is not ours"))
            elif observed[name] == "for all":
                text = f"{name} is everybody's"
                problems.append(Problem(Severity.BLOCKING, "OpenToAll", text, opens=True))
            elif observed[name] != "whole":
                actions.append(Repair(*key))
        for (kind, name), _ in sorted(wanted.owned.items()):
            if name not in wanted.desired and observed.get(name, "closed") != "closed":
                actions.append(Take(kind, name))
        return Plan(tuple(sorted(actions, key=lambda a: a.phase)), tuple(problems))

    async def apply(self, plans, fence):
        result = {}
        for app, actions in plans.items():
            if app in self.poisoned:
                result[app] = Applied(error=self.poisoned[app])
                continue
            for action in actions:
                fence.check()
                self.server[action.name] = "closed" if isinstance(action, Take) else "whole"
                self.writes.append(action.summary())
            steps = tuple(Step(a.summary(), "ok", 1) for a in actions)
            result[app] = Applied(tuple(actions), steps)
        return result

    def confirm(self, wanted, observed, done: Sequence[Action]) -> Owned:
        rows = {}
        for key, held in wanted.owned.items():
            name = key[1]
            state = HeldState.OWNED if name in observed else held.state
            if name not in wanted.desired and observed.get(name) == "closed":
                state = HeldState.RETAINED
            rows[key] = Held("box", name, state)
        return rows

    def adoptable(self, wanted, observed) -> Owned:
        return {
            ("box", n): Held("box", n)
            for n in wanted.desired
            if n in observed and ("box", n) not in wanted.owned
        }

    def recoverable(self, wanted, observed, proven: bool) -> Owned:
        """Any box whose app has a password that is norn's, or a witness."""
        return self.adoptable(wanted, observed) if proven or wanted.app in self.witnessed else {}

    async def fits(self, app: App, observed, credentials: Sequence[Credential]):
        if self.unsure is not None:
            raise self.unsure
        stored = self.passwords.get(app.name)
        self.tried.append((app.name, [c.mark.generation for c in credentials]))
        return next((c for c in credentials if c.mark.generation == stored), None)

    async def marked(self):
        return self.marks

    async def survey(self, held: Mapping[AppName, Owned]) -> Sequence[Found]:
        if self.down:
            raise self.down
        ours = {name for owned in held.values() for _, name in owned}
        return [Found(name, {"names": [name]}) for name in sorted(self.server) if name not in ours]

    def env(self, app: App, credential: Credential) -> Mapping[str, str]:
        return {"BOX": app.name}

    async def prove(self, app: App, credential: Credential) -> Proof:
        wrong = ("wrong password", WRONG_PASSWORD)
        return Proof(self.proof, 1.0, *(("", "") if self.proof else wrong))

    async def trespass(self, app: App, credential: Credential, neighbour: App | None) -> Proof:
        self.neighbours.append(neighbour.name if neighbour else None)
        if self.silent is not None:
            raise self.silent
        return Proof(not self.open, 1.0, self.open, NEIGHBOUR_OPEN if self.open else "")

    async def check(self) -> Health:
        return Health(self.key, True, 1.0, "")

    async def diagnose(self) -> Health:
        return Health(self.key, True, 1.0, "")

    async def end_sessions(self, instance: str) -> int:
        return 0

    def forget(self, app: AppName) -> None:
        self.forgotten.append(app)

    async def close(self) -> None:
        return None


@dataclass
class MemoryStore:
    """norn_db's contract in memory; `away` makes it not answer."""

    changes: list[Changes] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    found: list[Event] = field(default_factory=list)  # events that came with a claim
    operations: dict[int, Operation] = field(default_factory=dict)
    away: bool = False

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("norn_db does not answer")

    async def snapshot(self) -> Snapshot:
        self._answer()
        return Snapshot()

    async def claim(self, epoch, service, rows, events=()) -> None:
        if not rows and not events:
            return
        self._answer()
        self.claims += [f"{app}:{name}" for app, r in rows.items() for _, name in r]
        self.found += events

    async def record(self, epoch: int, changes: Changes) -> None:
        if changes:
            self._answer()
            self.changes.append(changes)

    async def pending_operations(self) -> Sequence[Operation]:
        self._answer()
        return [o for o in self.operations.values() if o.state in {"queued", "running"}]

    async def update_operation(self, epoch: int, operation: Operation) -> None:
        self._answer()
        self.operations[operation.id] = operation

    async def request(self, operation: Operation) -> int:
        self._answer()
        number = max(self.operations, default=0) + 1
        self.operations[number] = replace(operation, id=number)
        return number

    async def operation(self, id: int) -> Operation | None:
        self._answer()
        return self.operations.get(id)

    async def destroyed(self, seconds: float) -> tuple[frozenset[AppName], frozenset[str]]:
        told = [e for c in self.changes for e in c.events if e.event == "object.destroyed"]
        done = [o for o in self.operations.values() if o.kind == "confirm" and o.state == "done"]
        return frozenset(e.app for e in told if e.app), frozenset(o.digest or "" for o in done)

    async def generations(self, app: AppName) -> Sequence[Generation]:
        """Every one that was ever written."""
        self._answer()
        rows = [r for c in self.changes for r in c.apps if r.app == app]
        found = {r.generation: Generation(r.generation, r.spec.canonical) for r in rows}
        return [found[number] for number in sorted(found, reverse=True)]

    def events(self) -> list[str]:
        return [e.event for e in (*self.found, *(e for c in self.changes for e in c.events))]


@dataclass
class MemoryDelivery:
    delivered: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)  # apps whose file says something else

    calls: list[str] = field(default_factory=list)

    def deliver(self, app: App, passwords: object) -> bool:
        self.calls.append(app.name)
        new = app.name not in self.delivered
        self.delivered.add(app.name)
        return new

    def agrees(self, app: App, passwords: object) -> bool:
        return app.name not in self.other

    def withdraw(self, app: AppName) -> bool:
        here = app in self.delivered
        self.delivered.discard(app)
        return here


class Secrets:
    def credential(self, app: AppName, service: str, generation: int) -> Credential:
        return Credential(Secret(f"{app}/{service}"), CredentialMark("f" * 8, generation))


class OpenFence:
    def check(self) -> None:
        return None
