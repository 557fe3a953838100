"""What norn's rules leave to an app: everything that data structures, messages and scripts are for,
and the first words of the usual clients. Beside a neighbour at work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import valkey
import valkey.asyncio

from tests.integration.kv_servers import OwnServer
from tests.integration.provider_contract import credential
from tests.isolation.kv_stage import OPTIONS, A, B, Stage
from tests.isolation.kv_wire import Fault, Push, Wire

PASSWORD = credential(A).password
NOPERM = valkey.exceptions.NoPermissionError


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(OwnServer(tmp_path_factory.mktemp("life"), OPTIONS)) as made:
        yield made


@pytest.fixture
def mail(stage: Stage) -> Iterator[valkey.Valkey]:
    client = valkey.Valkey.from_url(_url(stage), decode_responses=True)
    yield client
    client.close()


def _url(stage: Stage) -> str:
    return f"valkey://{A}:{PASSWORD.reveal()}@{stage.live['server']}"


def key(name: str) -> str:
    return f"{A}:life:{name}"


def test_strings(mail: valkey.Valkey) -> None:
    assert mail.set(key("s"), "1", nx=True, ex=100)
    assert mail.incrby(key("s"), 41) == 42
    assert mail.append(key("s"), "!") == 3
    assert mail.mset({key("t"): "x", key("u"): "y"})
    assert mail.mget(key("s"), key("t"), key("none")) == ["42!", "x", None]
    assert mail.getrange(key("s"), 0, 1) == "42"
    assert mail.getdel(key("t")) == "x"
    assert mail.getex(key("u"), ex=50) == "y"


def test_hashes(mail: valkey.Valkey) -> None:
    assert mail.hset(key("h"), mapping={"a": "1", "b": "2"}) == 2
    assert mail.hincrby(key("h"), "a", 5) == 6
    assert mail.hgetall(key("h")) == {"a": "6", "b": "2"}
    assert mail.hscan(key("h")) == (0, {"a": "6", "b": "2"})
    assert mail.hdel(key("h"), "b") == 1


def test_lists(mail: valkey.Valkey) -> None:
    assert mail.rpush(key("l"), "a", "b", "c") == 3
    assert mail.lmove(key("l"), key("l2"), "LEFT", "RIGHT") == "a"
    assert mail.lrange(key("l"), 0, -1) == ["b", "c"]
    assert mail.lmpop(2, key("l2"), key("l"), direction="LEFT") == [key("l2"), ["a"]]
    assert mail.lrem(key("l"), 0, "b") == 1


def test_sets(mail: valkey.Valkey) -> None:
    mail.sadd(key("m1"), "a", "b")
    mail.sadd(key("m2"), "b", "c")
    assert mail.sinterstore(key("m3"), key("m1"), key("m2")) == 1
    assert set(mail.sunion(key("m1"), key("m2"))) == {"a", "b", "c"}
    assert mail.smove(key("m1"), key("m2"), "a")
    assert mail.sscan(key("m3")) == (0, ["b"])


def test_sorted_sets(mail: valkey.Valkey) -> None:
    assert mail.zadd(key("z"), {"a": 1, "b": 2, "c": 3}) == 3
    assert mail.zrangestore(key("z2"), key("z"), 0, 1) == 2
    assert mail.zunionstore(key("z3"), [key("z"), key("z2")]) == 3
    assert mail.zrange(key("z3"), 0, -1, withscores=True) == [("a", 2), ("c", 3), ("b", 4)]
    assert mail.zpopmin(key("z3")) == [("a", 2)]


def test_streams_with_groups(mail: valkey.Valkey) -> None:
    entry = mail.xadd(key("x"), {"f": "v"})
    assert mail.xgroup_create(key("x"), "g", id="0")
    assert mail.xreadgroup("g", "one", {key("x"): ">"}) == [[key("x"), [(entry, {"f": "v"})]]]
    assert mail.xpending(key("x"), "g")["pending"] == 1
    assert mail.xautoclaim(key("x"), "g", "two", 0)[1] == [(entry, {"f": "v"})]
    assert mail.xack(key("x"), "g", entry) == 1
    assert mail.xinfo_groups(key("x"))[0]["name"] == "g"
    assert mail.xread({key("x"): "0"}, block=5) == [[key("x"), [(entry, {"f": "v"})]]]


def test_bitmaps_and_cardinalities(mail: valkey.Valkey) -> None:
    mail.setbit(key("b1"), 3, 1)
    mail.setbit(key("b2"), 4, 1)
    assert mail.bitop("OR", key("b3"), key("b1"), key("b2")) == 1
    assert mail.bitcount(key("b3")) == 2
    assert mail.execute_command("BITFIELD", key("b3"), "GET", "u8", "0") == [0b00011000]
    assert mail.pfadd(key("p1"), "a", "b") == 1
    assert mail.pfadd(key("p2"), "b", "c") == 1
    assert mail.pfcount(key("p1"), key("p2")) == 3


def test_places(mail: valkey.Valkey) -> None:
    mail.geoadd(key("g"), [13.36, 38.11, "Palermo", 15.08, 37.50, "Catania"])
    near = {"longitude": 15, "latitude": 37, "radius": 100, "unit": "km"}
    assert mail.geosearch(key("g"), **near) == ["Catania"]
    assert mail.geosearchstore(key("g2"), key("g"), **near) == 1
    assert mail.geodist(key("g"), "Palermo", "Catania", "km") == pytest.approx(165, abs=5)


def test_messages_on_own_channels(mail: valkey.Valkey) -> None:
    with mail.pubsub() as listener:
        listener.subscribe(f"{A}:news")
        listener.psubscribe(f"{A}:*")
        assert [listener.get_message(timeout=5)["type"] for _ in range(2)] == [
            "subscribe", "psubscribe",
        ]  # fmt: skip
        assert mail.publish(f"{A}:news", "hello") == 2
        heard = [listener.get_message(timeout=5) for _ in range(2)]
    assert {(m["type"], m["data"]) for m in heard} == {("message", "hello"), ("pmessage", "hello")}


def test_messages_on_own_shard_channels(stage: Stage, mail: valkey.Valkey) -> None:
    listener = stage.open(A)
    listener.send(("SSUBSCRIBE", f"{A}:news"))
    assert listener.read() == Push([b"ssubscribe", f"{A}:news".encode(), 1])
    assert mail.execute_command("SPUBLISH", f"{A}:news", "hello") == 1
    assert listener.read() == Push([b"smessage", f"{A}:news".encode(), b"hello"])
    listener.close()


def test_a_pattern_within_the_own_channels_is_refused(mail: valkey.Valkey) -> None:
    """The server compares patterns as texts: only `mail:*` itself is that of the rules. kombu with
    a global_keyprefix asks for the one below."""
    with mail.pubsub() as listener, pytest.raises(NOPERM):
        listener.psubscribe(f"{A}:/0.celery.pidbox")
        listener.get_message(timeout=5)


def test_scripts(mail: valkey.Valkey) -> None:
    source = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"
    assert mail.eval(source, 1, key("e"), "1") == "1"
    assert mail.register_script(source)(keys=[key("e")], args=["2"]) == "2"
    sha = mail.script_load(source)
    assert mail.script_exists(sha) == [True]
    assert mail.evalsha(sha, 1, key("e"), "3") == "3"
    assert mail.eval_ro("return redis.call('GET', KEYS[1])", 1, key("e")) == "3"
    # What the administrator loaded for all runs with the rights of who calls it.
    assert mail.fcall("relay", 1, key("e"), "GET", key("e")) == "3"


def test_transactions_and_watched_keys(mail: valkey.Valkey) -> None:
    with mail.pipeline() as pipe:
        assert pipe.set(key("w"), "1").incr(key("w")).execute() == [True, 2]
        pipe.watch(key("w"))
        mail.set(key("w"), "other")
        pipe.multi()
        pipe.set(key("w"), "mine")
        with pytest.raises(valkey.WatchError):
            pipe.execute()
    assert mail.get(key("w")) == "other"


def test_waiting_for_work(stage: Stage, mail: valkey.Valkey) -> None:
    waiter = stage.open(A)
    number = waiter.must("CLIENT", "ID")
    waiter.send(("BLPOP", key("q"), "0"))
    for _ in range(400):
        if b" flags=b " in stage.admin.must("CLIENT", "LIST", "ID", str(number)):
            break
        time.sleep(0.005)
    mail.rpush(key("q"), "job")
    assert waiter.answer() == [key("q").encode(), b"job"]
    waiter.close()
    assert mail.bzpopmin([key("none")], timeout=0.01) is None
    assert mail.blmove(key("none"), key("q"), 0.01) is None
    assert mail.wait(0, 1) == 0


def test_expiry(mail: valkey.Valkey) -> None:
    mail.set(key("old"), "x")
    assert mail.ttl(key("old")) == -1
    assert mail.expire(key("old"), 100) and 0 < mail.ttl(key("old")) <= 100
    assert mail.persist(key("old"))
    assert mail.pexpire(key("old"), 10)
    time.sleep(0.02)
    assert mail.exists(key("old")) == 0


def test_sorting(mail: valkey.Valkey) -> None:
    mail.rpush(key("n"), "3", "1", "2")
    assert mail.sort(key("n"), desc=True) == ["3", "2", "1"]
    assert mail.sort(key("n"), store=key("n2")) == 3
    assert mail.sort(key("n"), start=0, num=1, by="nosort") == ["3"]
    # Within the prefix as well: the server wants a right on all keys for BY a pattern and any GET.
    for pattern in ({"by": f"{A}:life:*"}, {"get": f"{A}:life:*"}, {"get": "#"}):
        with pytest.raises(valkey.ResponseError, match="denied due to insufficient ACL"):
            mail.sort(key("n"), **pattern)


def test_keys_as_such(mail: valkey.Valkey) -> None:
    mail.set(key("k"), "x")
    assert mail.copy(key("k"), key("k2")) and mail.rename(key("k2"), key("k3"))
    assert mail.copy(key("k"), key("k"), destination_db=3)
    assert mail.type(key("k3")) == "string"
    assert mail.object("encoding", key("k3")) == "embstr"
    assert mail.memory_usage(key("k3")) > 0
    assert mail.touch(key("k"), key("k3")) == 2
    # Not by a client that decodes replies: a dump is no text.
    assert b"x" in valkey.Valkey(connection_pool=_plain(mail)).dump(key("k"))
    assert mail.unlink(key("k"), key("k3")) == 2
    assert mail.delete(key("k")) == 0


def _plain(client: valkey.Valkey) -> valkey.ConnectionPool:
    options = {**client.connection_pool.connection_kwargs, "decode_responses": False}
    return valkey.ConnectionPool(**options)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_valkey_py_logs_in_and_works(stage: Stage, protocol: int) -> None:
    options = {"protocol": protocol, "client_name": "worker", "db": 2, "decode_responses": True}
    with valkey.Valkey.from_url(_url(stage), **options) as client:
        assert client.ping() and client.set(key("py"), str(protocol))
        info = client.client_info()
    assert (info["name"], info["resp"], info["db"]) == ("worker", str(protocol), 2)
    assert info["lib-name"] == "valkey-py"
    async with valkey.asyncio.Valkey.from_url(_url(stage), **options) as other:
        assert await other.get(key("py")) == str(protocol)


# What clients send before their first request, by their sources. `?`: they go on where it is
# refused. {a}, {p}: user and password.
HANDSHAKES = {
    "redis-py, RESP3": "HELLO 3 AUTH {a} {p}|CLIENT SETNAME worker|CLIENT SETINFO LIB-NAME redis-py"
    "|CLIENT SETINFO LIB-VER 6.4.0|SELECT 1",
    "redis-py, RESP2": "AUTH {a} {p}|CLIENT SETINFO LIB-NAME redis-py|CLIENT SETINFO LIB-VER 6.4.0",
    # Its ready check takes an error that begins with NOPERM for ready.
    "ioredis": "AUTH {a} {p}|SELECT 0|CLIENT SETNAME worker|?INFO",
    # Stands on ioredis; reads the server's version from INFO unless told `skipVersionCheck`, and
    # its list of workers from CLIENT LIST. Its `prefix` is to be `mail:…`.
    "BullMQ": "AUTH {a} {p}|CLIENT SETNAME mail:cXVldWU=:w|?INFO|?CLIENT LIST",
    "node-redis": "HELLO 3 AUTH {a} {p} SETNAME worker|CLIENT SETINFO LIB-VER 5.0.0"
    "|CLIENT SETINFO LIB-NAME node-redis|SELECT 1",
    "go-redis": "HELLO 3 AUTH {a} {p}|SELECT 1|CLIENT SETNAME worker"
    "|?CLIENT MAINT_NOTIFICATIONS ON|CLIENT SETINFO LIB-NAME go-redis(,go1.24)"
    "|CLIENT SETINFO LIB-VER 9.14.0",
    "lettuce": "HELLO 3 AUTH {a} {p}|CLIENT SETNAME worker|CLIENT SETINFO lib-name Lettuce"
    "|CLIENT SETINFO lib-ver 6.8.0|SELECT 1|PING",
    "jedis": "HELLO 3 AUTH {a} {p}|CLIENT SETNAME worker|CLIENT SETINFO LIB-NAME jedis"
    "|CLIENT SETINFO LIB-VER 6.0.0|SELECT 1",
    # Of Sidekiq, too, which besides wants INFO when it starts, and keys without a prefix.
    "redis-client for Ruby": "HELLO 3 AUTH {a} {p}|CLIENT SETINFO LIB-NAME redis-client"
    "|CLIENT SETINFO LIB-VER 0.25.0|SELECT 1|?INFO",
}


@pytest.mark.parametrize("client", HANDSHAKES)
def test_the_first_words_of_usual_clients_are_heard(stage: Stage, client: str) -> None:
    wire = Wire(stage.server.port)
    filled = {"{a}": A, "{p}": PASSWORD}
    for line in HANDSHAKES[client].split("|"):
        words = [filled.get(word, word) for word in line.lstrip("?").split(" ")]
        reply = wire.ask(*words)
        if line.startswith("?"):
            assert isinstance(reply, Fault) and reply.startswith((b"NOPERM", b"ERR unknown"))
        else:
            assert not isinstance(reply, Fault), (words[:2], reply)
    assert wire.ask("SET", key("hello"), client) == b"OK"
    assert wire.ask("GET", f"{B}:str").startswith(b"NOPERM")
    wire.close()
