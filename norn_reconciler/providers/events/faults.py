"""Kafka's errors as norn's: by error code for one item, by exception for a whole request.

The codes are those of org.apache.kafka.common.protocol.Errors; a driver is not needed to read them.
"""

from __future__ import annotations

import re

from norn_reconciler.model.errors import Denied, Rejected, ServiceError, Unavailable
from norn_reconciler.providers.events.state import SERVICE

TOPIC_ALREADY_EXISTS = 36
UNKNOWN_TOPIC = 3
INVALID_PARTITIONS = 37
RESOURCE_NOT_FOUND = 91  # a SCRAM credential that is to be deleted is not there
REFUSED = frozenset({29, 31})  # for want of a right on the topic, or on the cluster
_SECURITY_DISABLED = 54
_DENIED = {
    29: "TOPIC_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    58: "SASL_AUTHENTICATION_FAILED",
}
# Said about the endpoint, not about the item: asking again later may well succeed.
_ENDPOINT = {
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    41: "NOT_CONTROLLER",
    56: "KAFKA_STORAGE_ERROR",
    89: "THROTTLING_QUOTA_EXCEEDED",
}
NOT_CONTROLLER = 41

SCRAM_NEEDED = (
    "the broker has no SCRAM requests in its Kafka API: norn needs Redpanda 25.2 or newer, "
    "or Apache Kafka 2.7 or newer"
)


def admin_rights(username: str | None) -> str:
    """What to type so that norn's user may do its work."""
    user = username or "<norn's user>"
    return (
        f"rpk security acl create --allow-principal 'User:{user}' --operation all --cluster "
        f"--topic '*', or name it in the broker's superusers"
    )


def item_fault(
    code: int, message: str | None, *, object: str, username: str | None
) -> ServiceError:
    """The error of one item of a batch. message: the broker's words, if any."""
    text = f"{object}: {message or f'Kafka error {code}'}"
    if code == _SECURITY_DISABLED:
        return Denied(
            SERVICE,
            f"{object}: the broker has authorisation switched off",
            object=object,
            remedy="rpk cluster config set kafka_enable_authorization true, "
            "or on Kafka set authorizer.class.name",
        )
    if code in _DENIED:
        return Denied(
            SERVICE,
            f"{object}: {_DENIED[code]}: norn's user lacks the right",
            object=object,
            remedy=admin_rights(username),
        )
    if code in _ENDPOINT:
        return Unavailable(SERVICE, f"{object}: {_ENDPOINT[code]}", object=object)
    return Rejected(SERVICE, text, object=object)


# The driver's exceptions for "nothing came back in time", by name: it is not to be imported here.
_SILENCE = frozenset({"KafkaTimeoutError", "RequestTimedOutError"})
_DRIVERS_MARK = re.compile(r"^(?:\[Error -?\d+\] )?[A-Z]\w*Error(?:: |$)")


def said(error: BaseException) -> str:
    """The driver's words, without the number and the class name that it puts before them."""
    return _DRIVERS_MARK.sub("", str(error)) or type(error).__name__


def no_answer(error: BaseException, seconds: float, otherwise: str) -> Unavailable:
    """A request that ended without a reply. seconds: the longest one may take. otherwise: what to
    say where it was not for silence."""
    if isinstance(error, TimeoutError) or type(error).__name__ in _SILENCE:
        return Unavailable(SERVICE, f"the broker did not answer within {seconds:g} s")
    return Unavailable(SERVICE, f"{otherwise}: {said(error)}")


def refused_login(username: str | None, words: str) -> Denied:
    """The broker knows norn's user not, or not with this password."""
    return Denied(
        SERVICE,
        f"the broker refuses the login of {username or 'norn'}: {words}",
        object=username or "",
        remedy="check NORN_REDPANDA_USERNAME, NORN_REDPANDA_PASSWORD and "
        "NORN_REDPANDA_SASL_MECHANISM",
    )
