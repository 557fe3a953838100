"""What `norn doctor` looks at: rights, that a wrong password and a stranger are really refused."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace

from valkey.exceptions import AuthenticationError, ResponseError, ValkeyError

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.faults import words
from norn_reconciler.providers.kv.observe import WHERE_SAVED, info_of, persistence, users_of
from norn_reconciler.providers.kv.rules import Rules
from norn_reconciler.providers.kv.session import Command, Reply, app_session
from norn_reconciler.providers.kv.state import Persistence
from norn_reconciler.providers.kv.strangers import is_admin, is_app, patterns_of, reaches

OLDEST = 8  # major version of Valkey
_PUBLISHED = frozenset(
    {"", "admin", "changeme", "foobared", "norn", "password", "secret", "valkey"}
)
# What norn's user must be able to run, and an example to try without running it.
_RIGHTS: tuple[tuple[Command, Severity], ...] = (
    (("ACL", "LIST"), Severity.BLOCKING),
    (("ACL", "SETUSER", "norn-proof"), Severity.BLOCKING),
    (("ACL", "DELUSER", "norn-proof"), Severity.BLOCKING),
    (("CLIENT", "KILL", "USER", "norn-proof"), Severity.BLOCKING),
    (("CONFIG", "GET", "aclfile"), Severity.WARNING),
    (("COMMAND", "INFO", "get"), Severity.WARNING),
    (("INFO", "server"), Severity.WARNING),
)


async def diagnose(client: KvClient, health: Health) -> Health:
    """health: of the cheap check; with findings added. Changes nothing on the server."""
    if not health.ok:
        return health
    admin = client.endpoint.username
    try:
        saved, *replies = await _ask(client)
    except ServiceError as fault:
        problem = Problem(Severity.BLOCKING, fault.reason, str(fault), fault.remedy)
        return replace(health, ok=False, findings=(problem,))
    users, info, tried = replies[0], info_of(replies[1]), replies[2:]
    findings = [
        *_version(info),
        *(_default(users_of(users).get("default"), admin) if isinstance(users, list) else ()),
        *(_others(users_of(users), admin) if isinstance(users, list) else ()),
        *await _strangers(client),
        *_published(client),
        *_rights(tried, admin, saved),
        *_kept(saved, client.config_rewrite),
        *_copies(info),
    ]
    blocked = any(finding.severity is Severity.BLOCKING for finding in findings)
    return replace(health, ok=not blocked, findings=tuple(findings))


async def _ask(client: KvClient) -> list[Reply]:
    """Persistence, ACL LIST, INFO, and one reply for each of the rights tried."""
    tries = [("ACL", "DRYRUN", client.endpoint.username, *command) for command, _ in _RIGHTS]
    save: list[Command] = [
        ("ACL", "DRYRUN", client.endpoint.username, "ACL", "SAVE"),
        ("ACL", "DRYRUN", client.endpoint.username, "CONFIG", "REWRITE"),
    ]
    replies = await client.ask((*WHERE_SAVED, ("ACL", "LIST"), ("INFO",), *tries, *save))
    return [persistence(replies[:2], client.config_rewrite), *replies[2:]]


def _version(info: dict[str, str]) -> Iterator[Problem]:
    version = info.get("valkey_version")
    if version is None:
        yield _warning(
            "NotValkey",
            f"the server calls itself {info.get('server_name', 'redis')} "
            f"{info.get('redis_version', '?')}; norn is made for Valkey",
            f"use Valkey {OLDEST} or newer",
        )
    elif int((re.match(r"\d+", version) or ["0"])[0]) < OLDEST:
        yield _blocking(
            "VersionTooOld", f"Valkey {version} is too old", f"use Valkey {OLDEST} or newer"
        )


def _default(default: Rules | None, admin: str) -> Iterator[Problem]:
    """default: the user of connections that have not logged in."""
    if default is None or not default.enabled:
        return
    lock = "ACL SETUSER default reset off"
    if admin == "default":
        lock = (
            "ACL SETUSER norn-admin on >PASSWORD ~* &* +@all, name it in NORN_VALKEY_URL, "
            f"then: {lock}"
        )
    if default.nopass:
        yield _blocking(
            "DefaultUserOpen", "whoever reaches the port is user default, without a password", lock
        )
    else:
        yield _warning(
            "DefaultUserOn",
            "user default is on: one password that is bound to no namespace opens everything",
            lock,
        )


def _others(users: Mapping[str, Rules], admin: str) -> Iterator[Problem]:
    """Everybody but default, norn's own user and the apps (by their rules: who is an app is not
    known here)."""
    namespaces = {
        key.removeprefix("~").removesuffix(":*")
        for rules in users.values()
        if rules.enabled and is_app(rules)
        for key in rules.keys
    }
    for name, rules in sorted(users.items()):
        if name in {"default", admin} or not rules.enabled:
            continue
        off = f"ACL SETUSER {name} off"
        if rules.nopass:
            yield _blocking("UserOpen", f"no password is asked of user {name}", off)
        if is_app(rules):
            continue
        if is_admin(rules):
            yield _warning("ForeignAdmin", f"user {name} may alter users and settings", off)
        reached = sorted(
            n for n in namespaces if any(reaches(p, f"{n}:") for p in patterns_of(rules))
        )
        if reached:
            shown = ", ".join(f"{n}:*" for n in reached[:5])
            more = f" and {len(reached) - 5} more" if len(reached) > 5 else ""
            yield _warning("ForeignUser", f"user {name} reaches apps' keys: {shown}{more}", off)


async def _strangers(client: KvClient) -> list[Problem]:
    """A login with a wrong password must fail, or no proof by login means anything."""
    wrong = Secret(secrets.token_urlsafe(32))
    endpoint = client.endpoint
    session = app_session(endpoint, client.seconds, endpoint.username, wrong, endpoint.own_address)
    try:
        await session.ask((("PING",),))
    except AuthenticationError:
        return []
    except (ValkeyError, OSError, TimeoutError) as fault:
        return [_warning("NotChecked", f"whether a wrong password is refused: {words(fault)}", "")]
    finally:
        await session.close()
    return [
        _blocking(
            "AuthenticationOff",
            f"the server accepts any password for {endpoint.username}",
            f"ACL SETUSER {endpoint.username} resetpass >PASSWORD",
        )
    ]


def _published(client: KvClient) -> Iterator[Problem]:
    user = client.endpoint.username
    if client.endpoint.password.reveal() in _PUBLISHED | {user}:
        yield _warning(
            "PublishedPassword",
            f"the password of {user} is one that everybody tries first",
            f"ACL SETUSER {user} resetpass >PASSWORD, and change NORN_VALKEY_URL",
        )


def _rights(tried: list[Reply], admin: str, saved: Persistence) -> Iterator[Problem]:
    """tried: the replies to ACL DRYRUN: `OK`, or a sentence that says what is missing."""
    save = {Persistence.ACLFILE: ("ACL", "SAVE"), Persistence.CONFIG: ("CONFIG", "REWRITE")}
    *plain, acl_save, config_rewrite = tried
    needed = [(command, severity, r) for (command, severity), r in zip(_RIGHTS, plain, strict=True)]
    if saved in save:
        reply = acl_save if saved is Persistence.ACLFILE else config_rewrite
        needed.append((save[saved], Severity.BLOCKING, reply))
    for command, severity, reply in needed:
        if reply == "OK":
            continue
        name = "|".join(command[:2]).lower() if command[0] not in ("INFO",) else "info"
        if isinstance(reply, ResponseError):
            yield _warning(
                "NotChecked",
                f"whether norn's user {admin} may run everything it needs: {words(reply)}",
                f"ACL SETUSER {admin} +acl|dryrun",
            )
            return
        yield Problem(
            severity,
            "Denied",
            f"norn's user {admin} may not run {name.replace('|', ' ').upper()}",
            f"ACL SETUSER {admin} +{name}",
        )


def _kept(saved: Persistence, config_rewrite: bool) -> Iterator[Problem]:
    if saved is Persistence.NONE:
        file = " (the server was started without a configuration file)" if config_rewrite else ""
        yield _warning(
            "NotPersisted",
            f"ACL users are kept in memory only{file}: they are gone after a restart of the server",
            "set aclfile in valkey.conf, or NORN_VALKEY_CONFIG_REWRITE=true where the users are "
            "kept in valkey.conf",
        )


def _copies(info: dict[str, str]) -> Iterator[Problem]:
    """ACLs are each node's own (valkey issue 699)."""
    replicas = int(info.get("connected_slaves", "0") or 0)
    if info.get("role") == "slave":
        yield _warning(
            "AclNotReplicated",
            "this server is a replica: users that norn makes here exist here only",
            "let NORN_VALKEY_URL name the primary",
        )
    if replicas:
        yield _warning(
            "AclNotReplicated",
            f"{replicas} replicas are connected, and ACL users are not replicated: after a "
            "failover the apps are locked out until norn has made their users there",
            "let NORN_VALKEY_URL always lead to the primary; norn makes the users again",
        )
    if info.get("cluster_enabled") == "1":
        yield _warning(
            "AclNotReplicated",
            "the server is a node of a cluster: norn makes users on this node only",
            "use a server that is no cluster",
        )


def _blocking(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.BLOCKING, reason, message, remedy)


def _warning(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.WARNING, reason, message, remedy)
