"""Everything that one app can say to a broker that it shares with another app, by the rights that
norn gives, and by the rights that people usually give."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from norn_reconciler.providers.events import EventsSection
from tests.isolation.events_admin_attempts import ADMIN, CLUSTER
from tests.isolation.events_attempt import Attempt
from tests.isolation.events_brokers import open_broker, shared_broker
from tests.isolation.events_catalogue import EVERYTHING, FATAL, INERT, TELEMETRY, UNTRIED
from tests.isolation.events_clients import SECRET
from tests.isolation.events_codec import name_of
from tests.isolation.events_data_attempts import DATA, fetch
from tests.isolation.events_doors import Door, bare_frame, doors
from tests.isolation.events_group_attempts import GROUPS, TRANSACTIONS
from tests.isolation.events_session import Refused, Session
from tests.isolation.events_share_attempts import SHARES
from tests.isolation.events_stage import Broker, Stage
from tests.isolation.events_sweep import Sweep, Tally, shown
from tests.isolation.events_witness import Witness
from tests.servers import Servers

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def shared(servers: Servers) -> Iterator[Stage]:
    with Stage(shared_broker(servers)) as stage:
        yield stage


@pytest.fixture(scope="module")
def open_kafka() -> Iterator[Broker]:
    with open_broker() as broker:
        yield broker


def report(record: Record, label: str, tally: Tally) -> None:
    line = f"sweep events {label}: {tally}"
    print(line)
    record(f"sweep events {label}", str(tally))


def swept(stage: Stage, attempts: Iterable[Attempt], *, newest: bool = False) -> Tally:
    return Sweep(stage, lambda: stage.open_as(stage.a), newest=newest).play(attempts)


def held(stage: Stage, topics: frozenset[str]) -> None:
    """B's transaction was left alone to its end, no topic came or went, and the passwords are
    those that norn set."""
    assert stage.found_topics() == topics
    stage.life.commit()
    for _ in range(100):  # the end of a transaction is acknowledged before it is written down
        reply = stage.life.session.exchange("Fetch", fetch(stage, stage.topic, IsolationLevel=1))
        if reply.received.count(SECRET) == 2:  # the plain one and the transaction's
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the committed record never showed")
    for app in (stage.a, stage.b):
        stage.open_as(app).close()


def test_no_request_reaches_another_app(shared: Stage, record_property: Record) -> None:
    topics = shared.found_topics()
    tally = swept(shared, EVERYTHING)
    report(record_property, "own rules", tally)
    assert not tally.leaks, [str(leak) for leak in tally.leaks]
    assert not tally.broken
    assert tally.refused > 800
    assert tally.refused + tally.allowed == tally.tried
    held(shared, topics)


def test_a_reader_of_one_topic_reaches_nothing_else_of_its_owner(
    servers: Servers, record_property: Record
) -> None:
    stage = Stage(shared_broker(servers))
    given = f"open-{stage.tag}"
    reader, owner = stage.apps
    section = EventsSection.model_validate({"topics": [*stage.topics, given]})
    stage.apps = (
        replace(reader, readable={"events": frozenset({given})}),
        replace(owner, sections={"events": section}),
    )
    with stage:
        with stage.open_as(stage.a) as session:
            found = session.ask("Metadata", {"Topics": [{"Name": given}]}, 1)["Topics"]
        assert [topic["ErrorCode"] for topic in found] == [0], "it is a reader of this one"
        topics = stage.found_topics()
        tally = swept(stage, EVERYTHING, newest=True)
        report(record_property, "own rules, as a reader", tally)
        assert not tally.leaks, [str(leak) for leak in tally.leaks]
        assert not tally.broken
        assert tally.refused > 200
        held(stage, topics)


def test_every_request_that_the_broker_offers_is_tried(shared: Stage) -> None:
    tried = {attempt.api for attempt in EVERYTHING} | TELEMETRY
    offered = {name_of(key) for key in shared.admin.learn()}
    assert offered - tried - UNTRIED.keys() == set()
    assert not tried & UNTRIED.keys()


def test_requests_that_the_broker_does_not_offer_are_not_served(
    shared: Stage, record_property: Record
) -> None:
    """Those between brokers and controllers above all."""
    before = Witness(shared).seen()
    hidden = [key for key in range(128) if key not in shared.admin.learn()]
    tally = Tally()
    for key in hidden:
        if name_of(key) in TELEMETRY:
            continue
        with shared.open_as(shared.a) as session:
            tally.tried += 1
            with pytest.raises(Refused):
                session.send_raw(bare_frame(key, 0))
            tally.refused += 1
    report(record_property, "hidden requests", tally)
    assert tally.tried > 20
    assert Witness(shared).seen() == before


def test_telemetry_tells_and_changes_nothing_of_others(shared: Stage) -> None:
    before = Witness(shared).seen()
    instance = uuid.uuid4()
    with shared.open_as(shared.a) as session:
        told = session.exchange("GetTelemetrySubscriptions", {"ClientInstanceId": instance}, 0)
        assert not shown(shared, told)
        assert told.body["RequestedMetrics"] == []
        number = told.body["SubscriptionId"]
        pushed = {"ClientInstanceId": instance, "SubscriptionId": number, "Metrics": b""}
        assert not shown(shared, session.exchange("PushTelemetry", pushed, 0))
    assert Witness(shared).seen() == before


def test_nobody_gets_in_by_another_door(shared: Stage, record_property: Record) -> None:
    before = Witness(shared).seen()
    tally = Tally()
    ways = list(doors(shared))
    with ThreadPoolExecutor(8) as pool:  # brokers let a refused client wait for its answer
        refused = list(pool.map(lambda way: stays_out(shared.broker, way[1]), ways))
    tally.tried, tally.refused = len(ways), refused.count(True)
    tally.broken = [what for (what, _), out in zip(ways, refused, strict=True) if not out]
    report(record_property, "doors", tally)
    assert not tally.broken
    assert Witness(shared).seen() == before


def stays_out(broker: Broker, attempt: Door) -> bool:
    """Whether the login is refused, and the session of no use afterwards."""
    with Session(broker.brokers, "stranger") as session:
        for step in (attempt, lambda one: one.ask("Metadata", {"Topics": None}, 1)):
            try:
                step(session)
            except Refused:
                continue
            return False
    return True


def test_nothing_is_answered_before_the_login(shared: Stage, record_property: Record) -> None:
    before = Witness(shared).seen()
    tally = Tally()
    public = {"ApiVersions", "SaslHandshake", "SaslAuthenticate"}
    first = {attempt.api: attempt for attempt in reversed(EVERYTHING)}
    for api, attempt in first.items():
        if api in public:
            continue
        tally.tried += 1
        version = min(shared.admin.versions[api][-1], attempt.until)
        with Session(shared.broker.brokers, "stranger") as session:
            with pytest.raises(Refused):
                session.ask(api, attempt.body(shared), version)
            tally.refused += 1
    report(record_property, "before the login", tally)
    assert tally.tried > 60
    assert Witness(shared).seen() == before


def test_a_guessed_fetch_session_gives_no_records(shared: Stage) -> None:
    """Kafka ties a fetch session to its number (31 random bits) and not to a user. Who guesses it
    is told the topics' names, and the consumer's next fetch fails once; no rule closes that."""
    life = shared.life.session
    opened = life.ask("Fetch", fetch(shared, *shared.topics, SessionEpoch=0), 12)
    guess = {"SessionId": opened["SessionId"], "SessionEpoch": 1}
    assert guess["SessionId"]
    with shared.open_as(shared.a) as session:
        stolen = session.exchange("Fetch", fetch(shared, **guess), 12)
    partitions = [p for topic in stolen.body["Responses"] for p in topic["Partitions"]]
    assert {p["ErrorCode"] for p in partitions} == {29}
    assert "record" not in shown(shared, stolen)
    again = life.exchange("Fetch", fetch(shared, *shared.topics, SessionEpoch=0), 12)
    assert "record" in shown(shared, again)


def test_the_rules_hold_where_everything_is_switched_on(
    open_kafka: Broker, record_property: Record
) -> None:
    """Automatic topics, delegation tokens, share groups."""
    with Stage(open_kafka) as stage:
        topics = stage.found_topics()
        tally = swept(stage, EVERYTHING, newest=True)
        report(record_property, "own rules, open broker", tally)
        assert not tally.leaks, [str(leak) for leak in tally.leaks]
        assert not tally.broken
        held(stage, topics)


@pytest.fixture(scope="module")
def let_through() -> set[str]:
    """Attempts that came through by some careless rules so far."""
    return set()


def test_a_prefix_without_its_delimiter_bites(
    open_kafka: Broker, let_through: set[str], record_property: Record
) -> None:
    with Stage(open_kafka) as stage:
        for kind, operations in (
            ("TOPIC", ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")),
            ("GROUP", ("READ", "DESCRIBE")),
            ("TRANSACTIONAL_ID", ("WRITE", "DESCRIBE")),
        ):
            stage.grant(*((kind, stage.a, "PREFIXED", operation) for operation in operations))
        tried = (*DATA.attempts, *GROUPS.attempts, *TRANSACTIONS.attempts)
        tally = swept(stage, tried, newest=True)
        report(record_property, "prefix without delimiter", tally)
        let_through |= tally.let_through()
        assert tally.leaking >= 60
        assert tally.kinds() >= {
            ("Fetch", "shows record"),
            ("Produce", "changed end offsets"),
            ("Metadata", "shows prefixed topic"),
            ("ListGroups", "shows group"),
            ("DescribeGroups", "shows member"),
            ("OffsetFetch", "shows note"),
            ("OffsetCommit", "changed committed offsets"),
            ("TxnOffsetCommit", "answered"),
            ("LeaveGroup", "changed classic member"),
            ("ConsumerGroupHeartbeat", "changed modern member"),
            ("InitProducerId", "changed transaction"),
            ("EndTxn", "changed transaction"),
        }
        fence = {"TransactionalId": stage.b, "TransactionTimeoutMs": 10000}
        with stage.open_as(stage.a) as session:
            session.ask("InitProducerId", fence, 4)
        with pytest.raises(AssertionError, match="EndTxn: error"):
            stage.life.commit()


def test_all_rights_on_every_topic_and_group_bite(
    open_kafka: Broker, let_through: set[str], record_property: Record
) -> None:
    with Stage(open_kafka) as stage:
        stage.grant(("TOPIC", "*", "LITERAL", "ALL"), ("GROUP", "*", "LITERAL", "ALL"))
        tried = (*DATA.attempts, *GROUPS.attempts, *SHARES.attempts, *ADMIN.attempts)
        tally = swept(stage, tried, newest=True)
        report(record_property, "all on every topic and group", tally)
        let_through |= tally.let_through()
        assert tally.leaking >= 80
        assert tally.kinds() >= {
            ("Fetch", "shows record"),
            ("Fetch", "shows note"),  # of __consumer_offsets
            ("Produce", "changed end offsets"),
            ("Metadata", "changed topics made"),  # made by being asked for
            ("DeleteRecords", "changed first offsets"),
            ("OffsetCommit", "changed committed offsets"),
            ("OffsetDelete", "changed committed offsets"),
            ("DeleteGroups", "changed groups"),
            ("ShareGroupHeartbeat", "answered"),
            ("CreatePartitions", "changed topics"),
            ("DeleteTopics", "changed topics"),
            ("IncrementalAlterConfigs", "changed settings"),
            ("DescribeConfigs", "answered"),
        }


def test_what_norn_refuses_is_no_nonsense(
    open_kafka: Broker, let_through: set[str], record_property: Record
) -> None:
    """The attempts on the cluster that no rights on topics let through come through by rights on
    the cluster, but for a few that are named."""
    with Stage(open_kafka) as stage:
        for kind, name in (
            ("TOPIC", "*"), ("GROUP", "*"), ("TRANSACTIONAL_ID", "*"),
            ("CLUSTER", "kafka-cluster"), ("DELEGATION_TOKEN", "*"), ("USER", "*"),
        ):  # fmt: skip
            stage.grant((kind, name, "LITERAL", "ALL"))
        tried = [
            attempt
            for attempt in (*ADMIN.attempts, *CLUSTER.attempts)
            if str(attempt) not in FATAL | let_through
        ]
        tally = swept(stage, tried, newest=True)
        report(record_property, "all on everything", tally)
    assert {str(a) for a in tried} - tally.let_through() - INERT.keys() == set()
