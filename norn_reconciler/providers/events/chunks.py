"""How much goes into one request. A KRaft controller refuses more than 10,000 records at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from norn_reconciler.providers.events.state import TopicSpec

T = TypeVar("T")

MAX_RECORDS = 2_000
# A topic that leaves its partitions to the broker counts as this many: num.partitions is 1 by
# default and seldom above a dozen.
_UNKNOWN_PARTITIONS = 4


def topic_records(spec: TopicSpec) -> int:
    """About how many records making this topic takes: itself, its partitions, its config keys."""
    partitions = _UNKNOWN_PARTITIONS if spec.partitions is None else spec.partitions
    return 1 + partitions + len(spec.config)


def chunks(items: Iterable[T], records: Callable[[T], int]) -> Iterator[list[T]]:
    """Runs of items of at most MAX_RECORDS records each, in order; one item that is larger than
    that goes alone."""
    chunk: list[T] = []
    size = 0
    for item in items:
        weight = records(item)
        if chunk and size + weight > MAX_RECORDS:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield chunk
