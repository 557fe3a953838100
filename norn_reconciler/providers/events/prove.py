"""Logging in as an app, with the very values it is given, by the way it will take."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

from norn_reconciler.model.errors import Rejected, Unavailable
from norn_reconciler.model.outcome import (
    NEIGHBOUR_OPEN,
    NO_RIGHTS,
    OPEN_TO_ALL,
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
TOPIC_AUTHORIZATION_FAILED = 29


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


async def trespass(
    endpoint: Endpoint, user: str, password: Secret, own: str, foreign: str
) -> Proof:
    """A wrong password is refused; logged in, `own` may be described and `foreign` may not (topics,
    whether they exist or not: the broker looks at the right first). Raises ServiceError when
    nobody can tell."""
    started = time.monotonic()
    taken, code = await asyncio.gather(
        _takes(endpoint, user, Secret(secrets.token_urlsafe(32))),
        _described(endpoint, user, password, own, foreign),
    )
    if taken:
        return Proof(False, _ms(started), "the broker takes a wrong password", OPEN_TO_ALL)
    if code is None:
        return Proof(False, _ms(started), f"login of {user} refused", WRONG_PASSWORD)
    if code.get(own) == TOPIC_AUTHORIZATION_FAILED:
        return Proof(False, _ms(started), f"it may not describe its own topic {own}", NO_RIGHTS)
    if code.get(foreign) != TOPIC_AUTHORIZATION_FAILED:
        reason = f"it may describe topic {foreign}, which is another's"
        return Proof(False, _ms(started), reason, NEIGHBOUR_OPEN)
    return Proof(True, _ms(started))


async def _takes(endpoint: Endpoint, user: str, password: Secret) -> bool:
    try:
        await log_in(endpoint, MECHANISM, user, password)
    except LoginRefused:
        return False
    return True


async def _described(
    endpoint: Endpoint, user: str, password: Secret, *topics: str
) -> dict[str, int] | None:
    """Topic → the error code that describing it gives; None when the login is refused."""
    from kafka.protocol.metadata import MetadataResponse  # noqa: PLC0415  -- imports the driver

    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    try:
        async with session(endpoint) as one, asyncio.timeout(endpoint.timeout):
            await one.authenticate(MECHANISM, user, password)
            answer = await one.ask(wire.metadata_request(topics), MetadataResponse, _METADATA)
    except LoginRefused:
        return None
    except (OSError, EOFError) as error:  # TimeoutError is an OSError
        raise Unavailable(SERVICE, "the broker broke off a request") from error
    return {topic.name: topic.error_code for topic in answer.topics}


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
