"""What an administrator sees of app B, and what B's own clients hear: one value before an attempt
and one after it. Objects of other tests on the same broker stay out of it."""

from __future__ import annotations

import re
from typing import Any

from tests.isolation.events_codec import Body
from tests.isolation.events_session import Exchange
from tests.isolation.events_stage import Stage

_EARLIEST, _LATEST = -2, -1
_WIDE = frozenset(
    {
        "settings", "ACLs of A", "ACLs of B", "ACLs of everybody", "users", "quotas",
        "reassignments", "cluster", "voters", "features", "tokens",
    }
)  # fmt: skip


class Witness:
    """Reads a reply only when it is not what it was, which it nearly always is."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._known: dict[str, tuple[bytes, object]] = {}

    def seen(self, *, wide: bool = True) -> dict[str, Any]:
        """Label → value; all is as it was when two of these are equal. wide: the cluster's and the
        users' state too, whose descriptions take long."""
        asked = _questions(self._stage)
        if not wide:
            asked = {label: question for label, question in asked.items() if label not in _WIDE}
        replies = self._stage.admin.exchange_all(asked.values())
        found = {
            label: self._read(label, reply) for label, reply in zip(asked, replies, strict=True)
        }
        return found | self._stage.life.beat()

    def _read(self, label: str, reply: Exchange) -> object:
        raw = reply.received[4:]  # behind the number of the request
        if label not in self._known or self._known[label][0] != raw:
            self._known[label] = (raw, _READERS[label](self._stage, reply))
        return self._known[label][1]


def _questions(s: Stage) -> dict[str, tuple[str, Body]]:
    life = s.life
    groups = [life.group, life.idle_group, life.modern_group]
    configs = [{"ResourceType": 2, "ResourceName": topic} for topic in s.topics]
    configs += [{"ResourceType": 4, "ResourceName": name} for name in ("", str(s.node))]
    configs += [{"ResourceType": 32, "ResourceName": group} for group in groups]
    every = {
        "ResourceTypeFilter": 1, "ResourceNameFilter": None, "PatternTypeFilter": 1,
        "HostFilter": None, "Operation": 1, "PermissionType": 1,
    }  # fmt: skip
    offsets = [{"GroupId": group, "Topics": None} for group in groups]
    made = [{"Name": name} for name in (f"{s.a}.made", f"{s.b}.made", *s.lookalikes)]
    topics = [{"Name": name} for name in s.topics]
    users = [{"Name": name} for name in (s.a, s.b, f"{s.a}.new")]
    return {
        "topics": ("Metadata", {"Topics": topics, "AllowAutoTopicCreation": False}),
        "topics made": ("Metadata", {"Topics": made, "AllowAutoTopicCreation": False}),
        "first offsets": ("ListOffsets", _list_offsets(s, _EARLIEST)),
        "end offsets": ("ListOffsets", _list_offsets(s, _LATEST)),
        "settings": ("DescribeConfigs", {"Resources": configs}),
        "ACLs of A": ("DescribeAcls", every | {"PrincipalFilter": f"User:{s.a}"}),
        "ACLs of B": ("DescribeAcls", every | {"PrincipalFilter": f"User:{s.b}"}),
        "ACLs of everybody": ("DescribeAcls", every | {"PrincipalFilter": "User:*"}),
        "users": ("DescribeUserScramCredentials", {"Users": users}),
        "quotas": ("DescribeClientQuotas", {}),
        "committed offsets": ("OffsetFetch", {"Groups": offsets}),
        "group names": ("ListGroups", {}),
        "groups": ("DescribeGroups", {"Groups": groups[:2]}),
        "modern group": ("ConsumerGroupDescribe", {"GroupIds": groups[2:]}),
        "transaction": ("DescribeTransactions", {"TransactionalIds": [life.transaction]}),
        "producers": ("DescribeProducers", {"Topics": _partitions(s)}),
        "reassignments": ("ListPartitionReassignments", {"Topics": None}),
        "cluster": ("DescribeCluster", {}),
        "voters": ("DescribeQuorum", _QUORUM),
        "features": ("ApiVersions", {"ClientSoftwareName": "x", "ClientSoftwareVersion": "1"}),
        "tokens": ("DescribeDelegationToken", {"Owners": None}),
    }


_QUORUM = {"Topics": [{"TopicName": "__cluster_metadata", "Partitions": [{"PartitionIndex": 0}]}]}


def _list_offsets(stage: Stage, time: int) -> Body:
    partitions = [{"PartitionIndex": i, "Timestamp": time} for i in (0, 1)]
    topics = [{"Name": name, "Partitions": partitions} for name in stage.topics]
    return {"ReplicaId": -1, "TimeoutMs": 5000, "Topics": topics}


def _partitions(stage: Stage) -> list[Body]:
    return [{"Name": name, "PartitionIndexes": [0, 1]} for name in stage.topics]


def _whole(_: Stage, reply: Exchange) -> object:
    return reply.body


def _names(stage: Stage, reply: Exchange) -> object:
    """The names in a long list that are this stage's, without reading all of it."""
    return frozenset(re.findall(rb"[\w.-]*" + stage.tag.encode() + rb"[\w.-]*", reply.received))


def _unread(_: Stage, reply: Exchange) -> object:
    """The bytes after the number and the throttle time: the same while nothing changes."""
    return reply.received[9:]


def _acls(_: Stage, reply: Exchange) -> object:
    return sorted(
        (one["ResourceType"], one["ResourceName"], one["PatternType"], *sorted(acl.items()))
        for one in reply.body["Resources"]
        for acl in one["Acls"]
    )


def _quotas(stage: Stage, reply: Exchange) -> object:
    """Of this stage's users and clients, and the defaults that hold for them too."""
    return [
        entry
        for entry in reply.body["Entries"] or ()
        if any(e["EntityName"] is None or stage.tag in e["EntityName"] for e in entry["Entity"])
    ]


def _producers(_: Stage, reply: Exchange) -> object:
    return {
        (topic["Name"], p["PartitionIndex"], one["ProducerId"]): one["ProducerEpoch"]
        for topic in reply.body["Topics"]
        for p in topic["Partitions"]
        for one in p["ActiveProducers"]
    }


def _transaction(_: Stage, reply: Exchange) -> object:
    (state,) = reply.body["TransactionStates"]
    return state


def _reassignments(stage: Stage, reply: Exchange) -> object:
    return [topic for topic in reply.body["Topics"] if stage.tag in topic["Name"]]


def _cluster(_: Stage, reply: Exchange) -> object:
    return (reply.body["ClusterId"], reply.body["ControllerId"], reply.body["Brokers"])


def _voters(_: Stage, reply: Exchange) -> object:
    partition = reply.body["Topics"][0]["Partitions"][0]
    return [voter["ReplicaId"] for voter in partition["CurrentVoters"]]


def _features(_: Stage, reply: Exchange) -> object:
    return {one["Name"]: one["MaxVersionLevel"] for one in reply.body.get("FinalizedFeatures", ())}


def _tokens(stage: Stage, reply: Exchange) -> object:
    return [one for one in reply.body["Tokens"] if one["PrincipalName"] == stage.b]


_READERS = {
    "topics": _whole, "topics made": _whole, "first offsets": _whole, "end offsets": _whole,
    "settings": _unread, "ACLs of A": _acls, "ACLs of B": _acls, "ACLs of everybody": _acls,
    "users": _whole, "quotas": _quotas, "committed offsets": _whole, "group names": _names,
    "groups": _whole, "modern group": _whole, "transaction": _transaction,
    "producers": _producers, "reassignments": _reassignments, "cluster": _cluster,
    "voters": _voters, "features": _features, "tokens": _tokens,
}  # fmt: skip
