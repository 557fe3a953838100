"""Logging in as an app, with the very values it is given, by the way it will take."""

from __future__ import annotations

import asyncio
import time

from norn_reconciler.model.outcome import Proof
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.endpoint import Endpoint
from norn_reconciler.providers.events.login import LoginRefused, log_in
from norn_reconciler.providers.events.state import MECHANISM

_NEW_USER_PATIENCE = 3.0  # seconds a broker may take to know a user that its controller accepted
_PAUSE = 0.1


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
        return Proof(False, 0.0, reason)
    began = time.monotonic()
    while True:
        started = time.monotonic()
        try:
            await log_in(endpoint, MECHANISM, user, password)
        except LoginRefused as error:
            if time.monotonic() - began >= patience:
                return Proof(False, _ms(started), f"login of {user} refused: {error}")
            await asyncio.sleep(_PAUSE)
        else:
            return Proof(True, _ms(started))


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
