"""What a broker's refusal of a login says of the password."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from kafka.protocol.sasl import SaslAuthenticateResponse, SaslHandshakeResponse

from norn_reconciler.model.errors import Rejected
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.login import LoginRefused, Session


class Broker:
    """Answers each request with the next of its answers."""

    version: ClassVar[int] = 1

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.reader = asyncio.StreamReader()

    def write(self, _: bytes) -> None:
        answer = self._answers.pop(0)
        answer.API_VERSION = self.version
        answer.with_header(correlation_id=1)
        self.reader.feed_data(answer.encode(header=True, framed=True))

    async def drain(self) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "expected"), [(58, LoginRefused), (-1, Rejected), (7, Rejected), (34, Rejected)]
)
async def test_only_a_failed_authentication_is_a_wrong_password(
    code: int, expected: type[Exception]
) -> None:
    broker = Broker(
        SaslHandshakeResponse(error_code=0, mechanisms=["SCRAM-SHA-256"]),
        SaslAuthenticateResponse(error_code=code, error_message="no", auth_bytes=b""),
    )
    session = Session(broker.reader, broker)  # type: ignore[arg-type]
    with pytest.raises(expected, match="no"):
        await session.authenticate("SCRAM-SHA-256", "mail", Secret("geheim"))
