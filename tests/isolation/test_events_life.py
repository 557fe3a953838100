"""What an app must be able to do with the rights that norn gives, by a real client and beside
another app: produce, consume, commit, run transactions, look at its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from tests.integration.provider_contract import credential
from tests.isolation.events_brokers import shared_broker
from tests.isolation.events_clients import Life, patiently
from tests.isolation.events_stage import Stage
from tests.servers import Servers

PATIENCE_MS = 20000
Client = Callable[..., Any]
Consumers = Callable[..., KafkaConsumer]


@pytest.fixture(scope="module")
def stage(servers: Servers) -> Iterator[Stage]:
    """The app is A; B beside it has its own going on."""
    with Stage(shared_broker(servers)) as made:
        yield made


@pytest.fixture(scope="module")
def client(stage: Stage) -> Client:
    """Makes a client of that class by what norn's variables say, which stays out of sight."""
    found = stage.provider.env(stage.apps[0], credential(stage.a))

    def made(kind: Any, *topics: str, **options: Any) -> Any:
        return kind(
            *topics,
            bootstrap_servers=found["KAFKA_BOOTSTRAP_SERVERS"],
            security_protocol=found["KAFKA_SECURITY_PROTOCOL"],
            sasl_mechanism=found["KAFKA_SASL_MECHANISM"],
            sasl_plain_username=found["KAFKA_SASL_USERNAME"],
            sasl_plain_password=found["KAFKA_SASL_PASSWORD"],
            **options,
        )

    return made


@pytest.fixture(scope="module")
def plain(client: Client) -> Iterator[KafkaProducer]:
    producer = client(KafkaProducer, enable_idempotence=False, acks=1)
    yield producer
    producer.close()


@pytest.fixture(scope="module")
def admin(client: Client) -> Iterator[KafkaAdminClient]:
    found = client(KafkaAdminClient)
    yield found
    found.close()


@pytest.fixture
def consumer(client: Client) -> Iterator[Consumers]:
    opened: list[KafkaConsumer] = []

    def start(*topics: str, **options: Any) -> KafkaConsumer:
        defaults = {
            "auto_offset_reset": "earliest", "enable_auto_commit": False,
            "consumer_timeout_ms": PATIENCE_MS, "fetch_max_wait_ms": 100,
        }  # fmt: skip
        opened.append(client(KafkaConsumer, *topics, **(defaults | options)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def take(consumer: KafkaConsumer, count: int) -> list[bytes]:
    return [record.value for _, record in zip(range(count), consumer, strict=False)]


def put(producer: KafkaProducer, topic: str, *values: bytes) -> None:
    for value in values:
        producer.send(topic, value, partition=0).get(timeout=20)


def test_a_plain_producer_and_a_consumer_group(
    stage: Stage, plain: KafkaProducer, consumer: Consumers
) -> None:
    """The group is named as the app; offsets are committed, found again and moved back."""
    put(plain, stage.own_topic, b"one", b"two")
    here = TopicPartition(stage.own_topic, 0)
    first = consumer(stage.own_topic, group_id=stage.a)
    assert take(first, 2) == [b"one", b"two"]
    first.commit({here: OffsetAndMetadata(1, "done", -1)})
    first.seek(here, 0)
    assert take(first, 1) == [b"one"]
    first.close()
    second = consumer(stage.own_topic, group_id=stage.a)
    assert take(second, 1) == [b"two"]
    assert second.committed(here) == 1
    assert second.end_offsets([here])[here] == 2


def test_an_idempotent_producer_in_the_prefix(
    stage: Stage, client: Client, consumer: Consumers
) -> None:
    topic = f"{stage.a}.jobs"
    producer = client(KafkaProducer, enable_idempotence=True)
    put(producer, topic, b"job")
    producer.close()
    assert take(consumer(topic, group_id=f"{stage.a}.workers"), 1) == [b"job"]


def test_transactions_show_what_was_committed_and_nothing_else(
    stage: Stage, client: Client, consumer: Consumers
) -> None:
    """The name of the app itself, and one below it; offsets of the own group go with it."""
    topic, source = f"{stage.a}.jobs", TopicPartition(stage.own_topic, 0)
    begin = consumer(group_id=None)
    begin.assign([TopicPartition(topic, 0)])
    begin.seek_to_end()
    before = begin.position(TopicPartition(topic, 0))
    for name in (stage.a, f"{stage.a}.transfer"):
        producer = client(KafkaProducer, transactional_id=name)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"thrown away", partition=0)
        producer.flush()
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topic, name.encode(), partition=0)
        offsets = {source: OffsetAndMetadata(7, "", -1)}
        producer.send_offsets_to_transaction(offsets, f"{stage.a}.transfers")
        producer.commit_transaction()
        producer.close()
    careful = consumer(group_id=f"{stage.a}.transfers", isolation_level="read_committed")
    careful.assign([TopicPartition(topic, 0)])
    careful.seek(TopicPartition(topic, 0), before)
    assert take(careful, 2) == [stage.a.encode(), f"{stage.a}.transfer".encode()]
    assert careful.committed(source) == 7
    begin.seek(TopicPartition(topic, 0), before)
    assert b"thrown away" in take(begin, 3)


def test_two_workers_share_a_group(stage: Stage, plain: KafkaProducer, consumer: Consumers) -> None:
    """Both members get a partition, which takes a rebalance."""
    options = {"group_id": f"{stage.a}.workers2", "heartbeat_interval_ms": 200}
    workers = [consumer(stage.own_topic, **options) for _ in range(2)]
    for _ in range(200):
        for worker in workers:
            worker.poll(50)
        held = [worker.assignment() for worker in workers]
        if all(len(one) == 1 for one in held):
            break
    assert sorted(part.partition for one in held for part in one) == [0, 1]


def test_every_protocol_of_groups_in_single_requests(stage: Stage) -> None:
    """The client library has no KIP-848; so a member of such a group, one of a classic group and a
    transaction are started by hand."""
    topics = (stage.own_topic, f"{stage.a}.jobs")
    life = Life(stage.open_as(stage.a), stage.a, topics, stage.topic_ids)
    life.begin()
    heard = life.beat()
    assert heard["classic member"] == 0
    assert heard["modern member"][:2] == (0, life.modern_epoch)
    life.commit()
    described = life.session.ask("ConsumerGroupDescribe", {"GroupIds": [life.modern_group]})
    (group,) = described["Groups"]
    assert group["GroupState"] == "Stable"
    assert {one["TopicName"] for m in group["Members"]
            for one in m["Assignment"]["TopicPartitions"]} == set(topics)  # fmt: skip
    found = life.session.ask("DescribeTransactions", {"TransactionalIds": [stage.a]})
    assert found["TransactionStates"][0]["ErrorCode"] == 0
    patiently(life.session, "LeaveGroup", {"GroupId": life.group, "MemberId": life.member}, 2)
    leaving = {"GroupId": life.modern_group, "MemberId": life.modern_member, "MemberEpoch": -1}
    patiently(life.session, "ConsumerGroupHeartbeat", leaving)
    life.session.close()


def test_a_pattern_finds_the_own_topics_alone(stage: Stage, consumer: Consumers) -> None:
    """The pattern matches the other app's topics too."""
    one = consumer(group_id=f"{stage.a}.patterns")
    one.subscribe(pattern=f".*{stage.tag}.*")
    for _ in range(100):
        one.poll(50)
        if one.assignment():
            break
    assert {part.topic for part in one.assignment()} == {stage.own_topic, f"{stage.a}.jobs"}
    assert one.topics() == {stage.own_topic, f"{stage.a}.jobs"}


def test_an_app_lists_and_describes_its_own(
    stage: Stage, admin: KafkaAdminClient, consumer: Consumers, plain: KafkaProducer
) -> None:
    own = {stage.own_topic, f"{stage.a}.jobs"}
    put(plain, stage.own_topic, b"seen")
    here = consumer(stage.own_topic, group_id=f"{stage.a}.seen")
    assert take(here, 1)
    here.commit()
    assert set(admin.list_topics()) == own
    assert {
        t["name"]: len(t["partitions"]) for t in admin.describe_topics(list(own))
    } == dict.fromkeys(own, 2)
    groups = {group["group_id"] for group in admin.list_groups()}
    assert f"{stage.a}.seen" in groups
    assert all(group == stage.a or group.startswith(f"{stage.a}.") for group in groups)
    described = admin.describe_groups([f"{stage.a}.seen"])[f"{stage.a}.seen"]
    assert described["group_state"] == "Stable"
    resource = ConfigResource(ConfigResourceType.TOPIC, stage.own_topic)
    configs = admin.describe_configs([resource], config_filter="all")
    assert "retention.ms" in str(configs)
    offsets = admin.list_group_offsets([f"{stage.a}.seen"])
    assert stage.own_topic in str(offsets)
