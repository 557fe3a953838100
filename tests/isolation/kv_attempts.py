"""What A may try: every form of every command, aimed at what is B's, by each way there is to send
it; and what the server's documentation does not tell of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.isolation.kv_grammar import Form, Keys, Live, Piece, Place, Spoken
from tests.isolation.kv_stage import A, B

# Who owns what stands in a place. "none": has B's prefix and isn't there. "any": all that match.
OWNERS = {
    "key": {"A": f"{A}:{{type}}", "B": f"{B}:{{type}}", "none": f"{B}:none"},
    "pattern": {"A": f"{A}:*", "B": f"{B}:*", "none": f"{B}:none", "any": "*"},
    "channel": {"A": f"{A}:channel", "B": f"{B}:channel", "none": f"{B}:none",
                "any": f"__keyspace@0__:{B}:str"},
    "user": {"A": A, "B": B, "none": "nobody", "any": "default"},
}  # fmt: skip
# What these do leads to a state of the connection, or to a wait: each has one of its own.
OF_THE_CONNECTION = frozenset(
    {"@connection", "@pubsub", "@blocking", "@transaction", "@admin", "admin", "blocking"}
)
CALL, SERVER_CALL, PCALL = (
    f"return {call}(unpack(ARGV))" for call in ("redis.call", "server.call", "server.pcall")
)
# Way → the commands around the words of an attempt.
WAYS = {
    "in MULTI": lambda words: (("MULTI",), words, ("EXEC",)),
    "by EVAL": lambda words: (("EVAL", CALL, "0", *words),),
    "by EVAL, own key declared": lambda words: (("EVAL", PCALL, "1", f"{A}:str", *words),),
    "by EVAL, B's key declared": lambda words: (("EVAL", SERVER_CALL, "1", f"{B}:str", *words),),
    "by EVAL_RO": lambda words: (("EVAL_RO", CALL, "0", *words),),
    "by FCALL": lambda words: (("FCALL", "relay", "1", f"{A}:str", *words),),
    "by FCALL_RO": lambda words: (("FCALL_RO", "peek", "0", *words),),
}
# Undocumented, or worth more than the generated forms. {A}, {B} are filled in.
MORE = """
CONFIG SET maxmemory-samples 7|CONFIG SET requirepass x|CONFIG SET dir /tmp|CONFIG GET *
CLIENT TRACKING ON BCAST PREFIX {B}:|CLIENT TRACKING ON BCAST PREFIX {A}|CLIENT TRACKING ON BCAST
SUBSCRIBE __keyevent@0__:set|SUBSCRIBE __redis__:invalidate
PSUBSCRIBE __key*__:*|PSUBSCRIBE __keyspace@0__:*|PSUBSCRIBE __keyevent@0__:*
PSUBSCRIBE {A}*|PSUBSCRIBE {A}?ox:*|PSUBSCRIBE [m]ailbox:*|PSUBSCRIBE {A}:*|PSUBSCRIBE *
PUBLISH __keyspace@0__:{B}:str set|PUBSUB NUMSUB {B}:channel|PUBSUB NUMPAT
SCAN 0 MATCH {B}:* COUNT 1000|SCAN 0 COUNT 1000 TYPE string|KEYS {B}:*|KEYS {A}*|KEYS [m]ailbox:*
SORT {A}:list BY nosort GET {B}:* GET #|SORT {A}:list BY {B}:*|SORT {A}:list BY {B}:hash->str
SORT_RO {A}:list BY nosort GET {B}:*|SORT {A}:list GET {B}:hash->str|SORT {A}:list STORE {B}:none
GEORADIUS {A}:geo 1 1 9 km STORE {A}:none STORE {B}:none
GEORADIUSBYMEMBER {A}:geo str 9 km STORE {A}:none STORE {B}:geo
GEORADIUS {A}:geo 1 1 9 km STOREDIST {A}:none STOREDIST {B}:geo
XREAD COUNT 9 STREAMS {A}:stream {B}:stream 0 0|XREAD STREAMS {B}:stream {A}:stream 0 0
MIGRATE 127.0.0.1 1 "" 0 100 KEYS {B}:str {A}:str|MIGRATE 127.0.0.1 1 {B}:str 0 100 COPY
DEBUG OBJECT {B}:str|DEBUG DIGEST|DEBUG DIGEST-VALUE {B}:str|DEBUG RELOAD|DEBUG FLUSHALL
DEBUG POPULATE 1 {B}:many|DEBUG SLEEP 0.3|DEBUG SET-ACTIVE-EXPIRE 1|DEBUG HTSTATS 0|DEBUG ERROR x
DEBUG CHANGE-REPL-ID|DEBUG SEGFAULT|DEBUG PANIC|DEBUG ASSERT|DEBUG OOM|DEBUG RESTART 100
DEBUG CRASH-AND-RECOVER 100|DEBUG JMAP|DEBUG SDSLEN {B}:str|DEBUG LISTPACK {B}:hash
REPLCONF listening-port 1|REPLCONF rdb-only 1|REPLCONF GETACK *|PSYNC ? -1|SYNC
ACL SETUSER {A} on ~* +@all|ACL SETUSER intruder on nopass ~* &* +@all|ACL GETUSER {B}|ACL LOG
ACL DELUSER {B}|ACL SETUSER {B} nopass|ACL DRYRUN {B} GET {B}:str|ACL GETUSER norn-admin
AUTH {B} wrong|AUTH default wrong|AUTH norn-admin wrong|AUTH wrong|HELLO 3 AUTH {B} wrong
CLIENT KILL USER {B}|CLIENT KILL TYPE pubsub|CLIENT LIST|CLIENT PAUSE 300|CLIENT PAUSE 300 WRITE
COMMANDLOG GET -1 slow|COMMANDLOG GET -1 large-request|SLOWLOG GET -1|LATENCY GRAPH command
FUNCTION LIST WITHCODE|FUNCTION DELETE shared|FUNCTION FLUSH SYNC|SCRIPT FLUSH SYNC
FCALL peek 0 get {B}:str|FCALL relay 1 {B}:str get {B}:str|FCALL_RO peek 1 {B}:str get {B}:str
FCALL relay 1 {A}:str get {A}:str|FCALL_RO peek 1 {A}:str get {A}:str|FCALL_RO relay 0 get {B}:str
SWAPDB 0 1|MOVE {B}:str 5|MOVE {A}:str 5|COPY {B}:str {A}:none DB 1|COPY {A}:str {B}:none DB 1
ACL LOG RESET|COMMANDLOG RESET large-request|COMMANDLOG RESET large-reply|SLOWLOG RESET
FLUSHDB|FLUSHALL|SHUTDOWN NOSAVE|SHUTDOWN|FAILOVER ABORT|REPLICAOF NO ONE|CLUSTER NODES
COMMAND GETKEYS GET {B}:str|COMMAND GETKEYSANDFLAGS SET {B}:str x|OBJECT ENCODING {B}:list
"""
SCRIPTS = """
return redis.call('get', '{A}' .. 'box:str')
return redis.pcall('set', KEYS[1] .. 'x', '1')
redis.call('select', 1) return redis.call('get', '{B}:str')
redis.call('multi') return redis.call('get', '{B}:str')
return redis.acl_check_cmd('get', '{B}:str')
redis.setresp(3) return redis.call('hgetall', '{B}:hash')
redis.call = nil return 1
string.rep = nil return 1
redis.sha1hex = function() return 1 end return 1
getmetatable('').__index = {{}} return 1
getmetatable('').__index.rep = function() return 'spoilt' end return 1
setmetatable(_G, {{}}) return 1
getmetatable(_G).__newindex = nil spoilt = 1 return 1
rawset(_G, 'type', function() return 'spoilt' end) return 1
rawset(string, 'rep', function() return 'spoilt' end) return 1
debug.getregistry().x = 1 return 1
return loadstring(string.dump(function() return 1 end))()
return dofile('/etc/hostname')
return os.execute('true')
return io.open('/etc/hostname'):read()
return redis.call('script', 'flush')
return redis.call('function', 'list', 'withcode')
return redis.call('client', 'list')
return redis.call('config', 'get', '*')
return redis.call('keys', '*')
return redis.call('scan', '0')
return redis.call('randomkey')
return redis.call('flushall')
return redis.call('swapdb', 0, 1)
return redis.call('publish', '{B}:channel', 'x')
return redis.call('spublish', '{B}:channel', 'x')
"""
FATAL = {"SEGFAULT", "PANIC", "ASSERT", "OOM", "RESTART", "CRASH-AND-RECOVER"}


Words = tuple[str | Live, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """name: the command's, as the server lists it. words: the command itself; commands: with what
    is sent around it. aimed: whether a key or a channel of B's stands where the command takes one.
    alone: needs a connection of its own. fatal: would end the server where it is allowed."""

    name: str
    way: str
    words: Words
    commands: tuple[Words, ...]
    aimed: bool = False
    alone: bool = False
    fatal: bool = False

    @property
    def silent(self) -> bool:
        """Whether no reply is an answer, too."""
        return self.name in ("client|reply", "replconf")

    def __str__(self) -> str:
        text = " ".join(w if isinstance(w, str) else f"<{w.name}>" for w in self.words)
        return f"{' '.join(text.split())[:150]} ({self.way})"


def attempts(vocabulary: Sequence[Spoken], thorough: bool = True) -> Iterator[Attempt]:
    """thorough: else only what names something, with fewer options and by fewer ways."""
    for one in vocabulary:
        yield from _of(one, thorough)
    yield from more(vocabulary)


def _of(one: Spoken, thorough: bool) -> Iterator[Attempt]:
    named = [form for form in one.options if _places(form) > _places(one.base[0])]
    rest = [form for form in one.options if form not in named]
    for form in one.base:
        for owners in _owners(form, missing=True):
            yield _attempt(one, form, owners)
    for form in (*named, *(rest if thorough else ())):
        for owners in _owners(form):
            yield _attempt(one, form, owners)
    ways = dict(WAYS) if thorough else {way: WAYS[way] for way in ("in MULTI", "by EVAL")}
    for form in (*one.base, *named):
        for owners in _aimed_owners(form):
            yield from (_attempt(one, form, owners, way) for way in ways)
    if thorough:
        for owners in _aimed_owners(one.base[0]):
            yield _attempt(one, one.base[0], owners, "in database 1")


def _places(form: Form) -> list[str]:
    return [piece.kind for piece in form if isinstance(piece, Place)]


def _owners(form: Form, missing: bool = False) -> list[tuple[str, ...]]:
    """Who owns each place: all B, all A; B in one, A in the others, and the reverse."""
    kinds = _places(form)
    size = len(kinds)
    found = [("B",) * size, ("A",) * size]
    for i in range(size):
        found.append(tuple("B" if j == i else "A" for j in range(size)))
        found.append(tuple("A" if j == i else "B" for j in range(size)))
        if missing:
            found.append(tuple("none" if j == i else "A" for j in range(size)))
    if missing:
        found.append(("none",) * size)
    if set(kinds) - {"key"}:
        found.append(tuple("B" if kind == "key" else "any" for kind in kinds))
        found.append(tuple("A" if kind == "key" else "any" for kind in kinds))
    return list(dict.fromkeys(found))


def _aimed_owners(form: Form) -> list[tuple[str, ...]]:
    size = len(_places(form))
    return list(dict.fromkeys([("B",) * size, (*("A",) * (size - 1), *("B",) * bool(size))]))


def _attempt(one: Spoken, form: Form, owners: Sequence[str], way: str = "") -> Attempt:
    words = (*one.words, *_filled(one, form, owners))
    commands = (("SELECT", "1"), words) if way == "in database 1" else None
    if commands is None:
        commands = WAYS[way](words) if way else (words,)
    twice = form.count("STORE") == 2 or form.count("STOREDIST") == 2
    counted = owners[-1:] if twice else owners  # the last one is the one
    kinds = zip(_places(form)[-len(counted) :], counted, strict=True)
    aimed = any(kind in ("key", "channel") and owner != "A" for kind, owner in kinds)
    alone = way in ("", "in MULTI") and bool(one.traits & OF_THE_CONNECTION)
    alone = alone or way == "in database 1"
    fatal = one.name == "shutdown"
    return Attempt(one.name, way or "plainly", words, commands, aimed, alone, fatal)


def _filled(one: Spoken, form: Form, owners: Sequence[str]) -> Iterator[str | Live]:
    left = iter(owners)
    for at, piece in enumerate(form):
        yield _word(one, piece, form[at + 1 :], left)


def _word(one: Spoken, piece: Piece, rest: Form, owners: Iterator[str]) -> str | Live:
    if isinstance(piece, Place):
        return OWNERS[piece.kind][next(owners)].format(type=one.type)
    if isinstance(piece, Keys):
        return str(_places(rest).count("key"))
    if piece == Live("dump") and one.name == "function|restore":
        return Live("strange")
    return piece


def more(vocabulary: Sequence[Spoken]) -> Iterator[Attempt]:
    """What is written above, unknown subcommands, and the other databases."""
    names = {one.name: one for one in vocabulary}
    for line in MORE.strip().replace("\n", "|").split("|"):
        words = tuple(line.format(A=A, B=B).split(" "))
        sub = f"{words[0]}|{words[-1] if len(words) == 1 else words[1]}".lower()
        name = sub if sub in names else words[0].lower()
        fatal = name == "shutdown" or bool(FATAL & set(words))
        yield Attempt(name, "by hand", words, (words,), alone=True, fatal=fatal)
    for script in SCRIPTS.strip().splitlines():
        words = ("EVAL", script.format(A=A, B=B), "1", f"{A}:str")
        yield Attempt("eval", "by hand", words, (words,))
    for container in sorted({name.partition("|")[0] for name in names if "|" in name}):
        words = (container.upper(), "NO-SUCH-THING", f"{B}:str")
        yield Attempt(container, "by hand", words, (words,), alone=True)
    yield from _elsewhere(range(2, 16))


def _elsewhere(databases: Iterable[int]) -> Iterator[Attempt]:
    """A few in each of the databases that the generated attempts leave out."""
    lines = (
        f"GET {B}:str", f"SET {B}:str x", f"DEL {B}:str", "KEYS *", "SCAN 0", "RANDOMKEY",
        "FLUSHDB", f"COPY {B}:str {A}:none DB 0", f"MOVE {B}:str 0", f"WATCH {B}:str",
        f"RENAME {B}:str {A}:x",
    )  # fmt: skip
    for db in databases:
        for line in lines:
            words = tuple(line.split(" "))
            commands = (("SELECT", str(db)), words)
            aimed = f"{B}:" in line
            yield Attempt(words[0].lower(), f"in database {db}", words, commands, aimed, True)
