"""Attempts on app B's consumer groups, of every protocol, and on its transactions."""

from __future__ import annotations

import uuid

from tests.isolation.events_attempt import Table
from tests.isolation.events_clients import subscription
from tests.isolation.events_codec import Body
from tests.isolation.events_stage import LOOKALIKES, Stage

GROUPS = Table()
TRANSACTIONS = Table()
_MOVED = {"PartitionIndex": 0, "CommittedOffset": 0, "CommittedMetadata": "moved"}
_UNKNOWN_PRODUCER, _FENCED = (49, 48), (47, 90)


def _all_groups(s: Stage) -> list[str]:
    life = s.life
    return [life.group, life.idle_group, life.modern_group]


def commit(s: Stage, group: str, *topics: str, member: str = "", generation: int = -1) -> Body:
    return {
        "GroupId": group, "MemberId": member, "GenerationIdOrMemberEpoch": generation,
        "Topics": [
            {"Name": t, "Partitions": [_MOVED]}
            | ({"TopicId": s.topic_ids[t]} if t in s.topic_ids else {})
            for t in topics
        ],
    }  # fmt: skip


def committed(s: Stage, group: str, *topics: str) -> Body:
    listed = [
        {"Name": t, "TopicId": s.topic_ids[t], "PartitionIndexes": [0]} for t in topics
    ] or None
    plain = [{"Name": t, "PartitionIndexes": [0]} for t in topics or s.topics]
    return {"GroupId": group, "Topics": plain, "Groups": [{"GroupId": group, "Topics": listed}]}


def join(s: Stage, group: str, member: str = "") -> Body:
    wanted = [{"Name": "range", "Metadata": subscription((s.own_topic, *s.topics))}]
    return {
        "GroupId": group, "MemberId": member, "SessionTimeoutMs": 10000,
        "RebalanceTimeoutMs": 1000, "ProtocolType": "consumer", "Protocols": wanted,
    }  # fmt: skip


def _sync(s: Stage) -> Body:
    taken = [{"MemberId": s.life.member, "Assignment": subscription(())}]
    return _member(s) | {"ProtocolType": "consumer", "ProtocolName": "range", "Assignments": taken}


def _member(s: Stage) -> Body:
    life = s.life
    return {"GroupId": life.group, "MemberId": life.member, "GenerationId": life.generation}


def modern(s: Stage, group: str, member: str, epoch: int, **more: object) -> Body:
    return {
        "GroupId": group, "MemberId": member, "MemberEpoch": epoch, "RebalanceTimeoutMs": 10000,
        **({"SubscribedTopicNames": [s.own_topic], "TopicPartitions": []} if not epoch else {}),
        **more,
    }  # fmt: skip


def coordinator(key: str, kind: int) -> Body:
    return {"Key": key, "CoordinatorKeys": [key], "KeyType": kind}


for nth in range(3):
    GROUPS("FindCoordinator", f"of group {nth}", lambda s, n=nth: coordinator(_all_groups(s)[n], 0))
    GROUPS(
        "OffsetFetch", f"all that group {nth} committed",
        lambda s, n=nth: committed(s, _all_groups(s)[n]),
    )  # fmt: skip
    GROUPS(
        "OffsetFetch", f"what group {nth} committed for its topics",
        lambda s, n=nth: committed(s, _all_groups(s)[n], *s.topics),
    )  # fmt: skip
    GROUPS(
        "OffsetCommit", f"for group {nth}, as nobody's member",
        lambda s, n=nth: commit(s, _all_groups(s)[n], *s.topics),
    )  # fmt: skip
    GROUPS(
        "OffsetDelete", f"of group {nth}",
        lambda s, n=nth: {
            "GroupId": _all_groups(s)[n],
            "Topics": [{"Name": t, "Partitions": [{"PartitionIndex": 0}]} for t in s.topics],
        },
    )  # fmt: skip
    GROUPS(
        "ConsumerGroupHeartbeat", f"joins group {nth}",
        lambda s, n=nth: modern(s, _all_groups(s)[n], str(uuid.uuid4()), 0),
    )  # fmt: skip
GROUPS(
    "OffsetCommit", "for its group, as its member",
    lambda s: commit(
        s, s.life.group, *s.topics, member=s.life.member, generation=s.life.generation
    ),
)  # fmt: skip
GROUPS("OffsetCommit", "for its group and the own topic", lambda s: commit(s, s.b, s.own_topic))
GROUPS("OffsetCommit", "for the own group and its topics", lambda s: commit(s, s.a, *s.topics))
GROUPS("OffsetFetch", "the own group's for its topics", lambda s: committed(s, s.a, *s.topics))
GROUPS("JoinGroup", "its group", lambda s: join(s, s.life.group))
GROUPS("JoinGroup", "its group, as its member", lambda s: join(s, s.life.group, s.life.member))
GROUPS("JoinGroup", "its idle group", lambda s: join(s, s.life.idle_group))
GROUPS("JoinGroup", "its idle group, at once", lambda s: join(s, s.life.idle_group), until=3)
GROUPS("JoinGroup", "a new group in its prefix", lambda s: join(s, f"{s.b}.made"))
GROUPS("SyncGroup", "gives its member nothing", _sync)
GROUPS("Heartbeat", "as its member", _member)
GROUPS(
    "LeaveGroup", "its member",
    lambda s: {
        "GroupId": s.life.group, "MemberId": s.life.member,
        "Members": [{"MemberId": s.life.member}],
    },
)  # fmt: skip
GROUPS("DescribeGroups", "its groups", lambda s: {"Groups": _all_groups(s)})
GROUPS("ListGroups", "all", lists=True)
GROUPS("ListGroups", "the running ones", lambda _: {"StatesFilter": ["Stable"]}, lists=True)
GROUPS("DeleteGroups", "its groups", lambda s: {"GroupsNames": _all_groups(s)})
GROUPS(
    "ConsumerGroupHeartbeat", "makes its member leave",
    lambda s: modern(s, s.life.modern_group, s.life.modern_member, -1),
)  # fmt: skip
GROUPS(
    "ConsumerGroupHeartbeat", "as its member",
    lambda s: modern(s, s.life.modern_group, s.life.modern_member, s.life.modern_epoch),
)  # fmt: skip
GROUPS("ConsumerGroupDescribe", "its groups", lambda s: {"GroupIds": _all_groups(s)})
for index in range(LOOKALIKES):
    GROUPS("JoinGroup", f"lookalike {index}", lambda s, i=index: join(s, s.lookalikes[i]), since=8)
    TRANSACTIONS(
        "InitProducerId", f"lookalike {index}",
        lambda s, i=index: {"TransactionalId": s.lookalikes[i], "TransactionTimeoutMs": 1000},
        since=4,
    )  # fmt: skip
for name in ("*", ""):
    GROUPS("JoinGroup", f"a group named {name!r}", lambda s, n=name: join(s, n), 24)


def _producer(s: Stage, transaction: str, *, stolen: bool = False) -> Body:
    """A transaction with the producer that it has; stolen: with the other's in any case."""
    own = transaction == s.a and not stolen
    producer, epoch = s.own_producer if own else (s.life.producer, s.life.epoch)
    return {"TransactionalId": transaction, "ProducerId": producer, "ProducerEpoch": epoch}


def _add_partitions(s: Stage, transaction: str, *, verify: bool = False) -> Body:
    topics = [{"Name": t, "Partitions": [0]} for t in s.topics]
    producer = _producer(s, transaction)
    return {
        **{f"V3AndBelow{key}": value for key, value in producer.items()},
        "V3AndBelowTopics": topics,
        "Transactions": [producer | {"VerifyOnly": verify, "Topics": topics}],
    }


def _offsets_in(s: Stage, transaction: str, group: str, *topics: str) -> Body:
    moved = [{"Name": t, "Partitions": [_MOVED]} for t in topics]
    return _producer(s, transaction) | {"GroupId": group, "Topics": moved}


def _markers(s: Stage, commits: bool) -> Body:
    topics = [{"Name": t, "PartitionIndexes": [0]} for t in s.topics]
    producer = {"ProducerId": s.life.producer, "ProducerEpoch": s.life.epoch}
    return {"Markers": [producer | {"TransactionResult": commits, "Topics": topics}]}


TRANSACTIONS("FindCoordinator", "of its transaction", lambda s: coordinator(s.life.transaction, 1))
TRANSACTIONS(
    "InitProducerId", "fences its transaction",
    lambda s: {"TransactionalId": s.life.transaction, "TransactionTimeoutMs": 10000},
)  # fmt: skip
TRANSACTIONS(
    "InitProducerId", "fences its transaction, as its producer",
    lambda s: _producer(s, s.life.transaction) | {"TransactionTimeoutMs": 10000}, since=3,
)  # fmt: skip
TRANSACTIONS(
    "AddPartitionsToTxn", "its topics to its transaction",
    lambda s: _add_partitions(s, s.life.transaction),
)  # fmt: skip
TRANSACTIONS(
    "AddPartitionsToTxn", "asks whether they are in it",
    lambda s: _add_partitions(s, s.life.transaction, verify=True), since=4,
)  # fmt: skip
TRANSACTIONS(
    "AddPartitionsToTxn", "its topics to the own transaction",
    lambda s: _add_partitions(s, s.a),
)  # fmt: skip
TRANSACTIONS(
    "AddOffsetsToTxn", "the own group to its transaction",
    lambda s: _producer(s, s.life.transaction) | {"GroupId": s.a},
)  # fmt: skip
TRANSACTIONS(
    "AddOffsetsToTxn", "its group to the own transaction",
    lambda s: _producer(s, s.a) | {"GroupId": s.life.group},
)  # fmt: skip
for commits in (True, False):
    TRANSACTIONS(
        "EndTxn", f"its transaction, committing: {commits}",
        lambda s, c=commits: _producer(s, s.life.transaction) | {"Committed": c},
    )  # fmt: skip
    TRANSACTIONS(
        "EndTxn", f"its producer under the own name, committing: {commits}",
        lambda s, c=commits: _producer(s, s.a, stolen=True) | {"Committed": c},
        *_UNKNOWN_PRODUCER, *_FENCED,
    )  # fmt: skip
    TRANSACTIONS("WriteTxnMarkers", f"committing: {commits}", lambda s, c=commits: _markers(s, c))
TRANSACTIONS(
    "TxnOffsetCommit", "in its transaction for its group",
    lambda s: _offsets_in(s, s.life.transaction, s.life.idle_group, *s.topics),
)  # fmt: skip
TRANSACTIONS(
    "TxnOffsetCommit", "in the own transaction for its group",
    lambda s: _offsets_in(s, s.a, s.life.idle_group, s.own_topic),
)  # fmt: skip
TRANSACTIONS(
    "TxnOffsetCommit", "in the own transaction for its topics",
    lambda s: _offsets_in(s, s.a, s.a, *s.topics),
)  # fmt: skip
TRANSACTIONS(
    "DescribeTransactions", "its transaction",
    lambda s: {"TransactionalIds": [s.life.transaction]},
)  # fmt: skip
TRANSACTIONS("ListTransactions", "all", lists=True)
TRANSACTIONS(
    "ListTransactions", "of its producer",
    lambda s: {"ProducerIdFilters": [s.life.producer]}, lists=True,
)  # fmt: skip
TRANSACTIONS(
    "ListTransactions", "by a pattern", lambda _: {"TransactionalIdPattern": ".*"}, lists=True,
    since=2,
)  # fmt: skip
