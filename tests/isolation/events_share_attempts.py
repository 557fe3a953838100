"""Attempts on share groups (KIP-932), in app B's name. No such group runs: brokers of 4.1 have them
switched off, and then answer so to those alone who may ask."""

from __future__ import annotations

import base64
import secrets

from tests.isolation.events_attempt import Table
from tests.isolation.events_codec import Body
from tests.isolation.events_stage import Stage

SHARES = Table()
_OFF = 35  # the broker has share groups switched off


def _member() -> str:
    """A member's name as the broker wants it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


def _in_topics(s: Stage, **each: object) -> list[Body]:
    """Its topics by id, one partition each."""
    return [{"TopicId": s.topic_ids[t], "Partitions": [each]} for t in s.topics]


def _group(s: Stage, topics: list[Body], **more: object) -> Body:
    return {"GroupId": s.life.share_group, "Topics": topics, **more}


def _session(s: Stage) -> Body:
    return {"MemberId": _member(), "ShareSessionEpoch": 0}


SHARES(
    "ShareGroupHeartbeat", "joins its group",
    lambda s: {
        "GroupId": s.life.share_group, "MemberId": _member(), "MemberEpoch": 0,
        "SubscribedTopicNames": list(s.topics),
    }, _OFF,
)  # fmt: skip
SHARES(
    "ShareGroupHeartbeat", "the own group on its topics",
    lambda s: {
        "GroupId": f"{s.a}.share", "MemberId": _member(), "MemberEpoch": 0,
        "SubscribedTopicNames": list(s.topics),
    }, _OFF,
)  # fmt: skip
SHARES("ShareGroupDescribe", "its group", lambda s: {"GroupIds": [s.life.share_group]}, _OFF)
for own in (False, True):
    SHARES(
        "ShareFetch", f"its topics, own group: {own}",
        lambda s, own=own: _group(
            s, _in_topics(s, PartitionIndex=0), MinBytes=0, MaxBytes=1 << 20, MaxRecords=10,
            BatchSize=10, **_session(s), **({"GroupId": f"{s.a}.share"} if own else {}),
        ), _OFF,
    )  # fmt: skip
SHARES(
    "ShareAcknowledge", "its records",
    lambda s: _group(
        s,
        _in_topics(
            s, PartitionIndex=0,
            AcknowledgementBatches=[{"FirstOffset": 0, "LastOffset": 0, "AcknowledgeTypes": [1]}],
        ),
        MemberId=_member(), ShareSessionEpoch=1,
    ), _OFF,
)  # fmt: skip
SHARES(
    "InitializeShareGroupState", "of its group",
    lambda s: _group(s, _in_topics(s, Partition=0, StateEpoch=1, StartOffset=0)),
)  # fmt: skip
SHARES(
    "ReadShareGroupState", "of its group",
    lambda s: _group(s, _in_topics(s, Partition=0, LeaderEpoch=0)),
)  # fmt: skip
SHARES(
    "WriteShareGroupState", "of its group",
    lambda s: _group(s, _in_topics(s, Partition=0, StateEpoch=1, LeaderEpoch=0, StartOffset=1)),
)  # fmt: skip
SHARES("DeleteShareGroupState", "of its group", lambda s: _group(s, _in_topics(s, Partition=0)))
SHARES(
    "ReadShareGroupStateSummary", "of its group",
    lambda s: _group(s, _in_topics(s, Partition=0, LeaderEpoch=0)),
)  # fmt: skip
SHARES(
    "DescribeShareGroupOffsets", "of its group",
    lambda s: {"Groups": [{"GroupId": s.life.share_group, "Topics": None}]}, _OFF,
)  # fmt: skip
SHARES(
    "AlterShareGroupOffsets", "of its group",
    lambda s: _group(
        s,
        [
            {"TopicName": t, "Partitions": [{"PartitionIndex": 0, "StartOffset": 1}]}
            for t in s.topics
        ],
    ), _OFF,
)  # fmt: skip
SHARES(
    "DeleteShareGroupOffsets", "of its group",
    lambda s: _group(s, [{"TopicName": t} for t in s.topics]), _OFF,
)  # fmt: skip
