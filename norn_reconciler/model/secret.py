"""Values that must not be shown, and what is recorded about them instead."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import final


@final
class Secret:
    """A text that shows as `***` everywhere but in `reveal()`.

    It has no `__str__` of the value, no pickling and no format spec, so a log line,
    an f-string or a traceback with locals cannot leak it by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The clear text. Call it only where it is handed to a server or to the app's own file."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be serialised")


LOST = "lost"  # stands for a fingerprint: the server has another password than the one applied
DUE = "due"  # and here: a person asked for the next generation, which no server has yet


@dataclass(frozen=True, slots=True)
class CredentialMark:
    """Which password was applied, without the password.

    fingerprint: of the master key it was derived from; generation: 1, 2, … (moves on rotation).
    """

    fingerprint: str
    generation: int


@dataclass(frozen=True, slots=True)
class Credential:
    """The password of one app on one service."""

    password: Secret
    mark: CredentialMark
