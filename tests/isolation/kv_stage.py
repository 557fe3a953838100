"""Two apps on a Valkey server of their own, B with everything that an app can have going on.

A is called `mail` and B `mailbox`: rules that forget the delimiter reach from one to the other.
Whatever B has that nobody else should learn holds a word of `Stage.secrets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.section import KvSection
from norn_reconciler.providers.kv.state import sha256_of
from tests.integration.kv_servers import ADMIN, PASSWORD, OwnServer, line_of
from tests.integration.provider_contract import World, credential
from tests.isolation.kv_wire import Command, Fault, Push, Wire

A, B = "mail", "mailbox"
# Nothing but the ACL rules stands in the way: what the configuration may forbid is allowed.
OPTIONS = (
    "--enable-debug-command", "yes", "--enable-module-command", "yes",
    "--enable-protected-configs", "yes", "--notify-keyspace-events", "KEA",
    "--repl-diskless-sync-delay", "0", "--rdbcompression", "no",  # secrets stay legible in a copy
)  # fmt: skip
SHARED = """#!lua name=shared
-- {source}
local function relay(keys, args) return server.call(unpack(args)) end
server.register_function('relay', relay)
server.register_function{{function_name='peek', callback=relay, flags={{'no-writes'}}}}
"""
STRANGE = "#!lua name=strange\nserver.register_function('strange', function() return 1 end)"
# It uses what all scripts share: somebody who spoils that for B is found out.
SCRIPT = """-- {source}
assert(('x'):rep(2) == 'xx' and type(redis.sha1hex('')) == 'string')
return redis.call('get', KEYS[1])"""
LATER = "4102444800000"


def app(name: str) -> App:
    return App(AppName(name), {"kv": KvSection(namespace=name)})


def seeds(name: str, value: str) -> list[Command]:
    """One key of each type below `name`."""
    return [
        ("SET", f"{name}:str", value), ("PEXPIREAT", f"{name}:str", LATER),
        ("SET", f"{name}:1", value), ("HSET", f"{name}:hash", "str", value, "other", "1"),
        ("RPUSH", f"{name}:list", "1", "2"), ("SADD", f"{name}:set", "str", value),
        ("ZADD", f"{name}:zset", "1", "str", "2", value), ("SETBIT", f"{name}:bits", "7", "1"),
        ("XADD", f"{name}:stream", "1-1", "str", value),
        ("XADD", f"{name}:stream", "2-1", "str", value),
        ("XGROUP", "CREATE", f"{name}:stream", "group", "0"),
        ("XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1",
         "STREAMS", f"{name}:stream", ">"),
        ("PFADD", f"{name}:hll", "str", value),
        ("GEOADD", f"{name}:geo", "1", "1", "str", "1.0001", "1.0001", value),
    ]  # fmt: skip


@dataclass
class Stage:
    """Use as a context manager. rules: what A has instead of the product's own."""

    server: OwnServer
    rules: tuple[str, ...] = ()
    secrets: dict[str, str] = field(default_factory=dict)
    live: dict[str, str | bytes] = field(default_factory=dict)

    def __enter__(self) -> Stage:
        self.secrets = {
            what: f"{what}-{uuid.uuid4().hex[:12]}"
            for what in ("value", "hidden", "source", "client", "note")
        }
        self.secrets["password hash"] = sha256_of(credential(B))
        self.server.start()
        asyncio.run(self._provision())
        self.admin = self._admin()
        self.give(*self.rules)
        self._settle()
        return self

    def __exit__(self, *_: object) -> None:
        for wire in (self.admin, *self.ours):
            wire.close()
        self.server.stop()

    def give(self, *rules: str) -> None:
        """Replace A's rules, for good; without any they stay."""
        if rules:
            password = f"#{sha256_of(credential(A))}"
            self.admin.must("ACL", "SETUSER", A, "reset", "on", password, *rules)
        self.admin.must("ACL", "SAVE")
        self.users = [line_of(self.server.url, user) or "" for user in ("default", A, B)]

    async def _provision(self) -> None:
        provider = self.server.provider()
        try:
            await World(provider).converge(app(A), app(B))  # type: ignore[arg-type]
        finally:
            await provider.close()

    def _admin(self) -> Wire:
        wire = Wire(self.server.port)
        wire.must("AUTH", ADMIN, Secret(PASSWORD))
        return wire

    def open(self, user: str) -> Wire:
        """Logged in as the app, in RESP3: whatever the server has to tell it comes through."""
        wire = Wire(self.server.port)
        wire.must("HELLO", "3", "AUTH", user, credential(user).password)
        return wire

    def _settle(self) -> None:
        """B's data, the administrator's functions, and B at work."""
        admin = self.admin
        hidden = self.secrets["hidden"]
        self.config = self._config()
        admin.must("FUNCTION", "LOAD", STRANGE)
        self.live["strange"] = admin.must("FUNCTION", "DUMP")
        admin.must("FUNCTION", "FLUSH")
        for db in range(16):
            admin.must("SELECT", str(db))
            value = self.value(db)
            wanted = seeds(B, value) if db < 2 else [("SET", f"{B}:str", value)]
            for command in (*wanted, ("SET", f"{B}:{hidden}", value)):
                admin.must(*command)
            for command in seeds(A, "7") if db < 2 else ():
                admin.must(*command)
        self.kept = self._dumps()
        self.live["dump"] = admin.must("DUMP", f"{A}:str")
        self.live["server"] = f"127.0.0.1:{self.server.port}"
        self.live["client-name"] = self.secrets["client"]
        self.own_reset = self._own_reset()
        admin.must("FUNCTION", "LOAD", SHARED.format(source=self.secrets["source"]))
        self.ours: list[Wire] = []
        self._go_to_work()

    def value(self, db: int) -> str:
        """What B keeps in that database: swapped databases are told apart."""
        return f"{self.secrets['value']}-{db}"

    def _config(self) -> dict[bytes, bytes]:
        flat = self.admin.must("CONFIG", "GET", "*")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _dumps(self) -> list[tuple[str, Command]]:
        """What brings every key back, byte for byte."""
        found: list[tuple[str, Command]] = []
        for db in range(16):
            self.admin.must("SELECT", str(db))
            for key in self.admin.must("KEYS", "*"):
                ttl = max(0, self.admin.must("PEXPIRETIME", key))
                dump = self.admin.must("DUMP", key)
                found.append((str(db), ("RESTORE", key, str(ttl), dump, "REPLACE", "ABSTTL")))
        self.admin.must("SELECT", "0")
        return found

    def _own_reset(self) -> list[Command]:
        """Gives A its own keys back, so that each attempt finds them."""
        own = [(db, c) for db, c in self.kept if bytes(c[1]).startswith(f"{A}:".encode())]
        commands: list[Command] = []
        for db in ("0", "1"):
            commands += [("SELECT", db), ("DEL", f"{A}:none")]
            commands += [command for of, command in own if of == db]
        return [*commands, ("SELECT", "0")]

    def _go_to_work(self) -> None:
        """B: one connection that works, one that listens, one that waits for a job."""
        worker, listener, waiter = self.ours = [self.open(B) for _ in range(3)]
        worker.must("CLIENT", "SETNAME", self.secrets["client"])
        # A refusal and a few slow commands, for those who read the server's logs.
        logs = ("slowlog-log-slower-than", "commandlog-reply-larger-than",
                "commandlog-request-larger-than")  # fmt: skip
        worker.ask("GET", f"foreign:{self.secrets['hidden']}")
        for log in logs:
            self.admin.must("CONFIG", "SET", log, "0")
        worker.must("GET", f"{B}:{self.secrets['hidden']}")
        for log in logs:
            self.admin.must("CONFIG", "SET", log, self.config[log.encode()])
        self.admin.must("CONFIG", "SET", "latency-monitor-threshold", "1")
        self.admin.must("DEBUG", "SLEEP", "0.0015")
        self.admin.must("CONFIG", "SET", "latency-monitor-threshold", "0")
        self.live["script"] = worker.must(
            "SCRIPT", "LOAD", SCRIPT.format(source=self.secrets["source"])
        )
        listener.send(
            ("SUBSCRIBE", f"{B}:channel", f"{B}:{self.secrets['hidden']}"),
            ("PSUBSCRIBE", f"{B}:*"), ("SSUBSCRIBE", f"{B}:channel"),
        )  # fmt: skip
        for _ in range(4):
            listener.read()
        self.ids = [wire.must("CLIENT", "ID") for wire in self.ours]
        waiter.send(("BLPOP", f"{B}:none", "0"))
        self.live["client"] = str(self.ids[2])
        self.live["address"] = worker.address

    def work(self, number: int) -> str:
        """B works as on any day. Returns what went wrong, if something did."""
        worker, listener, _ = self.ours
        note = f"{self.secrets['note']}-{number}".encode()
        value = self.value(0).encode()
        try:
            worker.send(
                ("SET", f"{B}:{self.secrets['hidden']}", value),
                ("EVALSHA", self.live["script"], "1", f"{B}:str"),
                ("PUBLISH", f"{B}:channel", note), ("SPUBLISH", f"{B}:channel", note),
            )  # fmt: skip
            replies = [worker.answer() for _ in range(4)]
            if any(isinstance(reply, Fault) for reply in replies):
                return "B is refused its own work"
            if replies[1] != value:
                return "B's script gives another result"
            heard = [listener.read() for _ in range(3)]
        except (ConnectionError, TimeoutError):
            return "B's connection is dead"
        if any(not isinstance(frame, Push) or frame[-1] != note for frame in heard):
            return "B hears what it should not"
        return ""

    def restore(self) -> None:
        """All as it was, whatever has been done. Raises AssertionError where that fails."""
        for wire in (self.admin, *self.ours):
            wire.close()
        self.admin = self._admin()
        ask = self.admin.ask
        ask("REPLICAOF", "NO", "ONE")
        ask("CLIENT", "UNPAUSE")
        ask("CLIENT", "KILL", "USER", A)
        while re.search(rb"(in_progress|scheduled):1", ask("INFO", "persistence")):
            time.sleep(0.005)
        for name, value in self._config().items():
            if value != self.config[name]:
                self.admin.must("CONFIG", "SET", name, self.config[name])
        self._restore_users()
        self.admin.must("FLUSHALL")
        self.admin.send(*(word for db, c in self.kept for word in (("SELECT", db), c)))
        replies: list[Any] = [self.admin.answer() for _ in range(2 * len(self.kept))]
        assert set(replies) == {b"OK"}, set(replies)
        self.admin.must("SELECT", "0")
        self.admin.must("FUNCTION", "FLUSH")
        self.admin.must("FUNCTION", "LOAD", SHARED.format(source=self.secrets["source"]))
        self._go_to_work()

    def _restore_users(self) -> None:
        known = {line.split(" ")[1]: line.split(" ")[2:] for line in self.users}
        for user in self.admin.must("ACL", "USERS"):
            if user.decode() not in {*known, ADMIN}:
                self.admin.must("ACL", "DELUSER", user)
        found = self.admin.must("ACL", "LIST")
        for user, words in known.items():
            if " ".join(["user", user, *words]).encode() not in found:
                self.admin.must("ACL", "SETUSER", user, "reset", *words)

    def reboot(self) -> None:
        """For a server that is gone, or past repair."""
        self.server.stop()
        with contextlib.suppress(FileNotFoundError):
            (self.server.folder / "dump.rdb").unlink()
        self.server.start()
        self.restore()
