"""The Valkey provider on a real server: the contract of every provider, and each drift repaired."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import valkey

from norn_reconciler.model.app import App, AppName, Section
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.endpoint import Endpoint
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.kv.rules import Rules
from norn_reconciler.providers.kv.section import KvSection
from tests.integration.kv_servers import connected, line_of
from tests.integration.provider_contract import Mutation, ProviderContract, credential
from tests.servers import Servers


def edit(named: str, *modifiers: str) -> Mutation:
    """Somebody runs ACL SETUSER on the app's user. `{app}` in modifiers is the app's name."""

    async def act(test: Any, app: App) -> None:
        words = [m.format(app=app.name) for m in modifiers]
        test.do("ACL", "SETUSER", app.name, *words)

    return Mutation(act, "ACL SETUSER {app} reset on ~ns-{app}:* &ns-{app}:* … (" + named)


def password_of(app: App) -> str:
    return hashlib.sha256(credential(app.name).password.reveal().encode()).hexdigest()


def gone() -> Mutation:
    async def act(test: Any, app: App) -> None:
        test.do("ACL", "DELUSER", app.name)

    return Mutation(act, "ACL SETUSER {app} reset on")


def with_own_password(command: Callable[[App], tuple[str, ...]], named: str) -> Mutation:
    async def act(test: Any, app: App) -> None:
        test.do("ACL", "SETUSER", app.name, *command(app))

    return Mutation(act, named)


class TestKvContract(ProviderContract):
    key: ClassVar[str] = "kv"
    mutations: ClassVar[dict[str, Mutation]] = {
        "off": edit("state: off", "off"),
        "nopass": edit("passwords: nopass", "nopass"),
        "a second password": edit("passwords: norn's and 1 more", ">x"),
        "another password": edit("passwords: 1 that norn did not set", "resetpass", ">x"),
        "no password": edit("passwords: none", "resetpass"),
        "more keys": edit("keys: ~ns-{app}:* ~other:*", "~other:*"),
        "all keys": edit("keys: ~*", "allkeys"),
        "readable keys": edit("keys: %R~other:* ~ns-{app}:*", "%R~other:*"),
        "no keys": edit("keys: none", "resetkeys"),
        "more channels": edit("channels: &ns-{app}:* &other", "&other"),
        "all channels": edit("channels: &*", "allchannels"),
        "no channels": edit("channels: none", "resetchannels"),
        "one more command": edit("commands: +flushall", "+flushall"),
        "all commands": edit("commands: +@all", "+@all"),
        "one command less": edit("commands: -get", "-get"),
        "no commands": edit("commands: no +@string", "-@all"),
        "moved by hand and back": edit("commands: +del at the end", "-del", "+del"),
        "one database": edit("databases: db=0", "db=0"),
        "no databases": edit("databases: resetdbs", "resetdbs"),
        "writable keys": edit("keys: %W~other:* ~ns-{app}:*", "%W~other:*"),
        "a selector": edit("selectors: (%R~x", "(%R~x +get)"),
        "gone": gone(),
        "gone and made again, wider": with_own_password(
            lambda app: ("reset", "on", f"#{password_of(app)}", "~*", "+@all"), "keys: ~*"
        ),
    }
    observed: ClassVar = (Rules,)
    compared: ClassVar = {
        "Rules.user": "gone",
        "Rules.enabled": "off",
        "Rules.nopass": "nopass",
        "Rules.passwords": "another password",
        "Rules.keys": "more keys",
        "Rules.channels": "more channels",
        "Rules.commands": "one more command",
        "Rules.selectors": "a selector",
        "Rules.databases": "one database",
    }
    elsewhere: ClassVar = {
        # No word that this server shows is unknown.
        "Rules.flags": "unit/providers/test_kv_plan.py"
        "::test_drift_is_repaired_and_sessions_end_where_it_widened",
    }
    servers: Servers

    @pytest.fixture(autouse=True)
    def _servers(self, servers: Servers) -> None:
        self.servers = servers

    @pytest.fixture
    async def provider(self) -> AsyncIterator[AnyProvider]:  # type: ignore[override]
        provider = KvProvider(Endpoint(Secret(self.servers.valkey_url)), request_timeout=10.0)
        yield provider  # type: ignore[misc]
        await provider.close()

    def do(self, *command: str) -> Any:
        with connected(self.servers.valkey_url) as client:
            return client.execute_command(*command)

    def as_app(self, app: App) -> str:
        parts = urlsplit(self.servers.valkey_url)
        secret = credential(app.name).password.reveal()
        return f"valkey://{app.name}:{secret}@{parts.hostname}:{parts.port}"

    def section(self, app: AppName) -> Section:
        return KvSection(namespace=f"ns-{app}")

    def changed_section(self, app: AppName) -> Section:
        return KvSection(namespace=f"other-{app}")

    async def requests(self, provider: AnyProvider) -> int:
        """By the server's own count of the commands that only norn sends."""
        stats = self.do("INFO", "commandstats").splitlines()
        ours = [line for line in stats if line.startswith(("cmdstat_acl|", "cmdstat_config|"))]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in ours)

    async def make_foreign(self, app: App) -> None:
        self.do("ACL", "SETUSER", app.name, "reset", "on", ">theirs", "~theirs:*", "+get")

    async def foreign_state(self, app: App) -> object:
        return line_of(self.servers.valkey_url, app.name)

    async def can_log_in(self, app: App) -> bool:
        try:
            with connected(self.as_app(app)) as client:
                return bool(client.execute_command("PING"))
        except valkey.AuthenticationError:
            return False

    async def put_data(self, app: App) -> None:
        with connected(self.as_app(app)) as client:
            client.execute_command("SET", f"ns-{app.name}:k", "v")

    async def has_data(self, app: App) -> bool:
        return bool(self.do("EXISTS", f"ns-{app.name}:k"))
