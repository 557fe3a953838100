"""Plays attempts as A and judges each: by what was answered, by what the reply holds, by B's work
going on, and by what the administrator sees afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.kv_attempts import Attempt
from tests.isolation.kv_grammar import Live
from tests.isolation.kv_stage import A, B, Stage
from tests.isolation.kv_wire import Command, Fault, Push, Wire, encoded
from tests.isolation.kv_witness import LASTING, Witness

REFUSED = (b"NOPERM", b"ACL failure in script", b"denied due to insufficient ACL")
# Errors that only somebody who was let through to the key can get.
TELLING = (b"WRONGTYPE", b"NOGROUP", b"BUSYGROUP", b"ERR no such key", b"BUSYKEY")
# Take what is B's by name, and do nothing with it but give up one's own.
HARMLESS = frozenset({"unsubscribe", "sunsubscribe"})
# Done at the server's next tick, ten times a second, where it cannot be done at once.
LATE = frozenset({"bgsave", "bgrewriteaof"})
LONG = 0.2  # seconds; CLIENT PAUSE is tried with 0.3


@dataclass(frozen=True, slots=True)
class Leak:
    """kind: "shows …", "changed …", "answered", "B …"."""

    attempt: Attempt
    kind: str

    def __str__(self) -> str:
        return f"{self.attempt}: {self.kind}"


@dataclass
class Tally:
    """leaking: attempts with at least one leak; they count as allowed or error as well. outcomes:
    per command. refused_aims: commands that were refused a key or a channel of B's."""

    tried: int = 0
    refused: int = 0
    allowed: int = 0
    errors: int = 0
    leaking: int = 0
    leaks: list[Leak] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    refused_aims: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"commands {len(self.outcomes)} tried {self.tried} refused {self.refused} "
            f"allowed {self.allowed} errors {self.errors} leaks {self.leaking} "
            f"broken {len(self.broken)}"
        )

    def count(self, attempt: Attempt, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.outcomes.setdefault(attempt.name, Counter())[outcome] += 1

    def leaking_commands(self) -> set[str]:
        return {leak.attempt.name for leak in self.leaks}


@dataclass
class Heard:
    """replies: one for each command, or fewer. received: every byte, pushes included. lost: why the
    rest never came."""

    sent: bytes
    replies: list[Any] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    received: bytes = b""
    lost: str = ""

    @property
    def fault(self) -> Fault | None:
        """The first error, one within EXEC's reply included."""
        last = self.replies[-1] if self.replies else None
        flat = [*self.replies, *(last if isinstance(last, list) else ())]
        return next((reply for reply in flat if isinstance(reply, Fault)), None)


class Sweep:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tally = Tally()
        self._marks = {what: word.encode() for what, word in stage.secrets.items()}
        self._marks |= {"name": B.encode()}
        self._witness = Witness(stage)
        self._steady = self._before = self._witness.seen()
        self._wire: Wire | None = None
        self._number = 0

    def play(self, attempts: Iterable[Attempt]) -> Tally:
        for attempt in attempts:
            self._try(attempt)
        self._hang_up()
        return self.tally

    def _try(self, attempt: Attempt) -> None:
        tally = self.tally
        tally.tried += 1
        if attempt.fatal and self._would(attempt):
            tally.count(attempt, "allowed")
            tally.leaking += 1
            tally.leaks.append(Leak(attempt, "would end the server"))
            return
        heard, suffered = self._attack(attempt)
        kinds = [suffered] if suffered else []
        if attempt.alone:
            self._listen_on(heard)
        kinds += self._judge(attempt, heard)
        if attempt.name in LATE and heard.fault is None:
            time.sleep(0.15)
        kinds += self._changes()
        if not (kinds or heard.replies or heard.pushes or attempt.silent):
            tally.broken.append(f"{attempt}: {heard.lost}")
        if attempt.alone or heard.lost:
            self._hang_up()
        if kinds:
            tally.leaking += 1
            tally.leaks += [Leak(attempt, kind) for kind in kinds]
        if any(not kind.startswith(("shows", "answered", "tells")) for kind in kinds):
            self._restore()

    def _would(self, attempt: Attempt) -> bool:
        """Whether it is let through, by the server's own word; what is not is tried in earnest."""
        return bool(self.stage.admin.ask("ACL", "DRYRUN", A, *attempt.words) == b"OK")

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def _attack(self, attempt: Attempt) -> tuple[Heard, str]:
        """What A heard, and what B had to suffer."""
        commands = self._resolved(attempt)
        began = time.monotonic()
        heard = self._send(attempt, commands)
        suffered = self._work()
        if not suffered and time.monotonic() - began > LONG and self._holds_up(commands):
            suffered = "B has to wait"
        return heard, suffered

    def _holds_up(self, commands: list[Command]) -> bool:
        """Whether B waits, not A alone: while A does, and each time, unlike on a busy machine."""
        for _ in range(2):
            wire = self.stage.open(A)
            wire.send(*commands)
            time.sleep(0.01)
            began = time.monotonic()
            self._work()
            wire.close()
            if time.monotonic() - began < LONG:
                return False
        return True

    def _work(self) -> str:
        self._number += 1
        return self.stage.work(self._number)

    def _resolved(self, attempt: Attempt) -> list[Command]:
        live = self.stage.live
        return [
            tuple(live[word.name] if isinstance(word, Live) else word for word in command)
            for command in attempt.commands
        ]

    def _send(self, attempt: Attempt, commands: list[Command]) -> Heard:
        self._wire = wire = self._wire or self.stage.open(A)
        self._number += 1
        mark = f"end {self._number}"
        heard = Heard(encoded(*commands))
        wire.forget()
        if attempt.silent:
            wire.patience(0.1)
        try:
            wire.send(*commands, ("PING", mark))
            while len(heard.replies) <= len(commands):
                frame = wire.read()
                if frame == mark.encode():
                    break
                (heard.pushes if isinstance(frame, Push) else heard.replies).append(frame)
        except TimeoutError:
            heard.lost = "no answer"
        except ConnectionError:
            heard.lost = "hung up"
        del heard.replies[len(commands) :]
        heard.received = wire.heard
        return heard

    def _listen_on(self, heard: Heard) -> None:
        """What reaches A later, of the work that B has done meanwhile."""
        wire = self._wire
        if wire is None or heard.lost == "hung up":
            return
        wire.patience(0.1 if heard.lost else 2.0)
        try:
            wire.send(("PING", "last"))
            while wire.read() not in (b"last", b"QUEUED") and b"NOAUTH" not in wire.heard:
                pass
        except (TimeoutError, ConnectionError):
            pass
        heard.received += wire.heard

    def _judge(self, attempt: Attempt, heard: Heard) -> list[str]:
        """Count it, and name what A learned."""
        fault = heard.fault
        if fault is not None and any(known in fault for known in REFUSED):
            self.tally.count(attempt, "refused")
            if attempt.aimed:
                self.tally.refused_aims.add(attempt.name)
        elif fault is not None:
            self.tally.count(attempt, "errors")
        else:
            self.tally.count(attempt, "allowed")
        kinds = [
            f"shows {what}" for what, mark in self._marks.items()
            if mark in heard.received and mark not in heard.sent
        ]  # fmt: skip
        answered = heard.replies or heard.pushes
        if attempt.aimed and attempt.name not in HARMLESS:
            if fault is None and answered:
                kinds.append("answered")
            elif fault is not None and fault.startswith(TELLING):
                kinds.append("tells of B's key")
        return kinds

    def _changes(self) -> list[str]:
        try:
            after = self._witness.seen()
        except (ConnectionError, TimeoutError):
            return ["B's server, or the administrator, is gone"]
        before, self._before = self._before, after
        return [f"changed {aspect}" for aspect in after if after[aspect] != before[aspect]]

    def _restore(self) -> None:
        self._hang_up()
        try:
            self.stage.restore()
            self._witness.renew()
            after = self._witness.seen()
            assert self._is_steady(after), [k for k in after if after[k] != self._steady[k]]
        except (AssertionError, OSError):
            self.stage.reboot()
            self._witness.renew()
            after = self._witness.seen()
            if not self._is_steady(after):
                raise
        self._before = after

    def _is_steady(self, seen: dict[str, object]) -> bool:
        return all(seen[a] == value for a, value in self._steady.items() if a not in LASTING)
