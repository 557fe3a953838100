"""A connection that hides nothing: what came back, to the byte, in RESP2 or RESP3."""

from __future__ import annotations

import socket
from typing import Any

from norn_reconciler.model.secret import Secret

Word = str | bytes | Secret
Command = tuple[Word, ...]


class Fault(bytes):
    """An error reply."""


class Push(list[Any]):
    """A message that nobody asked for: RESP3's `>`."""


def encoded(*commands: Command) -> bytes:
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            text = word.reveal() if isinstance(word, Secret) else word
            data = text if isinstance(text, bytes) else text.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Wire:
    """Reads raise TimeoutError after `seconds` of silence, ConnectionError when the server hung up.

    Texts are bytes; maps come as flat lists.
    """

    def __init__(self, port: int, seconds: float = 5.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._at = 0

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def patience(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

    def forget(self) -> None:
        """From here on `heard` begins anew."""
        del self._buffer[: self._at]
        self._at = 0

    @property
    def heard(self) -> bytes:
        """Everything received since `forget`."""
        return bytes(self._buffer)

    def send(self, *commands: Command) -> None:
        self._socket.sendall(encoded(*commands))

    def ask(self, *words: Word) -> Any:
        """The next reply, whatever it is, pushes left out."""
        self.send(words)
        return self.answer()

    def answer(self) -> Any:
        while isinstance(reply := self.read(), Push):
            pass
        return reply

    def must(self, *words: Word) -> Any:
        """As `ask`; an error reply is none to expect."""
        reply = self.ask(*words)
        assert not isinstance(reply, Fault), (words[0], reply)
        return reply

    def until(self, request: bytes, end: bytes) -> bytes:
        """Send what is encoded already, and read up to and with `end`, without a look inside."""
        self.forget()
        self._socket.sendall(request)
        while not self._buffer.endswith(end):
            self._fill()
        self._at = len(self._buffer)
        return self.heard

    def read(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in b"+,":
            return rest
        if kind == b"-":
            return Fault(rest)
        if kind in b":(":
            return int(rest)
        if kind in b"$=!":
            return self._bulk(rest)
        if kind in b"*~>%|":
            size = int(rest) * (2 if kind in b"%|" else 1)
            items = [self.read() for _ in range(size)]
            return Push(items) if kind == b">" else items
        return {b"_": None, b"#t": True, b"#f": False}.get(line[:2], line)

    def drain(self, seconds: float) -> None:
        """Take in what comes until it is silent for so long, whatever its form."""
        self.patience(seconds)
        try:
            while True:
                self._fill()
        except (TimeoutError, ConnectionError):
            self._at = len(self._buffer)

    def _bulk(self, rest: bytes) -> bytes | None:
        if rest.startswith(b"EOF:"):  # a replica's first copy, of unknown length
            self.drain(0.3)
            return b""
        size = int(rest)
        if size < 0:
            return None
        while len(self._buffer) < self._at + size + 2:
            self._fill()
        data = bytes(self._buffer[self._at : self._at + size])
        self._at += size + 2
        return data

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            self._fill()
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _fill(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server hung up")
        self._buffer += data
