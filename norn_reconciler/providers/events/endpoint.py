"""Where brokers are and how they are spoken to: plain values, TLS included."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from norn_reconciler.model.errors import NornError

_DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True)
class Endpoint:
    """brokers: `host:port` each, the port optional. security_protocol: PLAINTEXT, SSL,
    SASL_PLAINTEXT or SASL_SSL. ca_file: PEM file of the authority to trust instead of the
    system's. timeout: seconds for one request."""

    brokers: tuple[str, ...]
    security_protocol: str
    ca_file: str | None
    timeout: float

    @classmethod
    def parse(
        cls, brokers: str, security_protocol: str, ca_file: str | None, timeout: float
    ) -> Endpoint:
        """brokers: a comma list, as in bootstrap.servers. Raises NornError, without the text in
        it, when that can't be read."""
        listed = tuple(part.strip() for part in brokers.split(",") if part.strip())
        for number, broker in enumerate(listed, 1):
            try:
                readable = 0 < _split(broker)[1] < 65536 and not set("@/ ") & set(broker)
            except ValueError:
                readable = False
            if not readable:
                raise NornError(f"NORN_REDPANDA_BROKERS: entry {number} is no host:port") from None
        return cls(listed, security_protocol, ca_file, timeout)

    @property
    def sasl(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    @property
    def tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """(host, port) of each broker; IPv6 hosts in brackets."""
        return tuple(_split(broker) for broker in self.brokers)

    def ssl_context(self) -> ssl.SSLContext | None:
        """None without TLS. Raises OSError when the CA file cannot be read."""
        return ssl.create_default_context(cafile=self.ca_file) if self.tls else None


def _split(broker: str) -> tuple[str, int]:
    if broker.startswith("["):
        host, _, rest = broker[1:].partition("]")
        return host, int(rest.removeprefix(":") or _DEFAULT_PORT)
    host, _, port = broker.partition(":")
    return host, int(port or _DEFAULT_PORT)
