"""Attempts at what administrators do: to app B's topics and rights, to users, to the cluster."""

from __future__ import annotations

import uuid

from tests.isolation.events_attempt import Table
from tests.isolation.events_codec import Body
from tests.isolation.events_stage import Stage

ADMIN = Table()
CLUSTER = Table()
_TOPIC, _GROUP, _BROKER, _LOGGER, _METRICS = 2, 32, 4, 8, 16  # config resources
_ANY, _ALLOW, _LITERAL = 1, 3, 3
_READ = 3
_TOKENS_OFF = 61
_NO_TOKEN = (_TOKENS_OFF, 62)  # 62: a token that nobody was given
_NO_CONTROLLER_LISTENER = 114  # said to clients of brokers
_LOGGED_IN = 34  # no second login within a session


def _new_topic(name: str, **more: object) -> Body:
    topic = {"Name": name, "NumPartitions": 1, "ReplicationFactor": 1, **more}
    return {"Topics": [topic], "timeoutMs": 5000}


def _delete(s: Stage, *, by_id: bool) -> Body:
    listed = [{"Name": None, "TopicId": s.topic_ids[t]} for t in s.topics]
    named = [{"Name": t} for t in s.topics]
    return {
        "Topics": listed if by_id else named, "TopicNames": list(s.topics), "TimeoutMs": 5000,
    }  # fmt: skip


def _configs(kind: int, key: str, value: str, *names: str, **more: object) -> Body:
    changed = [{"Name": key, "Value": value, **more}]
    listed = [{"ResourceType": kind, "ResourceName": name, "Configs": changed} for name in names]
    return {"Resources": listed}


def _described(kind: int, *names: str) -> Body:
    listed = [
        {"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": None} for name in names
    ]
    return {"Resources": listed, "IncludeSynonyms": True}


ADMIN("CreateTopics", "in its prefix", lambda s: _new_topic(f"{s.b}.made"))
ADMIN("CreateTopics", "in the own prefix", lambda s: _new_topic(f"{s.a}.made"))
ADMIN("CreateTopics", "of its topic's name", lambda s: _new_topic(s.topic))
ADMIN("CreateTopics", "colliding with its topic", lambda s: _new_topic(s.jobs.replace(".", "_")))
for by_id in (False, True):
    ADMIN(
        "DeleteTopics", f"its topics, by id: {by_id}",
        lambda s, by_id=by_id: _delete(s, by_id=by_id), since=6 * by_id,
    )  # fmt: skip
ADMIN(
    "CreatePartitions", "more",
    lambda s: {"TimeoutMs": 5000, "Topics": [
        {"Name": t, "Count": 9, "Assignments": None} for t in s.topics
    ]},
)  # fmt: skip
for kind, key, value, whose in (
    (_TOPIC, "retention.ms", "1000", lambda s: s.topics),
    (_TOPIC, "retention.ms", "1000", lambda s: (s.own_topic,)),
    (_GROUP, "consumer.session.timeout.ms", "45001", lambda s: (s.life.modern_group,)),
    (_BROKER, "log.retention.ms", "1000", lambda s: (str(s.node),)),
    (_BROKER, "log.retention.ms", "1000", lambda _: ("",)),
    (
        _BROKER,
        "listener.name.sasl_plaintext.ssl.keystore.location",
        "/tmp/none",
        lambda s: (str(s.node),),
    ),
    (_LOGGER, "kafka", "OFF", lambda s: (str(s.node),)),
    (_METRICS, "interval.ms", "1000", lambda s: (f"{s.b}.metrics",)),
):
    label = f"resource {kind}: {key}"
    ADMIN(
        "IncrementalAlterConfigs", label,
        lambda s, k=kind, e=key, v=value, w=whose: _configs(k, e, v, *w(s)),
    )  # fmt: skip
    if kind != _LOGGER:
        ADMIN(
            "AlterConfigs", label,
            lambda s, k=kind, e=key, v=value, w=whose: _configs(k, e, v, *w(s)),
        )  # fmt: skip
ADMIN("DescribeConfigs", "of its topics", lambda s: _described(_TOPIC, *s.topics))
ADMIN("DescribeConfigs", "of its groups", lambda s: _described(_GROUP, s.b, s.life.modern_group))
ADMIN("DescribeConfigs", "of the broker", lambda s: _described(_BROKER, str(s.node)))
ADMIN("DescribeConfigs", "of all brokers", lambda _: _described(_BROKER, ""))
ADMIN("DescribeConfigs", "of the loggers", lambda s: _described(_LOGGER, str(s.node)))
ADMIN("DescribeConfigs", "of metrics", lambda s: _described(_METRICS, f"{s.b}.metrics"))
ADMIN("ListConfigResources", "all", lambda _: {"ResourceTypes": [2, 4, 16, 32]}, since=1)
ADMIN("ListConfigResources", "of metrics", until=0)
ADMIN(
    "ElectLeaders", "of its topics",
    lambda s: {"TopicPartitions": [{"Topic": t, "Partitions": [0]} for t in s.topics]},
)  # fmt: skip
ADMIN(
    "ElectLeaders", "unclean, of all",
    lambda _: {"ElectionType": 1, "TopicPartitions": None}, since=1,
)  # fmt: skip
ADMIN(
    "AlterPartitionReassignments", "of its topics",
    lambda s: {"Topics": [
        {"Name": t, "Partitions": [{"PartitionIndex": 0, "Replicas": [s.node]}]} for t in s.topics
    ]},
)  # fmt: skip
ADMIN("ListPartitionReassignments", "all", lambda _: {"Topics": None})
ADMIN(
    "ListPartitionReassignments", "of its topics",
    lambda s: {"Topics": [{"Name": t, "PartitionIndexes": [0]} for t in s.topics]},
)  # fmt: skip
ADMIN(
    "AlterReplicaLogDirs", "of its topics",
    lambda s: {"Dirs": [{"Path": "/tmp/none", "Topics": [
        {"Name": t, "Partitions": [0]} for t in s.topics
    ]}]},
)  # fmt: skip
ADMIN("DescribeLogDirs", "all", lambda _: {"Topics": None}, lists=True)
ADMIN(
    "DescribeLogDirs", "of its topics",
    lambda s: {"Topics": [{"Topic": t, "Partitions": [0]} for t in s.topics]}, lists=True,
)  # fmt: skip


def _acl(kind: int, name: str, who: str, pattern: int = _LITERAL, permission: int = _ALLOW) -> Body:
    return {
        "ResourceType": kind, "ResourceName": name, "ResourcePatternType": pattern,
        "Principal": f"User:{who}", "Host": "*", "Operation": _READ, "PermissionType": permission,
    }  # fmt: skip


def _matching(**given: object) -> Body:
    return {
        "ResourceTypeFilter": _ANY, "ResourceNameFilter": None, "PatternTypeFilter": _ANY,
        "PrincipalFilter": None, "HostFilter": None, "Operation": _ANY, "PermissionType": _ANY,
        **given,
    }  # fmt: skip


ADMIN("CreateAcls", "lets itself read", lambda s: {"Creations": [_acl(2, s.topic, s.a)]})
ADMIN("CreateAcls", "lets all read", lambda s: {"Creations": [_acl(2, s.topic, "*")]})
ADMIN(
    "CreateAcls", "forbids it its own",
    lambda s: {"Creations": [_acl(2, s.jobs, s.b, permission=2)]},
)  # fmt: skip
ADMIN("CreateAcls", "all groups by prefix", lambda s: {"Creations": [_acl(3, "m", s.a, 4)]})
ADMIN("DescribeAcls", "all", lambda _: _matching())
ADMIN("DescribeAcls", "its own", lambda s: _matching(PrincipalFilter=f"User:{s.a}"))
ADMIN("DescribeAcls", "of the other", lambda s: _matching(PrincipalFilter=f"User:{s.b}"))
ADMIN(
    "DeleteAcls", "of the other",
    lambda s: {"Filters": [_matching(PrincipalFilter=f"User:{s.b}")]},
)  # fmt: skip


def _password(name: str) -> Body:
    new = {
        "Name": name, "Mechanism": 1, "Iterations": 8192, "Salt": b"s" * 16,
        "SaltedPassword": b"p" * 32,
    }  # fmt: skip
    return {"Upsertions": [new]}


for label, who in (
    ("the other", lambda s: s.b), ("itself", lambda s: s.a), ("a new user", lambda s: f"{s.a}.new"),
    ("norn's admin", lambda s: s.broker.username),
):  # fmt: skip
    CLUSTER("AlterUserScramCredentials", f"of {label}", lambda s, w=who: _password(w(s)))
    CLUSTER(
        "DescribeUserScramCredentials", f"of {label}", lambda s, w=who: {"Users": [{"Name": w(s)}]}
    )
CLUSTER(
    "AlterUserScramCredentials", "deletes the other",
    lambda s: {"Deletions": [{"Name": s.b, "Mechanism": 1}]},
)  # fmt: skip
# An empty list means all; on null, brokers of 4.1 fail to word the refusal and answer nothing.
CLUSTER("DescribeUserScramCredentials", "of all", lambda _: {"Users": []})


def _quota(kind: str, name: str | None) -> Body:
    entity = [{"EntityType": kind, "EntityName": name}]
    return {"Entries": [{"Entity": entity, "Ops": [{"Key": "producer_byte_rate", "Value": 1e9}]}]}


CLUSTER("AlterClientQuotas", "of the other", lambda s: _quota("user", s.b))
CLUSTER("AlterClientQuotas", "of itself", lambda s: _quota("user", s.a))
CLUSTER("AlterClientQuotas", "of its client id", lambda s: _quota("client-id", f"client-of-{s.b}"))
CLUSTER("AlterClientQuotas", "of all users", lambda _: _quota("user", None))
CLUSTER("DescribeClientQuotas", "of all")
CLUSTER(
    "DescribeClientQuotas", "of the other",
    lambda s: {"Components": [{"EntityType": "user", "MatchType": 0, "Match": s.b}]},
)  # fmt: skip
CLUSTER(
    "CreateDelegationToken", "for the other",
    lambda s: {
        "OwnerPrincipalType": "User", "OwnerPrincipalName": s.b, "MaxLifetimeMs": 60000,
    }, _TOKENS_OFF,
)  # fmt: skip
CLUSTER(
    "CreateDelegationToken", "for itself, another may renew",
    lambda s: {
        "Renewers": [{"PrincipalType": "User", "PrincipalName": "somebody"}],
        "MaxLifetimeMs": 60000,
    }, _TOKENS_OFF, lists=True,
)  # fmt: skip
CLUSTER(
    "DescribeDelegationToken", "of the other",
    lambda s: {"Owners": [{"PrincipalType": "User", "PrincipalName": s.b}]}, _TOKENS_OFF,
    lists=True,
)  # fmt: skip
CLUSTER("DescribeDelegationToken", "of all", lambda _: {"Owners": None}, _TOKENS_OFF, lists=True)
CLUSTER("RenewDelegationToken", "a guess", lambda _: {"Hmac": b"h" * 64}, *_NO_TOKEN)
CLUSTER("ExpireDelegationToken", "a guess", lambda _: {"Hmac": b"h" * 64}, *_NO_TOKEN)
CLUSTER("UnregisterBroker", "the broker", lambda s: {"BrokerId": s.node})
CLUSTER(
    "UpdateFeatures", "no more KIP-848",
    lambda _: {"FeatureUpdates": [
        {"Feature": "group.version", "MaxVersionLevel": 0, "AllowDowngrade": True, "UpgradeType": 3}
    ]},
)  # fmt: skip
CLUSTER(
    "DescribeQuorum", "of the metadata",
    lambda _: {"Topics": [
        {"TopicName": "__cluster_metadata", "Partitions": [{"PartitionIndex": 0}]}
    ]},
)  # fmt: skip
CLUSTER(
    "AddRaftVoter", "another",
    lambda _: {
        "VoterId": 99, "VoterDirectoryId": uuid.UUID(int=99), "TimeoutMs": 1000,
        "Listeners": [{"Name": "CONTROLLER", "Host": "127.0.0.1", "Port": 1}],
    },
)  # fmt: skip
CLUSTER(
    "RemoveRaftVoter", "the only one",
    lambda s: {"VoterId": s.node, "VoterDirectoryId": uuid.UUID(int=99)},
)  # fmt: skip
CLUSTER("DescribeCluster", "brokers", lists=True)
CLUSTER("DescribeCluster", "controllers", lambda _: {"EndpointType": 2}, _NO_CONTROLLER_LISTENER,
        since=1)  # fmt: skip
CLUSTER("ApiVersions", "as any client", lambda _: {
    "ClientSoftwareName": "x", "ClientSoftwareVersion": "1",
}, lists=True)  # fmt: skip
CLUSTER("SaslHandshake", "again", lambda _: {"Mechanism": "SCRAM-SHA-256"}, _LOGGED_IN)
CLUSTER("SaslAuthenticate", "as another within the session", lambda s: {
    "AuthBytes": f"n,,n={s.b},r=nonce".encode(),
}, _LOGGED_IN)  # fmt: skip
