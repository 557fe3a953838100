"""Logging in as an app, with the very values it is given, by the way it will take."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from norn_reconciler.model.errors import Rejected, Unavailable
from norn_reconciler.model.outcome import (
    NEIGHBOUR_OPEN,
    NO_RIGHTS,
    OPEN_TO_ALL,
    SERVER_OPEN,
    WRONG_PASSWORD,
    Proof,
)
from norn_reconciler.model.secret import Credential, Secret
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.login import LoginRefused, log_in, session
from norn_reconciler.providers.events.state import MECHANISM, SERVICE

_NEW_USER_PATIENCE = 3.0  # seconds a broker may take to know a user that its controller accepted
_PAUSE = 0.1
_METADATA = 5  # version of the request: brokers of any age have it
_NEEDED = frozenset({"READ", "WRITE"})
TOPIC_AUTHORIZATION_FAILED = 29
_GROUP_AUTHORIZATION_FAILED = 30
CLUSTER_AUTHORIZATION_FAILED = 31
# What is answered to those who have the right: the broker looks at that first. All else says
# nothing of it.
_TOPIC_SHOWN = frozenset({0, 3, 5})  # there is none of this name; it has no leader
_GROUP_SHOWN = frozenset({0, 14, 15, 16})  # its coordinator loads, is away, is another broker
ACLS_SHOWN = frozenset({0, 54})  # authorisation is off


async def prove(
    endpoint: Endpoint, user: str, password: Secret, patience: float = _NEW_USER_PATIENCE
) -> Proof:
    """One login; a refusal is asked again until `patience` seconds are over, since a user that was
    just written may be refused for a moment. Raises Unavailable when no broker answers."""
    if not endpoint.sasl:
        reason = (
            f"{endpoint.security_protocol} lets everybody in without a password: "
            "set NORN_REDPANDA_SECURITY_PROTOCOL to SASL_PLAINTEXT or SASL_SSL"
        )
        return Proof(False, 0.0, reason, OPEN_TO_ALL)
    began = time.monotonic()
    while True:
        started = time.monotonic()
        try:
            await log_in(endpoint, MECHANISM, user, password)
        except LoginRefused as error:
            if time.monotonic() - began >= patience:
                reason = f"login of {user} refused: {error}"
                return Proof(False, _ms(started), reason, WRONG_PASSWORD)
            await asyncio.sleep(_PAUSE)
        else:
            return Proof(True, _ms(started))


async def fits(
    endpoint: Endpoint, user: str, credentials: Sequence[Credential]
) -> Credential | None:
    """The first of these passwords that the broker takes. Raises ServiceError when nobody can
    tell."""
    if not endpoint.sasl or await _takes(endpoint, user, Secret(secrets.token_urlsafe(32))):
        raise Rejected(
            SERVICE, "the broker takes a wrong password: which one is right cannot be told"
        )
    for credential in credentials:
        if await _takes(endpoint, user, credential.password):
            return credential
    return None


@dataclass(frozen=True, slots=True)
class Ground:
    """What one app tries. topics: its own, declared. prefixed: a name below its prefix. foreign,
    foreign_group: another's. Whether any of it exists does not matter: the broker looks at the
    right first. sees_rights: whether the broker's API says which operations are allowed."""

    app: str
    topics: tuple[str, ...]
    prefixed: str
    foreign: str
    foreign_group: str
    sees_rights: bool


async def trespass(endpoint: Endpoint, password: Secret, ground: Ground) -> Proof:
    """A wrong password is refused; logged in, the app may use its own, and neither another's topic
    and group nor what is an administrator's. Raises ServiceError when nobody can tell."""
    started = time.monotonic()
    taken, found = await asyncio.gather(
        _takes(endpoint, ground.app, Secret(secrets.token_urlsafe(32))),
        _tried(endpoint, password, ground),
    )
    if taken:
        return Proof(False, _ms(started), "the broker takes a wrong password", OPEN_TO_ALL)
    if found is None:
        return Proof(False, _ms(started), f"login of {ground.app} refused", WRONG_PASSWORD)
    kind, reason = found.fault(ground)
    if not reason and (riddle := found.riddle(ground)):
        raise Rejected(SERVICE, riddle)
    return Proof(not reason, _ms(started), reason, kind)


@dataclass(frozen=True, slots=True)
class Tried:
    """The broker's answers. codes: error code by topic. rights: allowed operations by topic, None
    where it does not say. groups: error code by group. acls: of the request for all ACLs."""

    codes: Mapping[str, int]
    rights: Mapping[str, frozenset[str] | None]
    groups: Mapping[str, int]
    acls: int

    def fault(self, ground: Ground) -> tuple[str, str]:
        """(kind, reason); ("", "") when all is as it should be."""
        if self.acls in ACLS_SHOWN:
            return SERVER_OPEN, (
                "it may list all ACLs: authorisation is off, or everybody may do what no ACL is "
                "about (allow.everyone.if.no.acl.found), or has rights on the cluster"
            )
        if self.codes.get(ground.foreign) in _TOPIC_SHOWN:
            return NEIGHBOUR_OPEN, f"it may describe topic {ground.foreign}, which is another's"
        if self.groups.get(ground.foreign_group) in _GROUP_SHOWN:
            return NEIGHBOUR_OPEN, f"it may use group {ground.foreign_group}, which is another's"
        if self.groups.get(ground.app) == _GROUP_AUTHORIZATION_FAILED:
            return NO_RIGHTS, f"it may not use its own group {ground.app}"
        for topic in (ground.prefixed, *ground.topics):
            if self.codes.get(topic) == TOPIC_AUTHORIZATION_FAILED:
                return NO_RIGHTS, f"it may not describe its own topic {topic}"
            rights = self.rights.get(topic)
            if rights is not None and (lacks := _NEEDED - rights):
                return NO_RIGHTS, f"it may not {' and '.join(sorted(lacks))} its own topic {topic}"
        return "", ""

    def riddle(self, ground: Ground) -> str:
        """The answers that mean neither that a door is open nor that it is shut; "" when there is
        none."""
        topics = (ground.foreign, ground.prefixed, *ground.topics)
        asked: list[tuple[str, int | None, frozenset[int]]]
        asked = [("ACLs", self.acls, ACLS_SHOWN | {CLUSTER_AUTHORIZATION_FAILED})]
        asked += [
            (f"topic {name}", self.codes.get(name), _TOPIC_SHOWN | {TOPIC_AUTHORIZATION_FAILED})
            for name in topics
        ]
        asked += [
            (f"group {name}", self.groups.get(name), _GROUP_SHOWN | {_GROUP_AUTHORIZATION_FAILED})
            for name in (ground.foreign_group, ground.app)
        ]
        odd = [
            f"{what}: {'no answer' if code is None else f'Kafka error {code}'}"
            for what, code, plain in asked
            if code not in plain
        ]
        return f"the broker's answers do not tell what it may do ({'; '.join(odd)})" if odd else ""


async def _takes(endpoint: Endpoint, user: str, password: Secret) -> bool:
    try:
        await log_in(endpoint, MECHANISM, user, password)
    except LoginRefused:
        return False
    return True


async def _tried(endpoint: Endpoint, password: Secret, ground: Ground) -> Tried | None:
    """One login and four requests; None when the login is refused."""
    from kafka.protocol.admin import DescribeAclsResponse  # noqa: PLC0415  -- imports the driver
    from kafka.protocol.consumer import OffsetFetchResponse  # noqa: PLC0415
    from kafka.protocol.metadata import MetadataResponse  # noqa: PLC0415

    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    names = (ground.prefixed, ground.foreign, *ground.topics)
    groups: dict[str, int] = {}
    try:
        async with session(endpoint) as one, asyncio.timeout(endpoint.timeout):
            await one.authenticate(MECHANISM, ground.app, password)
            described = await one.ask(
                wire.metadata_request(names, rights=ground.sees_rights),
                MetadataResponse,
                wire.METADATA_WITH_RIGHTS if ground.sees_rights else _METADATA,
            )
            acls = await one.ask(wire.describe_acls_request(), DescribeAclsResponse, 1)
            for group in (ground.app, ground.foreign_group):
                request = wire.offset_fetch_request(group)
                groups[group] = (await one.ask(request, OffsetFetchResponse, 3)).error_code
    except LoginRefused:
        return None
    except (OSError, EOFError) as error:  # TimeoutError is an OSError
        raise Unavailable(SERVICE, "the broker broke off a request") from error
    codes = {topic.name: topic.error_code for topic in described.topics}
    rights = {
        topic.name: wire.authorized_operations(topic.authorized_operations)
        for topic in described.topics
        if ground.sees_rights and not topic.error_code
    }
    return Tried(codes, rights, groups, acls.error_code)


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
