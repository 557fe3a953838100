"""What an ACL user may do: the rules norn sets, and the same form read from `ACL LIST`. Pure.

The server keeps command rules as they were written and shows them in the order of the flags,
passwords, keys, channels, databases, commands, selectors. Command rules are therefore compared in
order, all else as sets. See https://valkey.io/topics/acl/.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

# Fails closed for commands to come: everything is off, then named families and commands are on.
# Left out although harmless at first sight (each was seen to reach beyond the key patterns):
#   pfmerge                        with one argument it skips the key check
#   georadius, georadiusbymember   a second STORE option escapes the check before 9.1
#   client|tracking                BCAST streams the names of other apps' keys
#   scan, randomkey, dbsize, keys  are not filtered by key patterns, nor from within EVAL
#   function|*, script|show        one name space for all: others' code can be read and replaced
#   script|flush, script|kill      disturb everybody
#   pubsub|*                       names others' channels
#   restore, migrate, debug, memory|stats, cluster|getkeysinslot and the like
_COMMANDS = """
    -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +pfadd +pfcount
    +@geo -georadius -georadiusbymember +@transaction +@pubsub -pubsub
    +eval +eval_ro +evalsha +evalsha_ro +fcall +fcall_ro +script|load +script|exists
    +copy +del +dump +exists +expire +expireat +expiretime +object +persist
    +pexpire +pexpireat +pexpiretime +pttl +rename +renamenx +touch +ttl +type +unlink
    +memory|usage +auth +hello +ping +echo +quit +reset +select +time +wait
    +readonly +readwrite +asking +cluster|slots +cluster|shards +cluster|keyslot
    +client|id +client|info +client|getname +client|setname +client|setinfo +client|no-touch
    +client|reply +command +acl|whoami
"""
COMMANDS: tuple[str, ...] = tuple(_COMMANDS.split())

# Whether a server has these depends on its version and on rename-command.
NAMED_COMMANDS: tuple[str, ...] = tuple(rule[1:] for rule in COMMANDS if "@" not in rule)

_ALIASES = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all", "nocommands": "-@all"}
# Shown on some versions for what is the default anyway, or implied by the other words of the line.
_IMPLIED = frozenset({"on", "off", "sanitize-payload", "alldbs", "resetchannels", "resetkeys"})

KEYSPACE = re.compile(r"__keyspace@[0-9]{1,2}__:")
_FIRST_COMMAND = re.compile(r" (?=[+-])")


@dataclass(frozen=True, slots=True)
class Rules:
    """One ACL user. passwords: SHA-256 hex. keys: `~pattern`, `%R~pattern`, `%W~pattern`.
    channels: `&pattern`. commands: in order. selectors: each as shown, with its parentheses.
    databases: `resetdbs` and `db=…` (9.1 and newer); empty = all. flags: words that this program
    does not know, which newer servers may show on every user.
    """

    user: str
    enabled: bool = False
    nopass: bool = False
    passwords: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    commands: tuple[str, ...] = ("-@all",)
    selectors: tuple[str, ...] = ()
    databases: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        """32 hex characters: equal rules, equal fingerprint, in every process and version."""
        return _fingerprint(self)


@lru_cache(maxsize=4096)  # asked for every user in every round, of rules that rarely change
def _fingerprint(rules: Rules) -> str:
    parts = []
    for field in fields(rules):
        value = getattr(rules, field.name)
        shown = sorted(value) if isinstance(value, frozenset) else value
        parts.append(f"{field.name}={shown!r}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect in which a user is not as it should be, in words without passwords."""

    aspect: str
    expected: str
    found: str


def app_rules(
    user: str,
    namespace: str,
    password_sha256: str,
    missing: frozenset[str] = frozenset(),
    *,
    info: bool = False,
    channels: Iterable[str] = (),
) -> Rules:
    """The rules of an app's user. missing: commands that the server does not have. info: INFO, too,
    whose numbers are about the whole server. channels: patterns below the namespace for PSUBSCRIBE,
    which the server compares with the user's letter by letter."""
    commands = _commands_without(missing)
    return Rules(
        user=user,
        enabled=True,
        passwords=frozenset({password_sha256}),
        keys=frozenset({f"~{namespace}:*"}),
        channels=frozenset({f"&{namespace}:*", *(_channel(namespace, c) for c in channels)}),
        commands=(*commands, "+info") if info else commands,
    )


def shapes_of_commands(missing: frozenset[str]) -> frozenset[tuple[str, ...]]:
    """The command rules that an app's user may have from norn."""
    commands = _commands_without(missing)
    return frozenset({commands, (*commands, "+info")})


def _channel(namespace: str, pattern: str) -> str:
    """Held to the prefix. Keyspace notifications bear the key behind a word of the server's."""
    event = KEYSPACE.match(pattern)
    head = event[0] if event else ""
    return f"&{head}{namespace}:{pattern.removeprefix(head)}"


@lru_cache(maxsize=16)
def _commands_without(missing: frozenset[str]) -> tuple[str, ...]:
    return tuple(rule for rule in COMMANDS if rule[1:] not in missing)


def modifiers(rules: Rules) -> tuple[str, ...]:
    """The arguments of one ACL SETUSER, after the name, that make a user exactly `rules`."""
    return (
        "reset",
        "on" if rules.enabled else "off",
        *(f"#{digest}" for digest in sorted(rules.passwords)),
        "resetkeys",
        *sorted(rules.keys),
        "resetchannels",
        *sorted(rules.channels),
        *rules.commands,
    )


def parse(line: str) -> Rules | None:
    """The rules in one line of ACL LIST, or None when it is no such line."""
    # All users of a fleet share their command rules, by far the longest part of each line.
    first = _FIRST_COMMAND.search(line, line.find(" ", len("user ")))  # a name may begin with -
    tail = line[first.start() :] if first is not None and "(" not in line else ""
    words = line.removesuffix(tail).split(" ")
    if len(words) < 2 or words[0] != "user" or not words[1]:
        return None
    root, selectors = _split(words[2:])
    commands = _command_rules(tail)
    if commands is None:
        root, commands = [*root, *tail.split()], ()
    root = [_ALIASES.get(word, word) for word in root]
    return Rules(
        user=words[1],
        enabled="on" in root and "off" not in root,
        nopass="nopass" in root,
        passwords=frozenset(w[1:] for w in root if w.startswith("#")),
        keys=frozenset(_key(w) for w in root if w[0] in "~%"),
        channels=frozenset(w for w in root if w.startswith("&")),
        commands=commands or tuple(w.lower() for w in root if w[0] in "+-"),
        selectors=selectors,
        databases=frozenset(w for w in root if w.startswith("db=") or w == "resetdbs"),
        flags=frozenset(w for w in root if _unknown(w)),
    )


@lru_cache(maxsize=256)
def _command_rules(tail: str) -> tuple[str, ...] | None:
    """The command rules in the end of a line; None when something else is among them."""
    words = tuple(tail.lower().split())
    return words if all(word[0] in "+-" for word in words) else None


def _split(words: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Words of the user itself, and its selectors."""
    root: list[str] = []
    selectors: list[str] = []
    inside: list[str] = []
    for word in words:
        if not word:
            continue
        if not inside and not word.startswith("("):
            root.append(word)
            continue
        inside.append(word)
        if word.endswith(")"):
            selectors.append(" ".join(inside))
            inside = []
    if inside:
        selectors.append(" ".join(inside))
    return root, tuple(selectors)


def _key(word: str) -> str:
    access, tilde, pattern = word.partition("~")
    full = tilde and frozenset(access.upper()) == frozenset("%RW")
    return f"~{pattern}" if full else word


def _unknown(word: str) -> bool:
    known = word in _IMPLIED or word in {"nopass", "resetdbs"} or word.startswith("db=")
    return not known and word[0] not in "#~%&+-"


def differences(wanted: Rules, found: Rules) -> tuple[Difference, ...]:
    """How `found` is not as `wanted`; flags are left out: see `Rules.flags`."""
    if wanted == found:
        return ()
    return tuple(
        difference
        for difference in (
            _of("state", _state(wanted), _state(found)),
            _passwords(wanted, found),
            _of("keys", _words(wanted.keys), _words(found.keys)),
            _of("channels", _words(wanted.channels), _words(found.channels)),
            _commands(wanted, found),
            _of("selectors", _words(wanted.selectors), _words(found.selectors)),
            _of("databases", _words(wanted.databases, "all"), _words(found.databases, "all")),
        )
        if difference is not None
    )


def widened(wanted: Rules, found: Rules) -> bool:
    """Whether somebody may hold a session on `found` that `wanted` would not have let in or would
    not have let do what it still does: MONITOR, tracking and replication outlive a narrowed rule,
    and a login outlives its password."""
    return (
        found.nopass
        or not found.passwords <= wanted.passwords
        or not found.keys <= wanted.keys
        or not found.channels <= wanted.channels
        or bool(found.selectors)
        or _commands_widened(wanted.commands, found.commands)
    )


def _commands_widened(wanted: tuple[str, ...], found: tuple[str, ...]) -> bool:
    """False for `wanted` itself, for `wanted` with something taken away after it, and for none."""
    if found in (("-@all",), ()):
        return False
    if found[: len(wanted)] == wanted:
        return any(rule.startswith("+") for rule in found[len(wanted) :])
    return True


def _of(aspect: str, expected: str, found: str) -> Difference | None:
    return Difference(aspect, expected, found) if expected != found else None


def _state(rules: Rules) -> str:
    return "on" if rules.enabled else "off"


def _words(words: frozenset[str] | tuple[str, ...], none: str = "none") -> str:
    return " ".join(sorted(words)) or none


def _passwords(wanted: Rules, found: Rules) -> Difference | None:
    if not found.nopass and found.passwords == wanted.passwords:
        return None
    strangers = len(found.passwords - wanted.passwords)
    if found.nopass:
        shown = "nopass"
    elif wanted.passwords <= found.passwords:
        shown = f"norn's and {strangers} more"
    else:
        shown = f"{strangers} that norn did not set" if strangers else "none"
    return Difference("passwords", "norn's alone", shown)


def _commands(wanted: Rules, found: Rules) -> Difference | None:
    if wanted.commands == found.commands:
        return None
    extra = [rule for rule in found.commands if rule not in wanted.commands]
    lacking = [rule for rule in wanted.commands if rule not in found.commands]
    tail = [rule for rule in found.commands[-1:] if not extra and not lacking]
    shown = [
        *extra,
        *(f"no {rule}" for rule in lacking[:8]),
        *(f"{rule} at the end" for rule in tail),
    ]
    if len(lacking) > 8:
        shown.append(f"and {len(lacking) - 8} more missing")
    return Difference("commands", "norn's command rules", " ".join(shown))
