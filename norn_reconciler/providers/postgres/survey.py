"""Roles and databases that could be apps': what `norn import` makes specs of. Names only: what is
inside a database cannot be seen from outside, and norn does not go in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from norn_reconciler.model.app import AppName
from norn_reconciler.model.found import Found
from norn_reconciler.model.inventory import Owned
from norn_reconciler.providers.postgres.actions import quoted
from norn_reconciler.providers.postgres.section import refused_database
from norn_reconciler.providers.postgres.state import COMMENT_PREFIX, DATABASE, ROLE, UNLIMITED

if TYPE_CHECKING:
    from norn_reconciler.providers.postgres.client import Session

_ROLES = r"""
SELECT rolname, rolcanlogin, rolsuper, rolconnlimit, shobj_description(oid, 'pg_authid')
  FROM pg_roles
 WHERE rolname NOT LIKE 'pg\_%'
"""

_DATABASES = """
SELECT datname, pg_get_userbyid(datdba), datconnlimit <> -2
  FROM pg_database
 WHERE NOT datistemplate
"""


@dataclass(frozen=True, slots=True)
class Login:
    """One role. connections: -1 for no limit. comment: on the role, None without one."""

    name: str
    login: bool = True
    superuser: bool = False
    connections: int = UNLIMITED
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """One database. whole: not what an interrupted DROP left of one."""

    name: str
    owner: str
    whole: bool = True


async def read(session: Session) -> tuple[list[Login], list[Store]]:
    """Two queries, sent together. Raises the driver's errors."""
    async with session.conn.pipeline():
        cursors = [await session.conn.execute(query) for query in (_ROLES, _DATABASES)]
        roles, databases = [await cursor.fetchall() for cursor in cursors]
    return [Login(*row) for row in roles], [Store(*row) for row in databases]


def judge(
    roles: Iterable[Login],
    databases: Iterable[Store],
    held: Mapping[AppName, Owned],
    norn_users: frozenset[str],
    norn_databases: frozenset[str],
) -> list[Found]:
    """Would-be apps by name, then databases that lead to none. Pure."""
    rows = {key for owned in held.values() for key in owned}
    by_owner: dict[str, list[str]] = defaultdict(list)
    loose: list[Found] = []
    logins = {role.name: role for role in roles}
    for database in sorted(databases, key=lambda d: d.name):
        owner = logins.get(database.owner)
        if (
            (DATABASE, database.name) in rows
            or database.owner in norn_users
            or (refused_database(database.name, norn_databases) is not None)
        ):
            continue
        why = _homeless(database, owner, (ROLE, database.owner) in rows)
        if why:
            loose.append(Found("", notes=(why,)))
        else:
            by_owner[database.owner].append(database.name)
    apps = [
        _app(role, by_owner[name])
        for name, role in sorted(logins.items())
        if name not in norn_users and (ROLE, name) not in rows and not role.superuser
        if role.login or by_owner[name]
    ]
    return [*apps, *loose]


def _homeless(database: Store, owner: Login | None, held: bool) -> str:
    """Why the database can be nobody's section, or ""."""
    name = quoted(database.name)
    if not database.whole:
        return f"database {name}: an interrupted DROP left it invalid; DROP DATABASE {name}"
    if held:
        return (
            f"database {name} is owned by {database.owner}, an app of norn's whose spec names "
            f"another: ALTER DATABASE {name} OWNER TO a role of its own, then import that"
        )
    if owner is None or owner.superuser:
        return (
            f"database {name} is owned by {database.owner}, a superuser, which no app can be: make "
            f"a role for it (CREATE ROLE … LOGIN PASSWORD …; ALTER DATABASE {name} OWNER TO …; "
            "inside, ALTER … OWNER TO … for its schemas, tables and functions), then import that"
        )
    return ""


def _app(role: Login, databases: list[str]) -> Found:
    chosen = _chosen(role.name, databases)
    if chosen is None:
        return Found(role.name, notes=("its role owns no database: there is no section to write",))
    section: dict[str, object] = {"database": chosen}
    if role.connections > 0:
        section["connections"] = role.connections
    return Found(role.name, section, tuple(_notes(role, chosen, databases)))


def _chosen(role: str, databases: list[str]) -> str | None:
    """The one that bears the role's name, in some spelling, else the first."""

    def alike(name: str) -> bool:
        bare = name.casefold().replace("-", "").replace("_", "")
        return bare.removesuffix("db") == role.casefold().replace("-", "").replace("_", "")

    return next((name for name in databases if alike(name)), next(iter(databases), None))


def _notes(role: Login, chosen: str, databases: list[str]) -> Iterator[str]:
    others = [quoted(name) for name in databases if name != chosen]
    if others:
        yield (
            f"its role owns {len(databases)} databases and a spec names one: {quoted(chosen)} is "
            f"taken; {', '.join(others)} would stay as before, with nobody in charge. Name another "
            "here, or give each a role of its own (ALTER DATABASE … OWNER TO …) and import that"
        )
    if role.connections <= 0:
        limit = "no limit of" if role.connections == UNLIMITED else f"a limit of {role.connections}"
        yield f"its role has {limit} connections; without `connections:` the limit is 50"
    yield "extensions cannot be seen from outside: those that are there stay, named here or not"
    if role.comment is not None and role.comment.startswith(COMMENT_PREFIX):
        yield "its comment says that norn made it: was norn_db lost? Adopting takes it up again"
