"""What the rules let through on a real server, and what they don't; the canonical form, too."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import valkey

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.secret import DUE, Credential, CredentialMark, Secret
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.kv.rules import COMMANDS, app_rules, differences, parse
from norn_reconciler.providers.kv.section import KvSection
from norn_reconciler.providers.kv.state import sha256_of
from tests.integration.kv_servers import OwnServer, connected, line_of
from tests.integration.provider_contract import World, credential

MAIL = App(AppName("mail"), {"kv": KvSection(namespace="mail")})
OTHER = App(AppName("mailbox"), {"kv": KvSection(namespace="mailbox")})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    own = OwnServer(tmp_path).start()
    yield own
    own.stop()


@pytest.fixture
async def provider(server: OwnServer) -> AsyncIterator[KvProvider]:
    made = server.provider()
    yield made
    await made.close()


@pytest.fixture
async def world(provider: KvProvider) -> World:
    world = World(provider)  # type: ignore[arg-type]
    await world.converge(MAIL, OTHER)
    return world


def url_of(server: OwnServer, app: App) -> str:
    return f"valkey://{app.name}:{credential(app.name).password.reveal()}@127.0.0.1:{server.port}"


def test_the_server_shows_what_we_compute(server: OwnServer, world: World) -> None:
    sha = sha256_of(credential(MAIL.name))
    rules = app_rules("mail", "mail", sha)
    line = line_of(server.url, "mail")
    assert line is not None
    assert parse(line) == rules
    # Before 9.1 a server names this default, too.
    shown = [word for word in line.split() if word != "sanitize-payload"]
    assert shown == [
        "user", "mail", "on", f"#{sha}", "~mail:*", "resetchannels", "&mail:*", *COMMANDS,
    ]  # fmt: skip


@pytest.mark.parametrize("namespace", ["a:b", "ns#1", "(x)", "~a", "größe", "{t}", "%R~x", "-@all"])
async def test_odd_namespaces_come_back_as_they_were(
    server: OwnServer, provider: KvProvider, namespace: str
) -> None:
    app = App(AppName("odd"), {"kv": KvSection(namespace=namespace)})
    world = World(provider)  # type: ignore[arg-type]
    await world.converge(app)
    assert (await provider.prove(app, credential("odd"))).ok
    line = line_of(server.url, "odd")
    assert line is not None
    found = parse(line)
    assert found is not None
    assert differences(app_rules("odd", namespace, sha256_of(credential("odd"))), found) == ()
    # The file that was saved must be one that the server can load.
    server.stop()
    server.start()
    assert (await provider.prove(app, credential("odd"))).ok


@pytest.mark.parametrize(
    "command",
    [
        "SET mail:k v", "GET mail:k", "HSET mail:h f v", "LPUSH mail:l v", "XADD mail:s * f v",
        "ZADD mail:z 1 m", "PFADD mail:p v", "GEOADD mail:g 1 1 m", "SUBSCRIBE mail:c",
        "PUBLISH mail:c v", "SELECT 1", "EVAL return(redis.call('get',KEYS[1])) 1 mail:k",
        "MULTI", "WATCH mail:k", "CLIENT SETINFO LIB-NAME x", "HELLO 2", "ACL WHOAMI",
        "GEOSEARCH mail:g FROMMEMBER m BYRADIUS 1 km", "COPY mail:k mail:k2", "SORT mail:l ALPHA",
    ],
)  # fmt: skip
def test_what_an_app_may(server: OwnServer, world: World, command: str) -> None:
    with connected(url_of(server, MAIL)) as client:
        client.execute_command(*command.split(" "))


@pytest.mark.parametrize(
    "command",
    [
        "GET mailbox:k", "SET mail v", "SET other v", "COPY mail:k mailbox:k", "DEL mailbox:k",
        "RENAME mail:k mailbox:k", "SUBSCRIBE mailbox:c", "PSUBSCRIBE *", "PUBLISH mailbox:c v",
        "SORT mail:l STORE mailbox:l", "EVAL return(redis.call('get','mailbox:k')) 0",
        "EVAL return(redis.call('keys','*')) 0", "SCAN 0", "KEYS *", "RANDOMKEY", "DBSIZE",
        "FLUSHALL", "FLUSHDB", "CONFIG GET *", "ACL LIST", "ACL SETUSER mail +@all", "MONITOR",
        "PFMERGE mailbox:p", "GEORADIUS mail:g 1 1 1 km STORE mail:x", "INFO", "LASTSAVE",
        "CLIENT TRACKING ON BCAST", "CLIENT LIST", "CLIENT KILL USER mailbox", "PUBSUB CHANNELS",
        "FUNCTION LIST", "SCRIPT FLUSH", "SWAPDB 0 1", "MOVE mail:k 1", "SHUTDOWN", "SAVE",
        "REPLICAOF h 1", "PSYNC ? -1", "MIGRATE h 1 mail:k 0 1", "RESTORE mail:k 0 x",
        "LATENCY GRAPH x",
    ],
)  # fmt: skip
def test_what_an_app_may_not(server: OwnServer, world: World, command: str) -> None:
    with connected(url_of(server, OTHER)) as client:
        client.execute_command("SET", "mailbox:k", "hush")
    with connected(url_of(server, MAIL)) as client:
        with pytest.raises(valkey.ResponseError) as refused:
            reply = client.execute_command(*command.split(" "))
            raise AssertionError(reply)
        denied = isinstance(refused.value, valkey.exceptions.NoPermissionError)
        assert denied or "permission" in str(refused.value)  # the latter from within EVAL


@contextlib.contextmanager
def raw(server: OwnServer, *lines: bytes) -> Iterator[socket.socket]:
    """A session that has sent `lines` and read one reply to each."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        for line in lines:
            sock.sendall(line + b"\r\n")
            assert sock.recv(4096)[:1] in b"+*:$"
        yield sock


def is_closed(sock: socket.socket) -> bool:
    """What is left to read is read first. Waits for the end, not for a time."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("widening", "lines"),
    [
        (("+monitor",), (b"MONITOR",)),
        (("+client|tracking",), (b"CLIENT TRACKING ON BCAST",)),
        (("allchannels",), (b"SUBSCRIBE other",)),
    ],
)
async def test_a_session_that_gained_something_ends_with_the_repair(
    server: OwnServer, world: World, widening: tuple[str, ...], lines: tuple[bytes, ...]
) -> None:
    server.do("ACL", "SETUSER", "mail", *widening)
    login = f"AUTH mail {credential('mail').password.reveal()}".encode()
    with raw(server, login, *lines) as sock:
        await world.converge(MAIL)
        assert is_closed(sock)


@pytest.mark.parametrize("widening", ["nopass", ">stolen"])
async def test_a_session_of_another_password_ends_with_the_repair(
    server: OwnServer, world: World, widening: str
) -> None:
    server.do("ACL", "SETUSER", "mail", widening)
    with raw(server, b"AUTH mail stolen", b"PING") as sock:
        await world.converge(MAIL)
        assert is_closed(sock)
    with pytest.raises(AssertionError), raw(server, b"AUTH mail stolen"):
        pass


async def test_sessions_live_through_what_widened_nothing(server: OwnServer, world: World) -> None:
    login = f"AUTH mail {credential('mail').password.reveal()}".encode()
    with raw(server, login) as sock:
        server.do("ACL", "SETUSER", "mail", "-get")
        assert await world.converge(MAIL)
        moved = App(MAIL.name, {"kv": KvSection(namespace="post")})
        assert await world.converge(moved)
        sock.sendall(b"SET post:k v\r\n")
        assert sock.recv(100) == b"+OK\r\n"
        sock.sendall(b"GET mail:k\r\n")
        assert sock.recv(100).startswith(b"-NOPERM")


async def test_sessions_end_with_the_section(server: OwnServer, world: World) -> None:
    login = f"AUTH mail {credential('mail').password.reveal()}".encode()
    with raw(server, login) as sock:
        await world.converge(App(MAIL.name, {}))
        assert is_closed(sock)
    assert line_of(server.url, "mail") is None
    assert line_of(server.url, "mailbox") is not None


async def test_an_adopted_user_is_kept_and_shut(server: OwnServer, provider: KvProvider) -> None:
    server.do("ACL", "SETUSER", "mail", "reset", "on", ">old", "~*", "+@all")
    world = World(provider)  # type: ignore[arg-type]
    seen = await world.observe([MAIL])
    world.owned[MAIL.name] = provider.adoptable(world.wanted(MAIL), seen[MAIL.name])
    with raw(server, b"AUTH mail old", b"MONITOR") as sock:
        await world.converge(MAIL)
        assert is_closed(sock)
    with raw(server, b"AUTH mail old", b"GET mail:k") as sock:
        assert not is_closed(sock), "it keeps its password, and has norn's rules"
    assert not (await provider.prove(MAIL, credential("mail"))).ok
    world.marks[MAIL.name] = CredentialMark(DUE, 1)  # norn rotate
    await world.converge(MAIL)
    assert (await provider.prove(MAIL, credential("mail"))).ok
    await world.converge(App(MAIL.name, {}))
    assert (line_of(server.url, "mail") or "").startswith("user mail off ")
    assert not (await provider.prove(MAIL, credential("mail"))).ok
    await world.converge(MAIL)
    assert (await provider.prove(MAIL, credential("mail"))).ok


async def test_a_proof_tells_why_it_failed(
    server: OwnServer, provider: KvProvider, world: World
) -> None:
    wrong = Credential(Secret("wrong"), CredentialMark("f", 1))
    proof = await provider.prove(MAIL, wrong)
    assert not proof.ok
    assert "password" in proof.reason
    assert "wrong" not in proof.reason.replace("wrong password", "")
    server.do("ACL", "SETUSER", "mail", "resetkeys")
    proof = await provider.prove(MAIL, credential("mail"))
    assert not proof.ok
    assert "rights" in proof.reason
    assert proof.response_ms > 0


async def test_a_key_of_another_type_is_no_failed_proof(
    server: OwnServer, provider: KvProvider, world: World
) -> None:
    server.do("LPUSH", "mail:norn-proof", "x")
    assert (await provider.prove(MAIL, credential("mail"))).ok
    assert server.do("LLEN", "mail:norn-proof") == 1


@pytest.mark.parametrize("rules", ["-@all +get +set +scan", "+@all", "-@all +ping", "-@all"])
async def test_an_open_default_user_is_never_taken_for_a_refusal(
    server: OwnServer, provider: KvProvider, world: World, rules: str
) -> None:
    """Without EXISTS it said NOPERM, which looked like one."""
    assert (await provider.trespass(MAIL, credential("mail"), OTHER)).ok
    server.do("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", *rules.split())
    proof = await provider.trespass(MAIL, credential("mail"), OTHER)
    assert (proof.ok, proof.kind) == (False, "WrongPasswordAccepted")
    server.do("ACL", "SETUSER", "default", "reset", "off")
    assert (await provider.trespass(MAIL, credential("mail"), OTHER)).ok


async def test_a_user_without_a_password_that_reaches_an_app_is_found_in_the_round(
    server: OwnServer, provider: KvProvider, world: World
) -> None:
    server.do("ACL", "SETUSER", "legacy", "on", "nopass", "~ma*", "-@all", "+get")
    plans = await world.plans([MAIL, OTHER])
    blocked = plans[MAIL.name].blocked
    assert blocked is not None
    assert (blocked.reason, blocked.remedy) == ("OpenToAll", "ACL SETUSER legacy off")
    server.do(*blocked.remedy.split())
    assert all(plan.blocked is None for plan in (await world.plans([MAIL, OTHER])).values())
