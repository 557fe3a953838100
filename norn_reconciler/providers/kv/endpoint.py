"""Where the server is: for norn, by its URL; for the apps, by the advertised address. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from norn_reconciler.model.secret import Secret

DEFAULT_PORT = 6379
_PLAIN = frozenset({"valkey", "redis"})
_TLS = frozenset({"valkeys", "rediss"})


@dataclass(frozen=True, slots=True)
class Address:
    """What an app connects to."""

    host: str
    port: int
    tls: bool = False

    def url(self, scheme: str, user: str, password: Secret) -> str:
        """scheme: `valkey` or `redis`; an `s` is added for TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = f"{quote(user, safe='')}:{quote(password.reveal(), safe='')}"
        return f"{scheme}{'s' if self.tls else ''}://{login}@{host}:{self.port}/0"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """url: norn's own way in, with its user and password; valkey://, redis:// or with TLS
    valkeys://, rediss://. Driver options in its query (ssl_ca_certs, …) hold for the apps' proofs
    too. advertised: HOST, HOST:PORT or SCHEME://HOST:PORT when the apps' way in is another.
    Raises ValueError, without the password in it, when either can't be read.
    """

    url: Secret
    advertised: str | None = None

    def __post_init__(self) -> None:
        _ = self.address, self.username

    @property
    def username(self) -> str:
        """The user that norn logs in as; `default` when the URL names none."""
        return unquote(_split(self.url.reveal(), "NORN_VALKEY_URL")[0]) or "default"

    @property
    def password(self) -> Secret:
        return Secret(unquote(urlsplit(self.url.reveal()).password or ""))

    @property
    def own_address(self) -> Address:
        return _split(self.url.reveal(), "NORN_VALKEY_URL")[1]

    @property
    def address(self) -> Address:
        """The apps' way in."""
        own = self.own_address
        if not self.advertised:
            return own
        scheme = "valkeys" if own.tls else "valkey"
        text = self.advertised if "://" in self.advertised else f"{scheme}://{self.advertised}"
        user, address = _split(text, "NORN_VALKEY_ADVERTISED", default_port=own.port)
        if user:
            raise ValueError("NORN_VALKEY_ADVERTISED is an address; it names no user")
        return address


def _split(text: str, setting: str, default_port: int = DEFAULT_PORT) -> tuple[str, Address]:
    """(user as written, address)."""
    try:
        parts = urlsplit(text)
        host, port, user = parts.hostname, parts.port, parts.username or ""
    except ValueError:
        host, port, user = None, None, ""  # its words could repeat the password
        parts = urlsplit("")
    if parts.scheme not in _PLAIN | _TLS or not host or port == 0:
        raise ValueError(
            f"{setting} is not understood: write it like valkey://USER:PASSWORD@HOST:PORT"
            if setting == "NORN_VALKEY_URL"
            else f"{setting} is not understood: write it like HOST:PORT"
        )
    return user, Address(host, port or default_port, parts.scheme in _TLS)
