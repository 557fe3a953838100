"""Attempts on app B's topics: records, offsets, names, and names that look like somebody's."""

from __future__ import annotations

from tests.isolation.events_attempt import Table
from tests.isolation.events_codec import Body
from tests.isolation.events_session import batch
from tests.isolation.events_stage import LOOKALIKES, Stage

DATA = Table()
_SPOILT = b"spoilt by another"
_INVALID_TOPIC = 17
_LONG_AGO = 0
_INTERNAL = ("__consumer_offsets", "__transaction_state", "__cluster_metadata")


def produce(
    s: Stage, *topics: str, transaction: str | None = None, records: bytes | None = None
) -> Body:
    data = [{"Index": 0, "Records": records or batch(_SPOILT)}]
    return {
        "TransactionalId": transaction, "Acks": -1, "TimeoutMs": 5000,
        "TopicData": [_both(s, "Name", t) | {"PartitionData": data} for t in topics],
    }  # fmt: skip


def _both(s: Stage, field: str, topic: str) -> Body:
    """A topic by name and, for newer versions, by id."""
    return {field: topic, **({"TopicId": s.topic_ids[topic]} if topic in s.topic_ids else {})}


def fetch(s: Stage, *topics: str, partitions: int = 2, **more: object) -> Body:
    wanted = [
        {"Partition": i, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20} for i in range(partitions)
    ]
    return {
        "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 22,
        "Topics": [_both(s, "Topic", t) | {"Partitions": wanted} for t in topics], **more,
    }  # fmt: skip


def list_offsets(s: Stage, time: int, replica: int = -1) -> Body:
    partitions = [{"PartitionIndex": 0, "Timestamp": time}]
    topics = [{"Name": t, "Partitions": partitions} for t in s.topics]
    return {"ReplicaId": replica, "Topics": topics, "TimeoutMs": 1000}


def metadata(*names: str, create: bool = False) -> Body:
    return {
        "Topics": [{"Name": name} for name in names], "AllowAutoTopicCreation": create,
        "IncludeTopicAuthorizedOperations": True,
    }  # fmt: skip


def _epochs(s: Stage, replica: int) -> Body:
    partitions = [{"Partition": 0, "LeaderEpoch": 0}]
    topics = [{"Topic": t, "Partitions": partitions} for t in s.topics]
    return {"ReplicaId": replica, "Topics": topics}


DATA("Produce", "a record into its declared topic", lambda s: produce(s, s.topic))
DATA("Produce", "a record into its prefix", lambda s: produce(s, s.jobs))
DATA("Produce", "one record to both apps", lambda s: produce(s, s.own_topic, s.topic), until=12)
DATA(
    "Produce", "into the own topic within its transaction",
    lambda s: produce(
        s, s.own_topic, transaction=s.b,
        records=batch(b"x", producer=s.life.producer, epoch=s.life.epoch, sequence=0,
                      transaction=True),
    ),
)  # fmt: skip
DATA(
    "Produce", "as its producer, the next in sequence",
    lambda s: produce(
        s, s.topic, transaction=s.b,
        records=batch(b"x", producer=s.life.producer, epoch=s.life.epoch, sequence=1,
                      transaction=True),
    ),
)  # fmt: skip
DATA("Fetch", "its declared topic", lambda s: fetch(s, s.topic))
DATA("Fetch", "its prefix", lambda s: fetch(s, s.jobs))
DATA("Fetch", "both apps' topics at once", lambda s: fetch(s, s.own_topic, s.topic, s.jobs))
DATA("Fetch", "only the committed", lambda s: fetch(s, *s.topics, IsolationLevel=1))
DATA("Fetch", "as a replica", lambda s: fetch(s, s.topic, ReplicaId=s.node), until=14)
DATA(
    "Fetch", "as a replica, newer",
    lambda s: fetch(s, s.topic, ReplicaState={"ReplicaId": s.node, "ReplicaEpoch": -1}),
    since=15,
)  # fmt: skip
for internal in _INTERNAL:
    DATA(
        "Fetch", f"the broker's own {internal}",
        lambda s, internal=internal: fetch(s, internal, partitions=8), until=12,
    )  # fmt: skip
    DATA("Produce", f"into {internal}", lambda s, i=internal: produce(s, i), until=12)
for when in (-1, -2, -3, -4, -5, _LONG_AGO):
    DATA("ListOffsets", f"of time {when}", lambda s, when=when: list_offsets(s, when))
DATA("ListOffsets", "as a debugging replica", lambda s: list_offsets(s, -1, -2))
DATA("ListOffsets", "as a replica", lambda s: list_offsets(s, -1, s.node))
DATA("OffsetForLeaderEpoch", "as a client", lambda s: _epochs(s, -1))
DATA("OffsetForLeaderEpoch", "as a replica", lambda s: _epochs(s, s.node))
DATA("Metadata", "of every topic", lambda _: {"Topics": None}, lists=True, since=1)
DATA("Metadata", "of every topic, as old clients ask", until=0, lists=True)
DATA("Metadata", "its topics by name", lambda s: metadata(*s.topics))
DATA("Metadata", "its topics beside the own", lambda s: metadata(s.own_topic, *s.topics))
DATA(
    "Metadata", "its topics by id",
    lambda s: {"Topics": [{"TopicId": s.topic_ids[t], "Name": None} for t in s.topics]}, since=12,
)  # fmt: skip
DATA("Metadata", "a new topic in its prefix", lambda s: metadata(f"{s.b}.made", create=True))
DATA("DescribeTopicPartitions", "every topic", lambda _: {}, lists=True)
DATA(
    "DescribeTopicPartitions", "its topics by name",
    lambda s: {"Topics": [{"Name": t} for t in s.topics]},
)  # fmt: skip
DATA(
    "DescribeTopicPartitions", "from its topic on",
    lambda s: {"Cursor": {"TopicName": s.jobs, "PartitionIndex": 0}}, lists=True,
)  # fmt: skip
DATA(
    "DescribeProducers", "of its topics",
    lambda s: {"Topics": [{"Name": t, "PartitionIndexes": [0]} for t in s.topics]},
)  # fmt: skip
DATA(
    "DeleteRecords", "all of them",
    lambda s: {
        "TimeoutMs": 5000,
        "Topics": [
            {"Name": t, "Partitions": [{"PartitionIndex": 0, "Offset": -1}]} for t in s.topics
        ],
    },
)  # fmt: skip


for index in range(LOOKALIKES):
    DATA(
        "Metadata", f"lookalike {index}, to be made",
        lambda s, i=index: metadata(s.lookalikes[i], create=True), since=12,
    )  # fmt: skip
    DATA(
        "Produce", f"into lookalike {index}",
        lambda s, i=index: produce(s, s.lookalikes[i]), since=11,
    )  # fmt: skip
DATA("Metadata", "a wildcard", lambda _: metadata("*", create=True), _INVALID_TOPIC)
DATA("Metadata", "a path", lambda s: metadata(f"{s.a}./../{s.jobs}", create=True), _INVALID_TOPIC)
DATA("Metadata", "a name cut off", lambda s: metadata(f"{s.jobs}\0", create=True), _INVALID_TOPIC)
DATA("Metadata", "the bare prefix", lambda s: metadata(f"{s.a}.", create=True), _INVALID_TOPIC)
