"""What a plan reports because it cannot, or must not, mend it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from norn_reconciler.model.inventory import Held
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.providers.events.acl import EVERYBODY, AclBinding, AclRule, rules
from norn_reconciler.providers.events.state import TopicSpec, TopicState

_FLAGS = {
    "TOPIC": "--topic",
    "GROUP": "--group",
    "TRANSACTIONAL_ID": "--transactional-id",
    "CLUSTER": "--cluster",
}


def some_of(names: Sequence[str]) -> str:
    """A broker that many share may have any number of them."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"names that begin with {app}. would be this app's, and somebody else has some: "
        f"{some_of(names)}",
        f"another name for the app; or, if it may have these too: norn adopt {app}",
    )


def foreign_topic(app: str, topic: str) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "Conflict",
        f"topic {topic} exists and norn did not make it",
        f"norn adopt {app}",
    )


def reserved_user(app: str, why: str) -> Problem:
    return Problem(Severity.BLOCKING, "NameReserved", why, f"give the app {app} another name")


def reserved_topic(topic: str) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "NameReserved",
        f"topic {topic} begins with _, as those of the broker and its tools do: it is not given",
        "give the topic another name",
    )


def reserved_settings(topic: str, keys: Sequence[str]) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "ConfigReserved",
        f"topic {topic} asks for {', '.join(keys)}, which is the administrator's to decide: it is "
        "left as it is",
        "remove it from the spec",
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
    """One problem per rule by which a user that is not norn's reaches the app's names. A rule for
    everybody opens them to every app, or every app to the cluster: that is no isolation."""
    for rule in rules(foreign):
        if rule.permission == "DENY":
            yield Problem(
                Severity.WARNING,
                "ForeignDeny",
                f"an ACL that is not norn's denies {app} what is its own: {rule}",
                removal(rule),
            )
        elif rule.principal == EVERYBODY:
            yield Problem(
                Severity.BLOCKING,
                "OpenToAll",
                f"an ACL gives every app what is not its own: {rule}",
                removal(rule),
                opens=True,
            )
        else:
            yield Problem(
                Severity.WARNING,
                "ForeignGrant",
                f"an ACL that is not norn's reaches what belongs to {app}: {rule}",
                removal(rule),
            )


def removal(rule: AclRule) -> str:
    """The command that takes the rule away. rpk knows users and tokens not."""
    side = rule.permission.lower()
    if rule.type in _FLAGS:
        named = f"{_FLAGS[rule.type]} '{rule.name}' --resource-pattern-type {rule.pattern.lower()}"
        operations = ",".join(op.lower().replace("_", "") for op in rule.operations)
        return (
            f"rpk security acl delete --{side}-principal '{rule.principal}' --{side}-host "
            f"'{rule.host}' --operation {operations} "
            + ("--cluster" if rule.type == "CLUSTER" else named)
        )
    flag = {"USER": "--user-principal", "DELEGATION_TOKEN": "--delegation-token"}.get(rule.type)
    operations = " ".join(f"--operation {_camel(op)}" for op in rule.operations)
    host = "" if rule.host == "*" else f"--{side}-host '{rule.host}' "
    return (
        "kafka-acls --bootstrap-server HOST:PORT --command-config ADMIN --remove "
        f"--{side}-principal '{rule.principal}' {host}{operations} "
        f"{flag or '--topic'} '{rule.name}'"
    )


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
