"""Descriptions of the requests that kafka-python 3.0.12 has no class for, each in its newest
version only, in a short notation: `Name type`, `Name? type` where it may be null, `Name[…]` for a
list of structures, `Name{…}` for one. Source: the message definitions of Apache Kafka 4.1.
"""

from __future__ import annotations

import re
from typing import Any

_NOTATION = """
38 CreateDelegationToken 3
  > OwnerPrincipalType? string, OwnerPrincipalName? string, Renewers[PrincipalType string,
    PrincipalName string], MaxLifetimeMs int64
  < ErrorCode int16, PrincipalType string, PrincipalName string, TokenRequesterPrincipalType
    string, TokenRequesterPrincipalName string, IssueTimestampMs int64, ExpiryTimestampMs int64,
    MaxTimestampMs int64, TokenId string, Hmac bytes, ThrottleTimeMs int32
39 RenewDelegationToken 2
  > Hmac bytes, RenewPeriodMs int64
  < ErrorCode int16, ExpiryTimestampMs int64, ThrottleTimeMs int32
40 ExpireDelegationToken 2
  > Hmac bytes, ExpiryTimePeriodMs int64
  < ErrorCode int16, ExpiryTimestampMs int64, ThrottleTimeMs int32
41 DescribeDelegationToken 3
  > Owners?[PrincipalType string, PrincipalName string]
  < ErrorCode int16, Tokens[PrincipalType string, PrincipalName string,
    TokenRequesterPrincipalType string, TokenRequesterPrincipalName string, IssueTimestamp int64,
    ExpiryTimestamp int64, MaxTimestamp int64, TokenId string, Hmac bytes, Renewers[PrincipalType
    string, PrincipalName string]], ThrottleTimeMs int32
64 UnregisterBroker 0
  > BrokerId int32
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string
68 ConsumerGroupHeartbeat 1
  > GroupId string, MemberId string, MemberEpoch int32, InstanceId? string, RackId? string,
    RebalanceTimeoutMs int32, SubscribedTopicNames? []string, SubscribedTopicRegex? string,
    ServerAssignor? string, TopicPartitions?[TopicId uuid, Partitions []int32]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, MemberId? string, MemberEpoch
    int32, HeartbeatIntervalMs int32, Assignment?{TopicPartitions[TopicId uuid, Partitions
    []int32]}
69 ConsumerGroupDescribe 1
  > GroupIds []string, IncludeAuthorizedOperations bool
  < ThrottleTimeMs int32, Groups[ErrorCode int16, ErrorMessage? string, GroupId string, GroupState
    string, GroupEpoch int32, AssignmentEpoch int32, AssignorName string, Members[MemberId string,
    InstanceId? string, RackId? string, MemberEpoch int32, ClientId string, ClientHost string,
    SubscribedTopicNames []string, SubscribedTopicRegex? string,
    Assignment{TopicPartitions[TopicId uuid, TopicName string, Partitions []int32]},
    TargetAssignment{TopicPartitions[TopicId uuid, TopicName string, Partitions []int32]},
    MemberType int8], AuthorizedOperations int32]
71 GetTelemetrySubscriptions 0
  > ClientInstanceId uuid
  < ThrottleTimeMs int32, ErrorCode int16, ClientInstanceId uuid, SubscriptionId int32,
    AcceptedCompressionTypes []int8, PushIntervalMs int32, TelemetryMaxBytes int32,
    DeltaTemporality bool, RequestedMetrics []string
72 PushTelemetry 0
  > ClientInstanceId uuid, SubscriptionId int32, Terminating bool, CompressionType int8,
    Metrics bytes
  < ThrottleTimeMs int32, ErrorCode int16
76 ShareGroupHeartbeat 1
  > GroupId string, MemberId string, MemberEpoch int32, RackId? string, SubscribedTopicNames?
    []string
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, MemberId? string, MemberEpoch
    int32, HeartbeatIntervalMs int32, Assignment?{TopicPartitions[TopicId uuid, Partitions
    []int32]}
77 ShareGroupDescribe 1
  > GroupIds []string, IncludeAuthorizedOperations bool
  < ThrottleTimeMs int32, Groups[ErrorCode int16, ErrorMessage? string, GroupId string, GroupState
    string, GroupEpoch int32, AssignmentEpoch int32, AssignorName string, Members[MemberId string,
    RackId? string, MemberEpoch int32, ClientId string, ClientHost string, SubscribedTopicNames
    []string, Assignment{TopicPartitions[TopicId uuid, TopicName string, Partitions []int32]}],
    AuthorizedOperations int32]
78 ShareFetch 1
  > GroupId? string, MemberId? string, ShareSessionEpoch int32, MaxWaitMs int32, MinBytes int32,
    MaxBytes int32, MaxRecords int32, BatchSize int32, Topics[TopicId uuid,
    Partitions[PartitionIndex int32, AcknowledgementBatches[FirstOffset int64, LastOffset int64,
    AcknowledgeTypes []int8]]], ForgottenTopicsData[TopicId uuid, Partitions []int32]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, AcquisitionLockTimeoutMs int32,
    Responses[TopicId uuid, Partitions[PartitionIndex int32, ErrorCode int16, ErrorMessage?
    string, AcknowledgeErrorCode int16, AcknowledgeErrorMessage? string, CurrentLeader{LeaderId
    int32, LeaderEpoch int32}, Records records, AcquiredRecords[FirstOffset int64, LastOffset
    int64, DeliveryCount int16]]], NodeEndpoints[NodeId int32, Host string, Port int32, Rack?
    string]
79 ShareAcknowledge 1
  > GroupId? string, MemberId? string, ShareSessionEpoch int32, Topics[TopicId uuid,
    Partitions[PartitionIndex int32, AcknowledgementBatches[FirstOffset int64, LastOffset int64,
    AcknowledgeTypes []int8]]]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, Responses[TopicId uuid,
    Partitions[PartitionIndex int32, ErrorCode int16, ErrorMessage? string, CurrentLeader{LeaderId
    int32, LeaderEpoch int32}]], NodeEndpoints[NodeId int32, Host string, Port int32, Rack?
    string]
80 AddRaftVoter 0
  > ClusterId? string, TimeoutMs int32, VoterId int32, VoterDirectoryId uuid, Listeners[Name
    string, Host string, Port uint16]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string
81 RemoveRaftVoter 0
  > ClusterId? string, VoterId int32, VoterDirectoryId uuid
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string
83 InitializeShareGroupState 0
  > GroupId string, Topics[TopicId uuid, Partitions[Partition int32, StateEpoch int32, StartOffset
    int64]]
  < Results[TopicId uuid, Partitions[Partition int32, ErrorCode int16, ErrorMessage? string]]
84 ReadShareGroupState 0
  > GroupId string, Topics[TopicId uuid, Partitions[Partition int32, LeaderEpoch int32]]
  < Results[TopicId uuid, Partitions[Partition int32, ErrorCode int16, ErrorMessage? string,
    StateEpoch int32, StartOffset int64, StateBatches[FirstOffset int64, LastOffset int64,
    DeliveryState int8, DeliveryCount int16]]]
85 WriteShareGroupState 0
  > GroupId string, Topics[TopicId uuid, Partitions[Partition int32, StateEpoch int32, LeaderEpoch
    int32, StartOffset int64, StateBatches[FirstOffset int64, LastOffset int64, DeliveryState
    int8, DeliveryCount int16]]]
  < Results[TopicId uuid, Partitions[Partition int32, ErrorCode int16, ErrorMessage? string]]
86 DeleteShareGroupState 0
  > GroupId string, Topics[TopicId uuid, Partitions[Partition int32]]
  < Results[TopicId uuid, Partitions[Partition int32, ErrorCode int16, ErrorMessage? string]]
87 ReadShareGroupStateSummary 0
  > GroupId string, Topics[TopicId uuid, Partitions[Partition int32, LeaderEpoch int32]]
  < Results[TopicId uuid, Partitions[Partition int32, ErrorCode int16, ErrorMessage? string,
    StateEpoch int32, LeaderEpoch int32, StartOffset int64]]
90 DescribeShareGroupOffsets 0
  > Groups[GroupId string, Topics?[TopicName string, Partitions []int32]]
  < ThrottleTimeMs int32, Groups[GroupId string, Topics[TopicName string, TopicId uuid,
    Partitions[PartitionIndex int32, StartOffset int64, LeaderEpoch int32, ErrorCode int16,
    ErrorMessage? string]], ErrorCode int16, ErrorMessage? string]
91 AlterShareGroupOffsets 0
  > GroupId string, Topics[TopicName string, Partitions[PartitionIndex int32, StartOffset int64]]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, Responses[TopicName string,
    TopicId uuid, Partitions[PartitionIndex int32, ErrorCode int16, ErrorMessage? string]]
92 DeleteShareGroupOffsets 0
  > GroupId string, Topics[TopicName string]
  < ThrottleTimeMs int32, ErrorCode int16, ErrorMessage? string, Responses[TopicName string,
    TopicId uuid, ErrorCode int16, ErrorMessage? string]
"""

_TOKEN = re.compile(r"(\w+)(\??)(?: ((?:\[\])?\w+)|([\[{]))|([\]}])|,? +|,")


def _fields(text: str) -> list[dict[str, Any]]:
    """The notation as a list of fields in the form of Kafka's own message definitions."""
    top: list[dict[str, Any]] = []
    open_lists = [top]
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None, text[at : at + 40]
        at = match.end()
        name, null, kind, opening, closing = match.groups()
        if closing:
            open_lists.pop()
        elif name:
            field: dict[str, Any] = {"name": name, "type": kind, "versions": "0+"}
            if null:
                field |= {"nullableVersions": "0+", "default": "null"}
            open_lists[-1].append(field)
            if opening:
                field |= {"type": "[]struct" if opening == "[" else "struct", "fields": []}
                open_lists.append(field["fields"])
    assert open_lists == [top]
    return top


def _schemas() -> dict[str, dict[str, Any]]:
    """Message name → its description."""
    found = {}
    for entry in re.split(r"\n(?=\d)", _NOTATION.strip()):
        key, api, version, sides = entry.split(maxsplit=3)
        sent, received = re.sub(r"\s+", " ", sides).removeprefix("> ").split(" < ")
        for side, text in (("Request", sent), ("Response", received)):
            found[api + side] = {
                "apiKey": int(key),
                "validVersions": version,
                "flexibleVersions": "0+",
                "fields": _fields(text),
            }
    return found


SCHEMAS = _schemas()
