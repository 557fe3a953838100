"""What the server holds: one request for any number of apps."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from valkey.exceptions import ResponseError

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError, Unavailable
from norn_reconciler.model.inventory import ObjectKey
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.rules import Rules, parse, shapes_of_commands
from norn_reconciler.providers.kv.session import Command, Reply
from norn_reconciler.providers.kv.state import USER, Desired, Observed, Persistence
from norn_reconciler.providers.kv.strangers import Stranger, stranger

WHERE_SAVED: tuple[Command, ...] = (("CONFIG", "GET", "aclfile"), ("INFO", "server"))


async def observe(
    client: KvClient,
    apps: Mapping[AppName, Wanted[Desired]],
    norn_users: Container[str] = frozenset(),
) -> Mapping[AppName, Observed | ServiceError]:
    """norn_users: of all apps and norn's own, as far as known. Raises Unavailable when the server
    does not answer; a right that norn's user lacks is each app's error."""
    names = tuple(apps)
    try:
        lines, *where = await client.ask((("ACL", "LIST"), *WHERE_SAVED))
        if isinstance(lines, ResponseError):
            raise client.fault(lines)
    except Unavailable:
        raise
    except ServiceError as fault:
        return dict.fromkeys(names, fault)
    client.persistence = persistence(where, client.config_rewrite)
    missing = client.missing
    wanted = {f"user {name}" for name in names}
    users = users_of(line for line in lines if _beginning(line) in wanted)
    others = [
        one
        for line in lines
        if _beginning(line) not in wanted and (one := stranger(line)) is not None
        if one.user not in norn_users
    ]
    return {
        name: Observed(
            users.get(name),
            client.persistence,
            missing,
            name in client.unsaved,
            name in client.unended,
            claimants(others, apps[name].desired.namespace),
            open_by(others, apps[name].desired.namespace),
        )
        for name in names
    }


async def marked(client: KvClient) -> Mapping[AppName, frozenset[ObjectKey]]:
    """Users with the very commands that norn gives an app. Raises ServiceError."""
    (lines,) = await client.ask((("ACL", "LIST"),))
    if isinstance(lines, ResponseError):
        raise client.fault(lines)
    shapes = shapes_of_commands(client.missing)
    return {
        AppName(name): frozenset({(USER, name)})
        for name, rules in users_of(lines).items()
        if rules.commands in shapes
    }


def claimants(others: Iterable[Stranger], namespace: str | None) -> tuple[str, ...]:
    """Who has keys of this namespace for its own, and by which pattern."""
    if namespace is None:
        return ()
    found = ((one.user, one.claims(namespace)) for one in others)
    return tuple(sorted(f"{user} ~{pattern}" for user, pattern in found if pattern is not None))


def open_by(others: Iterable[Stranger], namespace: str | None) -> tuple[str, ...]:
    """Through whom anybody reaches this namespace. User default is not asked after: whoever logs in
    as the app tries that door himself."""
    if namespace is None:
        return ()
    return tuple(
        sorted(one.user for one in others if one.user != "default" and one.opens(namespace))
    )


def _beginning(line: str) -> str:
    """`user NAME`: most lines of a shared server need not be read further."""
    end = line.find(" ", 5)
    return line if end < 0 else line[:end]


def users_of(lines: Iterable[str]) -> dict[str, Rules]:
    """The ACL users in lines of ACL LIST, by name."""
    return {rules.user: rules for line in lines if (rules := parse(line)) is not None}


def persistence(where: list[Reply], config_rewrite: bool) -> Persistence:
    """From the replies to WHERE_SAVED. The server refuses users in its configuration file beside an
    aclfile, so an aclfile decides."""
    settings, info = where
    if isinstance(settings, ResponseError):
        return Persistence.UNKNOWN
    values = settings if isinstance(settings, list) else []
    if dict(zip(values[::2], values[1::2], strict=False)).get("aclfile"):
        return Persistence.ACLFILE
    if config_rewrite and not isinstance(info, ResponseError) and info_of(info).get("config_file"):
        return Persistence.CONFIG
    return Persistence.NONE


def info_of(text: Reply) -> dict[str, str]:
    """The fields of an INFO reply."""
    pairs = (line.partition(":") for line in str(text).splitlines() if not line.startswith("#"))
    return {key: value for key, colon, value in pairs if colon}
