"""Valkey servers of a test's own, to be configured and broken, and a plain way to talk to one."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import valkey

from infra.ports import free_port
from infra.valkey_server import binary
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.provider import KvProvider

ADMIN, PASSWORD = "norn-admin", "adm1n-of-the-test"


@contextlib.contextmanager
def connected(url: str, **options: Any) -> Iterator[valkey.Valkey]:
    """A plain client whose replies are as the protocol has them."""
    client = valkey.Valkey.from_url(url, decode_responses=True, **options)
    client.response_callbacks.clear()
    try:
        yield client
    finally:
        client.close()


@dataclass
class OwnServer:
    """options: of valkey-server. aclfile, config: whether it is started with such a file.

    default: rules of user default.
    """

    folder: Path
    options: tuple[str, ...] = ()
    aclfile: bool = True
    config: bool = False
    default: str = "reset off"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey://{ADMIN}:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def users_file(self) -> Path:
        return self.folder / ("users.acl" if self.aclfile else "valkey.conf")

    def start(self) -> OwnServer:
        users = f"user default {self.default}\nuser {ADMIN} on >{PASSWORD} ~* &* +@all\n"
        argv = [str(binary())]
        if not self.users_file.exists():
            self.users_file.write_text(users if self.aclfile or self.config else "")
        if self.config:
            argv.append(str(self.folder / "valkey.conf"))
        argv += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        argv += ["--save", "", *self.options]
        if self.aclfile:
            argv += ["--aclfile", str(self.users_file)]
        elif not self.config:
            argv += ["--user", ADMIN, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
            argv += ["--user", "default", *self.default.split()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(valkey.ValkeyError), connected(self.url) as client:
                client.execute_command("PING")
                return self
            time.sleep(0.05)
        self.stop()
        raise AssertionError((self.folder / "log").read_text())

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.thaw()
            self.process.kill()
            self.process.wait()
            self.process = None

    def do(self, *command: str) -> Any:
        with connected(self.url) as client:
            return client.execute_command(*command)

    def provider(self, url: str | None = None, **options: Any) -> KvProvider:
        options.setdefault("request_timeout", 5.0)
        return KvProvider(Endpoint(Secret(url or self.url)), **options)


def line_of(url: str, user: str) -> str | None:
    """The user's line in ACL LIST."""
    with connected(url) as client:
        lines: list[str] = client.execute_command("ACL", "LIST")
    return next((line for line in lines if line.startswith(f"user {user} ")), None)
