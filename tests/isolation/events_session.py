"""A blocking connection to one broker: requests as they are written down, replies as they come.

Unlike a client library it repeats nothing, remembers nothing and asks for nothing by itself, so a
reply is the answer to exactly one request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafka.record.default_records import DefaultRecordBatchBuilder

from norn_reconciler.model.secret import Secret
from tests.isolation.events_codec import Body, known_versions, name_of, reply, request

MECHANISM = "SCRAM-SHA-256"
_TIMEOUT = 8.0


class Refused(Exception):
    """The broker did not let this user in, or hung up. The text holds no secret."""


@dataclass(frozen=True)
class Exchange:
    """A request and its reply. `api` is Kafka's name of the request."""

    api: str
    version: int
    sent: bytes
    received: bytes

    @property
    def body(self) -> Body:
        """The reply, read each time anew: most long ones need not be read at all."""
        return reply(self.api, self.version, self.received)[1]


class Session:
    """One connection; use as a context manager. Raises Refused once the broker hangs up."""

    def __init__(self, brokers: str, client: str) -> None:
        host, _, port = brokers.split(",", maxsplit=1)[0].rpartition(":")
        self._client = client
        self._number = 0
        self._socket = socket.create_connection((host, int(port)), timeout=_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self.versions: Mapping[str, range] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send_raw(self, frame: bytes) -> bytes:
        """One frame out, one frame in, the length of the reply taken off."""
        try:
            self._socket.sendall(frame)
            return self._receive()
        except (ConnectionError, EOFError, TimeoutError) as error:
            raise Refused("the broker hung up, or does not answer") from error

    def exchange(self, api: str, body: Body, version: int | None = None) -> Exchange:
        version = self.newest(api) if version is None else version
        self._number += 1
        sent = request(api, version, self._number, self._client, body)
        received = self.send_raw(sent)
        assert received[:4] == struct.pack(">i", self._number)
        return Exchange(api, version, sent, received)

    def ask(self, api: str, body: Body, version: int | None = None) -> Body:
        return self.exchange(api, body, version).body

    def exchange_all(self, asked: Iterable[tuple[str, Body]]) -> list[Exchange]:
        """Many requests sent at once; the replies in their order."""
        waiting = []
        for api, body in asked:
            self._number += 1
            version = self.newest(api)
            waiting.append((api, version, request(api, version, self._number, self._client, body)))
        self._socket.sendall(b"".join(frame for _, _, frame in waiting))
        return [Exchange(*one, self._receive()) for one in waiting]

    def newest(self, api: str) -> int:
        return self.versions[api][-1] if self.versions else known_versions(api)[-1]

    def learn(self) -> dict[int, range]:
        """Ask which requests the broker knows, and in which versions. Result: by api key; also kept
        as what both sides know."""
        body = self.ask("ApiVersions", {"ClientSoftwareName": "x", "ClientSoftwareVersion": "1"}, 3)
        offered = {
            one["ApiKey"]: range(one["MinVersion"], one["MaxVersion"] + 1)
            for one in body["ApiKeys"]
        }
        self.versions = {
            name: common
            for key, theirs in offered.items()
            for name, ours in _ours(key)
            if (common := range(max(theirs[0], ours[0]), min(theirs[-1], ours[-1]) + 1))
        }
        return offered

    def log_in(
        self, user: str, password: Secret, *,
        mechanism: str = MECHANISM, behalf: str = "", extra: str = "",
    ) -> None:  # fmt: skip
        """SCRAM. behalf: the user to act as, which nobody should be allowed. extra: appended to the
        first message. Raises Refused."""
        self.choose(mechanism)
        algorithm = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        head = f"n,{'a=' + behalf if behalf else ''},"
        bare = f"n={user},r={secrets.token_hex(12)}{extra}"
        first = self.token((head + bare).encode()).decode()
        parts = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac(
            algorithm, password.reveal().encode(), base64.b64decode(parts["s"]), int(parts["i"])
        )
        key = hmac.digest(salted, b"Client Key", algorithm)
        final = f"c={base64.b64encode(head.encode()).decode()},r={parts['r']}"
        signed = f"{bare},{first},{final}".encode()
        signature = hmac.digest(hashlib.new(algorithm, key).digest(), signed, algorithm)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self.token(f"{final},p={base64.b64encode(proof).decode()}".encode())

    def choose(self, mechanism: str) -> None:
        """The first step of a login. Raises Refused."""
        hello = self.ask("SaslHandshake", {"Mechanism": mechanism}, 1)
        if hello["ErrorCode"]:
            raise Refused(f"error {hello['ErrorCode']}")

    def token(self, data: bytes) -> bytes:
        """One step of a login. Raises Refused."""
        body = self.ask("SaslAuthenticate", {"AuthBytes": data}, 1)
        if body["ErrorCode"]:
            raise Refused(f"error {body['ErrorCode']}")
        return bytes(body["AuthBytes"])

    def _receive(self) -> bytes:
        head = self._file.read(4)
        if len(head) < 4:
            raise EOFError
        (size,) = struct.unpack(">i", head)
        payload = self._file.read(size)
        if len(payload) < size:
            raise EOFError
        return payload


def _ours(key: int) -> list[tuple[str, range]]:
    """The name and known versions of an api key; none for one that nobody here can write."""
    name = name_of(key)
    try:
        return [(name, known_versions(name))]
    except KeyError:
        return []


def logged_in(brokers: str, user: str, password: Secret, client: str | None = None) -> Session:
    """A session of this user that knows the broker's versions. Raises Refused."""
    session = Session(brokers, client or f"client-of-{user}")
    try:
        session.log_in(user, password)
        session.learn()
    except BaseException:
        session.close()
        raise
    return session


def batch(
    *values: bytes,
    producer: int = -1,
    epoch: int = -1,
    sequence: int = -1,
    transaction: bool = False,
) -> bytes:
    """Records in the format of Produce; producer and epoch make them idempotent."""
    builder = DefaultRecordBatchBuilder(2, 0, transaction, producer, epoch, sequence, 1 << 16)
    for offset, value in enumerate(values):
        builder.append(offset, None, None, value, [])
    return bytes(builder.build())
