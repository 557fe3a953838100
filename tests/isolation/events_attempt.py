"""One thing that an app may try: a request, written so that it works for whoever has the right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.events_codec import Body
from tests.isolation.events_stage import Stage

# Kafka's answers to who may not: topic, group, cluster, transaction, delegation token; and the two
# that make a foreign topic look like one that is not there.
DENIED = frozenset({29, 30, 31, 53, 65})
MASKED = frozenset({3, 100})


@dataclass(frozen=True)
class Attempt:
    """api: Kafka's name of the request. what: for people. body: is given the stage each time, since
    what it holds may have been made anew. codes: what refuses it besides the codes above. lists: a
    reply without an error is in order as long as it shows nothing of others. since, until: the
    versions that can say it."""

    api: str
    what: str
    body: Callable[[Stage], Body]
    codes: frozenset[int] = frozenset()
    lists: bool = False
    since: int = 0
    until: int = 99

    def __str__(self) -> str:
        return f"{self.api}: {self.what}"


@dataclass
class Table:
    """Collects attempts in reading order."""

    attempts: list[Attempt] = field(default_factory=list)

    def __call__(
        self, api: str, what: str, body: Callable[[Stage], Body] | None = None, *codes: int,
        **options: Any,
    ) -> None:  # fmt: skip
        made = Attempt(api, what, body or (lambda _: {}), frozenset(codes), **options)
        self.attempts.append(made)
