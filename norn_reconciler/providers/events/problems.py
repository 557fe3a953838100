"""What a plan reports because it cannot, or must not, mend it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from norn_reconciler.model.inventory import Held
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.providers.events.acl import AclBinding, AclRule, rules
from norn_reconciler.providers.events.state import TopicSpec, TopicState

_FLAGS = {"TOPIC": "--topic", "GROUP": "--group", "TRANSACTIONAL_ID": "--transactional-id"}


def foreign_user(app: str) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"a SCRAM user {app} exists that norn did not make: nothing is granted to it",
        f"norn adopt {app}",
    )


def foreign_principal(app: str, acls: frozenset[AclBinding]) -> Problem:
    shown = "; ".join(str(rule) for rule in rules(acls))
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"ACLs of principal User:{app} exist that norn did not make, of a client that logs in "
        f"without a SCRAM user: they are left as they are ({shown})",
        f"norn adopt {app}: they are replaced by those of the spec",
    )


def foreign_prefix(app: str, names: Sequence[str]) -> Problem:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"names that begin with {app}. would be this app's, and somebody else has some: {shown}",
        f"another name for the app; or, if it may have these too: norn adopt {app}",
    )


def foreign_topic(app: str, topic: str) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"topic {topic} exists and norn did not make it",
        f"norn adopt {app}",
    )


def not_shared(owner: str, topic: str) -> Problem:
    return Problem(
        Severity.WARNING,
        "NotShared",
        f"the spec of {owner} lets it read topic {topic}, which norn did not make for {owner}: "
        "it is not given",
        f"norn adopt {owner}",
    )


def topic_differs(spec: TopicSpec, state: TopicState, held: Held) -> Iterator[Problem]:
    """Differences of a topic of norn's that no request can mend."""
    if held.server_id and state.topic_id and held.server_id != state.topic_id:
        yield Problem(
            Severity.WARNING,
            "TopicReplaced",
            f"topic {spec.name} was deleted and made again: what was in it is lost "
            f"(topic id {held.server_id} before, {state.topic_id} now)",
        )
    if spec.partitions is not None and spec.partitions < state.partitions:
        yield Problem(
            Severity.WARNING,
            "PartitionsShrink",
            f"topic {spec.name} has {state.partitions} partitions, the spec says "
            f"{spec.partitions}: partitions cannot shrink; the rest of the spec is in force",
            f"write partitions: {state.partitions} in the spec, or make a new topic",
        )
    if spec.replication is not None and spec.replication != state.replication:
        yield Problem(
            Severity.WARNING,
            "ReplicationDiffers",
            f"topic {spec.name} has replication factor {state.replication}, the spec says "
            f"{spec.replication}: norn does not move replicas; the rest of the spec is in force",
            f"rpk topic alter-config {spec.name} --set replication.factor={spec.replication}, "
            "or on Kafka a reassignment by kafka-reassign-partitions",
        )


def foreign_grants(app: str, foreign: frozenset[AclBinding]) -> Iterator[Problem]:
    """One warning per rule by which a user that is not norn's reaches the app's names."""
    for rule in rules(foreign):
        yield Problem(
            Severity.WARNING,
            "ForeignGrant",
            f"an ACL that is not norn's reaches what belongs to {app}: {rule}",
            _remove(rule),
        )


def _remove(rule: AclRule) -> str:
    operations = ",".join(op.lower().replace("_", "") for op in rule.operations)
    return (
        f"rpk security acl delete --allow-principal '{rule.principal}' --allow-host '{rule.host}' "
        f"--operation {operations} {_FLAGS[rule.type]} '{rule.name}' "
        f"--resource-pattern-type {rule.pattern.lower()}"
    )
