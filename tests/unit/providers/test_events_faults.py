"""The driver's exceptions in norn's words."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError

from norn_reconciler.providers.events.faults import no_answer, said


@pytest.mark.parametrize(
    "silence",
    [RequestTimedOutError("Timeout after 9999 ms"), KafkaTimeoutError("x"), TimeoutError()],
)
def test_silence_is_told_with_how_long_it_was_waited_for(silence: Exception) -> None:
    told = no_answer(silence, 10.0, "the broker does not answer")
    assert str(told) == "the broker did not answer within 10 s"


def test_the_drivers_numbers_and_class_names_are_left_out() -> None:
    assert said(KafkaConnectionError("Connection refused")) == "Connection refused"
    assert said(RequestTimedOutError("late")) == "late"
    assert said(ConnectionResetError(104, "Connection reset by peer")).endswith("by peer")
    assert said(EOFError()) == "EOFError"
    told = no_answer(KafkaConnectionError("Connection refused"), 1.0, "no broker answers")
    assert str(told) == "no broker answers: Connection refused"
