"""What app B has going on while others try to reach it: records, groups with and without a running
member, committed offsets, a transaction that is open all the time.

Said in single requests, so that each beat shows at once whether somebody interfered.
"""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.events_codec import Body
from tests.isolation.events_session import Session, batch

SECRET = b"hush-hush-record"
NOTE = "hush-hush-note"  # metadata of a committed offset
_PATIENCE_MS = 120_000
_BUSY = {14, 15, 16, 51}  # coordinator loading, absent, elsewhere; an older transaction is ending


def subscription(topics: tuple[str, ...]) -> bytes:
    """The classic protocol's word for what a member wants, version 0."""
    names = b"".join(struct.pack(">h", len(t)) + t.encode() for t in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


def patiently(session: Session, api: str, body: Body, version: int | None = None) -> Body:
    """Ask again while the coordinator is busy, as clients do. Fails on any other error."""
    for _ in range(300):
        reply = session.ask(api, body, version)
        code = reply["ErrorCode"]
        if code not in _BUSY:
            assert code == 0, f"{api}: error {code}"
            return reply
        time.sleep(0.02)
    raise AssertionError(f"{api}: the coordinator stays busy")


@dataclass
class Life:
    """session: logged in as the app. topic_ids: of its topics, at least."""

    session: Session
    app: str
    topics: tuple[str, ...]
    topic_ids: Mapping[str, uuid.UUID]
    member: str = ""
    generation: int = -1
    modern_member: str = field(default_factory=lambda: str(uuid.uuid4()))
    modern_epoch: int = 0
    producer: int = -1
    epoch: int = -1

    @property
    def group(self) -> str:
        """Of the classic protocol, with a running member."""
        return self.app

    @property
    def idle_group(self) -> str:
        return f"{self.app}.x"

    @property
    def modern_group(self) -> str:
        """Of KIP-848, with a running member."""
        return f"{self.app}.modern"

    @property
    def share_group(self) -> str:
        return f"{self.app}.share"

    @property
    def transaction(self) -> str:
        return self.app

    def begin(self) -> None:
        for topic in self.topics:
            self.produce(topic, batch(SECRET))
        # The first to ask makes a new broker create its internal topics.
        for kind, key in enumerate((self.group, self.transaction)):
            patiently(self.session, "FindCoordinator", {"Key": key, "KeyType": kind}, 2)
        self._join()
        self._join_modern()
        self._commit(self.group, self.member, self.generation)
        self._commit(self.idle_group, "", -1)
        self._commit(self.modern_group, self.modern_member, self.modern_epoch)
        self._open_transaction()

    def produce(self, topic: str, records: bytes, transaction: str | None = None) -> None:
        data = [{"Index": 0, "Records": records}]
        reply = self.session.ask(
            "Produce",
            {
                "TransactionalId": transaction, "Acks": -1, "TimeoutMs": 10000,
                "TopicData": [{"Name": topic, "PartitionData": data}],
            },
            9,
        )  # fmt: skip
        code = reply["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
        assert code == 0, f"Produce: error {code}"

    def _join(self) -> None:
        wanted = subscription(self.topics)
        joined = patiently(
            self.session,
            "JoinGroup",
            {
                "GroupId": self.group, "SessionTimeoutMs": _PATIENCE_MS,
                "RebalanceTimeoutMs": _PATIENCE_MS, "ProtocolType": "consumer",
                "Protocols": [{"Name": "range", "Metadata": wanted}],
            },
            3,
        )  # fmt: skip
        self.member, self.generation = joined["MemberId"], joined["GenerationId"]
        mine = [{"MemberId": self.member, "Assignment": wanted}]
        patiently(self.session, "SyncGroup", self._as_member() | {"Assignments": mine}, 3)

    def _as_member(self) -> Body:
        return {
            "GroupId": self.group, "MemberId": self.member, "GenerationId": self.generation,
        }  # fmt: skip

    def _join_modern(self) -> None:
        for _ in range(200):
            body: dict[str, Any] = {
                "GroupId": self.modern_group, "MemberId": self.modern_member,
                "MemberEpoch": self.modern_epoch, "RebalanceTimeoutMs": _PATIENCE_MS,
                "SubscribedTopicNames": list(self.topics), "TopicPartitions": [],
            }  # fmt: skip
            reply = patiently(self.session, "ConsumerGroupHeartbeat", body)
            self.modern_epoch = reply["MemberEpoch"]
            if reply["Assignment"] and reply["Assignment"]["TopicPartitions"]:
                held = reply["Assignment"]["TopicPartitions"]
                patiently(
                    self.session, "ConsumerGroupHeartbeat",
                    body | {"MemberEpoch": self.modern_epoch, "TopicPartitions": held},
                )  # fmt: skip
                return
            time.sleep(0.02)
        raise AssertionError("the KIP-848 group never got an assignment")

    def _commit(self, group: str, member: str, generation: int) -> None:
        partition = {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": NOTE}
        reply = self.session.ask(
            "OffsetCommit",
            {
                "GroupId": group, "MemberId": member, "GenerationIdOrMemberEpoch": generation,
                "Topics": [{"Name": topic, "Partitions": [partition]} for topic in self.topics],
            },
            9,
        )  # fmt: skip
        codes = [p["ErrorCode"] for topic in reply["Topics"] for p in topic["Partitions"]]
        assert not any(codes), f"OffsetCommit: errors {codes}"

    def _open_transaction(self) -> None:
        timeout = {"TransactionalId": self.transaction, "TransactionTimeoutMs": _PATIENCE_MS}
        begun = patiently(self.session, "InitProducerId", timeout, 4)
        self.producer, self.epoch = begun["ProducerId"], begun["ProducerEpoch"]
        partitions = [{"Name": self.topics[0], "Partitions": [0]}]
        added = self.session.ask(
            "AddPartitionsToTxn", self._as_producer() | {"V3AndBelowTopics": partitions}, 3
        )
        found = added["ResultsByTopicV3AndBelow"][0]["ResultsByPartition"][0]
        assert found["PartitionErrorCode"] == 0
        records = batch(
            SECRET, producer=self.producer, epoch=self.epoch, sequence=0, transaction=True
        )
        self.produce(self.topics[0], records, self.transaction)

    def _as_producer(self) -> Body:
        return {
            "V3AndBelowTransactionalId": self.transaction, "V3AndBelowProducerId": self.producer,
            "V3AndBelowProducerEpoch": self.epoch,
        }  # fmt: skip

    def beat(self) -> dict[str, Any]:
        """What the running members hear: that all is as it was, or that something happened."""
        modern = {
            "GroupId": self.modern_group, "MemberId": self.modern_member,
            "MemberEpoch": self.modern_epoch,
        }  # fmt: skip
        heard = self.session.exchange_all(
            [("Heartbeat", self._as_member()), ("ConsumerGroupHeartbeat", modern)]
        )
        classic, newer = (exchange.body for exchange in heard)
        return {
            "classic member": classic["ErrorCode"],
            "modern member": (newer["ErrorCode"], newer["MemberEpoch"], newer["Assignment"]),
        }

    def commit(self) -> None:
        """End the open transaction. Fails when somebody fenced it."""
        patiently(
            self.session,
            "EndTxn",
            {
                "TransactionalId": self.transaction, "ProducerId": self.producer,
                "ProducerEpoch": self.epoch, "Committed": True,
            },
            3,
        )  # fmt: skip


def disband(admin: Session, groups: list[str]) -> None:
    """Every member leaves, whoever it is, and the groups go. admin: of a superuser."""
    classic = admin.ask("DescribeGroups", {"Groups": groups})["Groups"]
    modern = admin.ask("ConsumerGroupDescribe", {"GroupIds": groups})["Groups"]
    for one in (*classic, *modern):
        for member in one["Members"]:
            leaving = {"GroupId": one["GroupId"], "MemberId": member["MemberId"]}
            admin.ask("LeaveGroup", leaving, 2)
            admin.ask("ConsumerGroupHeartbeat", leaving | {"MemberEpoch": -1})
    admin.ask("DeleteGroups", {"GroupsNames": groups})
