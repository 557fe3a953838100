"""Requests of the Kafka API, built and read: norn's values on one side, kafka-python's messages on
the other. Imported where a request is first sent, since the driver takes 0.2 s to import.

Messages are used rather than KafkaAdminClient's methods because those drop what a batch needs:
which ACL of a request failed and why, the error code of a config change, a request's version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.protocol.admin import (
    AlterUserScramCredentialsRequest,
    CreateAclsRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteAclsRequest,
    DeleteTopicsRequest,
    DescribeAclsRequest,
    DescribeClusterRequest,
    DescribeConfigsRequest,
    DescribeUserScramCredentialsRequest,
    IncrementalAlterConfigsRequest,
)
from kafka.protocol.consumer import OffsetFetchRequest
from kafka.protocol.metadata import MetadataRequest

from norn_reconciler.providers.events.acl import (
    OPERATIONS,
    PATTERNS,
    PERMISSIONS,
    TYPES,
    AclBinding,
)
from norn_reconciler.providers.events.state import ConfigValue, TopicSpec, TopicState

_ANY = 1
_TOPIC_RESOURCE = 2
_SET, _DELETE = 0, 1
_DYNAMIC_TOPIC_CONFIG = 1  # ConfigSource: set on this very topic
_MECHANISMS = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}
_MECHANISM_CODES = {name: code for code, name in _MECHANISMS.items()}


@dataclass(frozen=True, slots=True)
class ItemError:
    """One item of a batch that was refused: Kafka's error code and the broker's words."""

    code: int
    message: str | None


@dataclass(frozen=True, slots=True)
class Metadata:
    """topics: name → state without config, of topics without an error. leaderless: those with a
    partition that no broker leads yet. controller: a node id, -1 when unknown."""

    topics: Mapping[str, TopicState]
    leaderless: frozenset[str]
    controller: int
    brokers: tuple[int, ...]


def _name(table: Mapping[int, str], code: int) -> str:
    return table.get(code, str(code))


def _code(table: Mapping[int, str], name: str) -> int:
    """The number of a name. A name that is a number is one that this table does not know."""
    return next((code for code, known in table.items() if known == name), 0) or int(name)


METADATA_WITH_RIGHTS = 8  # the first version that says which operations are allowed


def metadata_request(topics: Sequence[str] | None, *, rights: bool = False) -> Any:
    """None: every topic; empty: none, only the brokers. rights: with what whoever asks may do."""
    topic = MetadataRequest.MetadataRequestTopic
    return MetadataRequest(
        topics=None if topics is None else [topic(name=name) for name in topics],
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=rights,
    )


def metadata(response: Any) -> Metadata:
    topics: dict[str, TopicState] = {}
    leaderless: set[str] = set()
    for topic in response.topics:
        if topic.error_code or not topic.partitions:
            continue
        # Brokers without topic ids answer with none at all, or with one of all zeros.
        topic_id = str(topic.topic_id) if topic.topic_id and topic.topic_id.int else None
        replicas = len(topic.partitions[0].replica_nodes)
        topics[topic.name] = TopicState(topic_id, len(topic.partitions), replicas)
        if any(partition.leader_id < 0 for partition in topic.partitions):
            leaderless.add(topic.name)
    brokers = tuple(sorted(broker.node_id for broker in response.brokers))
    return Metadata(topics, frozenset(leaderless), response.controller_id, brokers)


def offset_fetch_request(group: str) -> Any:
    """All offsets that the group has committed."""
    return OffsetFetchRequest(group_id=group, topics=None)


def describe_acls_request(principal: str | None = None) -> Any:
    """Every ACL of `principal`; None: of everybody. Pattern ANY lists rules as they are, MATCH
    would search."""
    return DescribeAclsRequest(
        resource_type_filter=_ANY,
        resource_name_filter=None,
        pattern_type_filter=_ANY,
        principal_filter=principal,
        host_filter=None,
        operation=_ANY,
        permission_type=_ANY,
    )


def acls(response: Any) -> list[AclBinding]:
    found: list[AclBinding] = []
    for resource in response.resources:
        kind, pattern = _name(TYPES, resource.resource_type), _name(PATTERNS, resource.pattern_type)
        name = resource.resource_name
        found += (
            AclBinding(
                acl.principal,
                kind,
                name,
                pattern,
                acl.host,
                _name(PERMISSIONS, acl.permission_type),
                _name(OPERATIONS, acl.operation),
            )
            for acl in resource.acls
        )
    return found


def create_acls_request(bindings: Sequence[AclBinding]) -> Any:
    creation = CreateAclsRequest.AclCreation
    return CreateAclsRequest(
        creations=[
            creation(
                resource_type=_code(TYPES, acl.type),
                resource_name=acl.name,
                resource_pattern_type=_code(PATTERNS, acl.pattern),
                principal=acl.principal,
                host=acl.host,
                operation=_code(OPERATIONS, acl.operation),
                permission_type=_code(PERMISSIONS, acl.permission),
            )
            for acl in bindings
        ]
    )


def delete_acls_request(bindings: Sequence[AclBinding]) -> Any:
    """Each filter names every field, so it matches one ACL: an unset field would match all."""
    one = DeleteAclsRequest.DeleteAclsFilter
    return DeleteAclsRequest(
        filters=[
            one(
                resource_type_filter=_code(TYPES, acl.type),
                resource_name_filter=acl.name,
                pattern_type_filter=_code(PATTERNS, acl.pattern),
                principal_filter=acl.principal,
                host_filter=acl.host,
                operation=_code(OPERATIONS, acl.operation),
                permission_type=_code(PERMISSIONS, acl.permission),
            )
            for acl in bindings
        ]
    )


def by_position(results: Iterable[Any]) -> list[ItemError | None]:
    """Errors in the order of the request (CreateAcls, DeleteAcls)."""
    return [_error(result) for result in results]


def by_name(results: Iterable[Any], name: str) -> dict[str, ItemError]:
    """Errors by the field that names the item."""
    found = {str(getattr(result, name)): _error(result) for result in results}
    return {item: error for item, error in found.items() if error is not None}


def _error(result: Any) -> ItemError | None:
    return ItemError(result.error_code, result.error_message) if result.error_code else None


def create_topics_request(
    specs: Sequence[TopicSpec], timeout_ms: int, *, validate_only: bool = False
) -> Any:
    """Version 4: it takes -1 for the broker's defaults, and unlike newer ones it is answered
    without every topic's whole configuration, three times as fast for a thousand topics."""
    topic = CreateTopicsRequest.CreatableTopic
    config = topic.CreatableTopicConfig
    return CreateTopicsRequest(
        topics=[
            topic(
                name=spec.name,
                num_partitions=-1 if spec.partitions is None else spec.partitions,
                replication_factor=-1 if spec.replication is None else spec.replication,
                assignments=[],
                configs=[config(name=key, value=value) for key, value in spec.config],
            )
            for spec in specs
        ],
        timeout_ms=timeout_ms,
        validate_only=validate_only,
        min_version=4,
        max_version=4,
    )


def delete_topics_request(names: Sequence[str], timeout_ms: int) -> Any:
    """By name: an older version has no other way, and a newer one no name in its answer else."""
    return DeleteTopicsRequest(topic_names=list(names), timeout_ms=timeout_ms, max_version=5)


def create_partitions_request(
    counts: Mapping[str, int], timeout_ms: int, *, validate_only: bool = False
) -> Any:
    topic = CreatePartitionsRequest.CreatePartitionsTopic
    return CreatePartitionsRequest(
        topics=[topic(name=name, count=count, assignments=None) for name, count in counts.items()],
        timeout_ms=timeout_ms,
        validate_only=validate_only,
    )


def describe_configs_request(keys: Mapping[str, Sequence[str] | None]) -> Any:
    """keys: topic → config keys, None for all of them."""
    resource = DescribeConfigsRequest.DescribeConfigsResource
    return DescribeConfigsRequest(
        resources=[
            resource(
                resource_type=_TOPIC_RESOURCE,
                resource_name=name,
                configuration_keys=None if wanted is None else list(wanted),
            )
            for name, wanted in keys.items()
        ],
        include_synonyms=False,
        include_documentation=False,
        min_version=1,
    )


def configs(response: Any) -> dict[str, dict[str, ConfigValue] | ItemError]:
    found: dict[str, dict[str, ConfigValue] | ItemError] = {}
    for result in response.results:
        found[result.resource_name] = _error(result) or {
            entry.name: ConfigValue(entry.value or "", entry.config_source == _DYNAMIC_TOPIC_CONFIG)
            for entry in result.configs
        }
    return found


def alter_configs_request(
    changes: Mapping[str, Mapping[str, str | None]], *, validate_only: bool = False
) -> Any:
    """changes: topic → key → value, None for the broker's default. Other keys stay as they are."""
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    config = resource.AlterableConfig
    return IncrementalAlterConfigsRequest(
        resources=[
            resource(
                resource_type=_TOPIC_RESOURCE,
                resource_name=name,
                configs=[
                    config(
                        name=key, config_operation=_DELETE if value is None else _SET, value=value
                    )
                    for key, value in keys.items()
                ],
            )
            for name, keys in changes.items()
        ],
        validate_only=validate_only,
    )


def describe_users_request() -> Any:
    """Every user with a SCRAM credential."""
    return DescribeUserScramCredentialsRequest(users=[])


def users(response: Any) -> dict[str, dict[str, int]]:
    """User → mechanism → iterations."""
    return {
        result.user: {
            _name(_MECHANISMS, info.mechanism): info.iterations for info in result.credential_infos
        }
        for result in response.results
        if not result.error_code
    }


@dataclass(frozen=True, slots=True)
class Upsert:
    """A SCRAM credential to write. salted: PBKDF2 of the password; never the password."""

    user: str
    mechanism: str
    iterations: int
    salt: bytes
    salted: bytes

    def __repr__(self) -> str:
        return f"Upsert({self.user!r}, {self.mechanism!r}, ***)"


def alter_users_request(upserts: Sequence[Upsert], deletions: Sequence[tuple[str, str]]) -> Any:
    """deletions: (user, mechanism)."""
    message = AlterUserScramCredentialsRequest
    return message(
        deletions=[
            message.ScramCredentialDeletion(name=user, mechanism=_MECHANISM_CODES[mechanism])
            for user, mechanism in deletions
        ],
        upsertions=[
            message.ScramCredentialUpsertion(
                name=one.user,
                mechanism=_MECHANISM_CODES[one.mechanism],
                iterations=one.iterations,
                salt=one.salt,
                salted_password=one.salted,
            )
            for one in upserts
        ],
    )


def describe_cluster_request() -> Any:
    return DescribeClusterRequest(
        include_cluster_authorized_operations=True, include_fenced_brokers=False
    )


def authorized_operations(codes: Iterable[int]) -> frozenset[str] | None:
    """The names of operations that the driver has read from a bit field; None where the broker left
    it out, which it says by the lowest int32, bit 31 alone."""
    known = set(codes)
    if known == {31}:
        return None
    return frozenset(name for code, name in OPERATIONS.items() if code in known)
