"""Requests that ask how much is in topics and how far groups have read, built and read: as `wire`,
and imported as late. Each is answered by one broker for what it alone leads, keeps or coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka.protocol.admin import DescribeLogDirsRequest, ListGroupsRequest
from kafka.protocol.consumer import ListOffsetsRequest, OffsetFetchRequest

FIRST, END, NEWEST = -2, -1, -3  # offsets are asked for by these in place of a time
_WITH_NEWEST = 7  # the first version that knows NEWEST
_ONE_GROUP = 7  # the last version that is about one group
Partition = tuple[str, int]


def led(response: Any) -> dict[int, dict[str, list[int]]]:
    """Of a Metadata response: broker → topic → the partitions that it leads."""
    found: dict[int, dict[str, list[int]]] = {}
    for topic in response.topics:
        for partition in topic.partitions if not topic.error_code else ():
            if partition.leader_id >= 0:
                by = found.setdefault(partition.leader_id, {})
                by.setdefault(topic.name, []).append(partition.partition_index)
    return found


def offsets_request(led: Mapping[str, Sequence[int]], at: int) -> Any:
    topic = ListOffsetsRequest.ListOffsetsTopic
    partition = topic.ListOffsetsPartition
    versions = {"min_version": _WITH_NEWEST} if at == NEWEST else {}
    return ListOffsetsRequest(
        replica_id=-1,
        isolation_level=0,
        topics=[
            topic(name=name, partitions=[partition(partition_index=n, timestamp=at) for n in parts])
            for name, parts in led.items()
        ],
        **versions,
    )


def offsets(response: Any) -> dict[Partition, tuple[int, int]]:
    """Partition → offset, and its time in milliseconds."""
    return {
        (topic.name, part.partition_index): (part.offset, part.timestamp)
        for topic in response.topics
        for part in topic.partitions
        if not part.error_code
    }


def log_dirs_request(partitions: Mapping[str, Sequence[int]]) -> Any:
    topic = DescribeLogDirsRequest.DescribableLogDirTopic
    return DescribeLogDirsRequest(
        topics=[topic(topic=name, partitions=list(parts)) for name, parts in partitions.items()]
    )


def log_sizes(response: Any) -> dict[str, int] | int:
    """Topic → bytes that its replicas take on this broker; an error code where it does not say."""
    code = response.error_code or next((r.error_code for r in response.results if r.error_code), 0)
    if code:
        return int(code)
    found: dict[str, int] = {}
    for result in response.results:
        for topic in result.topics:
            size = sum(part.partition_size for part in topic.partitions)
            found[topic.name] = found.get(topic.name, 0) + size
    return found


def groups_request() -> Any:
    return ListGroupsRequest(states_filter=[], types_filter=[])


def groups(response: Any) -> list[str] | int:
    """Those that this broker coordinates; an error code where it does not say."""
    if response.error_code:
        return int(response.error_code)
    return [group.group_id for group in response.groups]


def committed_request(group: str) -> Any:
    return OffsetFetchRequest(group_id=group, topics=None, max_version=_ONE_GROUP)


def committed(response: Any) -> dict[Partition, int]:
    return {
        (topic.name, part.partition_index): part.committed_offset
        for topic in response.topics
        for part in topic.partitions
        if not part.error_code and part.committed_offset >= 0
    }
