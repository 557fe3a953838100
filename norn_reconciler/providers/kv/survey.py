"""ACL users that could be apps': what `norn import` makes specs of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from norn_reconciler.model.app import AppName
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Owned
from norn_reconciler.providers.kv.rules import KEYSPACE, Rules
from norn_reconciler.providers.kv.state import USER

_GLOB = frozenset("*?[]\\")
_BEYOND = {
    "~*": "every key",
    "&*": "every channel",
}


def judge(
    users: Iterable[Rules], held: Mapping[AppName, Owned], reserved: frozenset[str]
) -> list[Found]:
    """Would-be apps by name. reserved: norn's own users."""
    rows = {key for owned in held.values() for key in owned}
    return [
        _app(user)
        for user in sorted(users, key=lambda u: u.user)
        if user.user != "default" and user.user not in reserved and (USER, user.user) not in rows
    ]


def _app(user: Rules) -> Found:
    spaces = _namespaces(user)
    chosen = user.user if user.user in spaces else spaces[0] if len(spaces) == 1 else None
    if chosen is None:
        return Found(user.user, notes=(*_no_namespace(user, spaces), *_access(user)))
    section: dict[str, object] = {"namespace": chosen}
    if _info(user):
        section["info"] = True
    channels, strange = _channels(user, chosen)
    if channels:
        section["channels"] = channels
    lost = sorted(user.keys - {f"~{chosen}:*"} - _below(user.keys, chosen))
    notes = []
    if lost:
        notes.append(
            f"it may also use {_shown(lost)}, which a spec cannot say: only the keys {chosen}:* "
            "would be left. Rename those keys first, or leave the user alone"
        )
    if strange:
        notes.append(f"it may also use {_shown(strange)}: only {chosen}:* would be left")
    return Found(user.user, section, (*notes, *_access(user)))


def _namespaces(user: Rules) -> list[str]:
    """Each `ns` of which the user has `~ns:*`, but for those inside another; by channels alone for
    a user without keys."""
    patterns = user.keys or {f"~{channel[1:]}" for channel in user.channels}
    found = sorted(
        word[1:-2]
        for word in patterns
        if word.startswith("~")
        and word.endswith(":*")
        and not set(word[1:-2]) & _GLOB
        and word[1:-2]
    )
    return [n for n in found if not any(n.startswith(f"{other}:") for other in found)]


def _below(keys: Iterable[str], namespace: str) -> set[str]:
    """Patterns that `~namespace:*` covers, whatever access they give."""
    return {key for key in keys if key.partition("~")[2].startswith(f"{namespace}:")}


def _no_namespace(user: Rules, spaces: list[str]) -> Iterator[str]:
    if spaces:
        yield (
            f"it has the keys of {len(spaces)} prefixes ({_shown(spaces)}), and a spec names one: "
            "write `namespace:` with the one to keep; adopting takes the others away from it"
        )
    elif user.keys or user.channels:
        yield (
            f"no prefix can be told from {_shown(sorted(user.keys | user.channels))}: where all "
            "its keys begin with the same word and a colon, write that word as `namespace:`"
        )
    else:
        yield "it has no key and no channel: there is no section to write"


def _info(user: Rules) -> bool:
    """Whether INFO was named for it: what comes with +@all need not be meant."""
    named = [rule for rule in user.commands if rule[1:] in ("info", "@all")]
    return bool(named) and named[-1] == "+info"


def _channels(user: Rules, namespace: str) -> tuple[list[str], list[str]]:
    """Patterns as services.kv.channels has them, and those that it can't have."""
    fit: list[str] = []
    strange: list[str] = []
    for word in sorted(user.channels - {f"&{namespace}:*"}):
        event = KEYSPACE.match(word[1:])
        head = event[0] if event else ""
        rest = word[1:].removeprefix(head)
        inside = rest.startswith(f"{namespace}:") and rest != f"{namespace}:"
        if inside and (head or not rest.startswith(f"{namespace}:__")):
            fit.append(head + rest.removeprefix(f"{namespace}:"))
        else:
            strange.append(word)
    return fit, strange


def _access(user: Rules) -> Iterator[str]:
    if "+@all" in user.commands:
        yield (
            "it may run every command (+@all): afterwards those that show nothing of others, so "
            "not KEYS, SCAN, FLUSHALL, CONFIG and the like"
        )
    if user.nopass or not user.passwords:
        yield "it has no password of its own: adopting gives it norn's at once"
    if not user.enabled:
        yield "it is switched off: adopting switches it on"


def _shown(words: Iterable[str]) -> str:
    return ", ".join(f"{word} ({_BEYOND[word]})" if word in _BEYOND else word for word in words)
