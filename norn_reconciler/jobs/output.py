"""What a command says: line by line, its app's secrets masked, and its end kept."""

from __future__ import annotations

import codecs
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

from norn_reconciler.model.text import printable

HIDDEN = "***"
KEPT = 64 * 1024  # characters of its end that are kept
LINE = 2000  # characters of a line that are shown
A_SECOND = 50  # lines that are told in a second; all are kept
_LONGEST = 64 * 1024  # characters without an end of line that are waited for


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """Each as it may stand in an output, longest first."""
    found: set[str] = set()
    for secret in filter(None, secrets):
        found |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
        found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


class Output:
    """say: is given each line, some of them where there are very many."""

    def __init__(
        self,
        secrets: Iterable[str],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = forms(secrets)
        self._held = max(map(len, self._secrets), default=1)
        self._say = say
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # a line that has no end yet
        self._kept: deque[str] = deque()
        self._size = 0
        self._cut = False
        self._second, self._told, self._untold = clock(), 0, 0

    def feed(self, data: bytes, *, last: bool = False) -> None:
        self._begun += self._decoder.decode(data, last)
        *lines, self._begun = self._begun.split("\n")
        for line in lines:
            self._line(self._masked(line))
        if len(self._begun) > _LONGEST:
            # What may be the beginning of a secret waits for what comes.
            masked = self._masked(self._begun)
            self._line(masked[: -self._held])
            self._begun = masked[-self._held :]
        if last:
            if self._begun:
                self._line(self._masked(self._begun))
            self._begun = ""
            self._skipped()

    @property
    def text(self) -> str:
        """Its end."""
        return ("…\n" if self._cut else "") + "\n".join(self._kept)

    @property
    def last(self) -> str:
        """The last line that says anything."""
        return next((line for line in reversed(self._kept) if line.strip()), "")

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _line(self, text: str) -> None:
        line = printable(text.rstrip("\r").expandtabs())
        line = line if len(line) <= LINE else f"{line[:LINE]}…"
        self._kept.append(line)
        self._size += len(line) + 1
        while self._size > KEPT:
            self._size -= len(self._kept.popleft()) + 1
            self._cut = True
        now = self._clock()
        if now - self._second >= 1.0:
            self._skipped()
            self._second, self._told = now, 0
        if self._told < A_SECOND:
            self._told += 1
            self._say(line)
        else:
            self._untold += 1

    def _skipped(self) -> None:
        if self._untold:
            self._say(f"… {self._untold} more lines")
        self._untold = 0
