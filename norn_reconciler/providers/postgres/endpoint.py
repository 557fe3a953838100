"""Where PostgreSQL is, for norn and for the apps. Parses URLs; opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.secret import Secret

DEFAULT_PORT = 5432
# What of the admin's connection also holds for a login as an app: how the server is trusted.
_SHARED = ("sslrootcert", "sslcrl", "sslcrldir", "ssl_min_protocol_version", "hostaddr")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to the server.

    hosts: `host:port`, several with commas, or "" for a socket. socket_dir: its folder.
    user: the URL's. database: the URL's, `postgres` when it names none. sslmode: None when the URL
    names none. trust: further parameters on how the server is verified.
    """

    hosts: str
    socket_dir: str
    user: str
    database: str
    sslmode: str | None
    trust: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, url: Secret) -> Endpoint:
        """Raises NornError (without the URL in it) when `url` is no postgresql://…"""
        try:
            parts = urlsplit(url.reveal())
        except ValueError:
            raise NornError("NORN_POSTGRES_URL can't be read: it is no URL") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise NornError("a PostgreSQL URL begins with postgresql://")
        userinfo, _, hosts = parts.netloc.rpartition("@")
        query = {k: v[-1] for k, v in parse_qs(parts.query).items()}
        host = query.get("host", "")
        socket_dir = host if host.startswith("/") else unquote(hosts) if "%2F" in hosts else ""
        if host and not socket_dir:
            hosts = host
        return cls(
            "" if socket_dir else with_port(hosts or "localhost", query.get("port")),
            socket_dir,
            unquote(userinfo.partition(":")[0]),
            unquote(parts.path.lstrip("/")) or "postgres",
            query.get("sslmode"),
            tuple((k, query[k]) for k in _SHARED if k in query),
        )

    def app_url(self, role: str, password: Secret, database: str, sslmode: str) -> Secret:
        """`postgres://<user>:<password>@<host>:<port>/<database>?sslmode=<mode>`, quoted."""
        login = f"{quote(role, safe='')}:{quote(password.reveal(), safe='')}"
        url = f"postgres://{login}@{self.hosts}/{quote(database, safe='')}"
        url += f"?sslmode={quote(sslmode, safe='')}"
        if self.socket_dir:
            url += f"&host={quote(self.socket_dir, safe='')}"
        return Secret(url)

    def advertised(self, hosts: str | None) -> Endpoint:
        """The same server as apps reach it."""
        if not hosts:
            return self
        return Endpoint(
            with_port(hosts, None), "", self.user, self.database, self.sslmode, self.trust
        )


def with_port(hosts: str, port: str | None) -> str:
    """Each of `host[:port]` (comma list) with a port: its own, else `port`, else 5432."""
    given = []
    for host in hosts.split(","):
        _, colon, tail = host.rpartition(":")
        has_port = bool(colon) and tail.isdigit() and (host.startswith("[") or host.count(":") == 1)
        given.append(host if has_port else f"{host}:{port or DEFAULT_PORT}")
    return ",".join(given)
