"""What PostgreSQL holds of a batch of apps: one fixed set of queries, sent together, run from the
admin's own database and never inside an app's."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from norn_reconciler.model.app import AppName
from norn_reconciler.model.plan import Wanted
from norn_reconciler.model.secret import CredentialMark, Secret
from norn_reconciler.providers.postgres import reach, verifier
from norn_reconciler.providers.postgres.client import AdminClient, Session
from norn_reconciler.providers.postgres.ownership import held_databases, rename_source
from norn_reconciler.providers.postgres.state import (
    COMMENT_PREFIX,
    GROUP,
    READER,
    READERS,
    ROLE,
    Database,
    Desired,
    Grant,
    Member,
    Observed,
    Reach,
    Role,
    Server,
    role_comment,
)

_SERVER = """
SELECT current_user,
       has_parameter_privilege('temp_file_limit', 'SET')
"""

# 'SET' as a kind of membership exists from 16 on; before, membership included it.
_ROLES = r"""
SELECT r.rolname, r.oid::int8, r.rolcanlogin, r.rolsuper, r.rolcreatedb, r.rolcreaterole,
       r.rolreplication, r.rolbypassrls, r.rolinherit, r.rolconnlimit,
       CASE WHEN r.rolvaliduntil < 'infinity' THEN r.rolvaliduntil::text END,
       -- what else it set for itself is its own, and may be of any size
       ARRAY(SELECT left(c, 200) FROM unnest(r.rolconfig) c WHERE c LIKE 'temp\_file\_limit=%%'),
       shobj_description(r.oid, 'pg_authid'),
       pg_has_role(r.oid, 'USAGE') AND pg_has_role(r.oid, %(set)s),
       CASE WHEN a.rolsuper THEN true
            WHEN r.rolsuper THEN false
            WHEN %(version)s < 160000 AND a.rolcreaterole AND NOT r.rolreplication THEN true
            -- the function walks all of the admin's memberships anew for each role: only where
            -- it was not granted directly, as with every role that norn made
            WHEN EXISTS (SELECT FROM pg_auth_members m
                          WHERE m.roleid = r.oid AND m.member = a.oid AND m.admin_option) THEN true
            ELSE pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') END
  FROM pg_roles r JOIN pg_roles a ON a.rolname = current_user
 WHERE r.rolname = ANY(%(roles)s::text[])
"""

_MEMBERS = """
SELECT g.rolname, m.rolname, coalesce(gr.rolname, ''), {plain},
       shobj_description(g.oid, 'pg_authid'), shobj_description(m.oid, 'pg_authid')
  FROM pg_auth_members a
  JOIN pg_roles g ON g.oid = a.roleid
  JOIN pg_roles m ON m.oid = a.member
  LEFT JOIN pg_roles gr ON gr.oid = a.grantor
 WHERE (g.rolname = ANY(%(roles)s::text[]) OR m.rolname = ANY(%(roles)s::text[]))
   AND m.rolname <> current_user
"""
# A membership had no options of its own before 16.
_PLAIN = {
    False: "NOT a.admin_option",
    True: "NOT a.admin_option AND a.inherit_option AND NOT a.set_option",
}

_DATABASES = """
SELECT d.datname, d.oid::int8, pg_get_userbyid(d.datdba), d.datallowconn, d.datconnlimit,
       d.datistemplate,
       ARRAY(SELECT x.privilege_type
               FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
              WHERE x.grantee = d.datdba),
       -- seen without a look inside: who has a part in the owner's default privileges
       ARRAY(SELECT g.rolname
               FROM pg_shdepend s JOIN pg_roles g ON g.oid = s.refobjid
              WHERE s.dbid = d.oid AND s.classid = 'pg_default_acl'::regclass
                AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'a'),
       pg_has_role(d.datdba, 'USAGE')
  FROM pg_database d
 WHERE d.datname = ANY(%(databases)s::text[]) OR d.oid = ANY(%(oids)s::oid[])
"""

_GRANTS = """
SELECT d.datname, CASE WHEN x.grantee = 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
       x.privilege_type, pg_get_userbyid(x.grantor),
       coalesce(starts_with(shobj_description(x.grantee, 'pg_authid'), %(ours)s), false)
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
 WHERE x.grantee <> d.datdba
   AND (d.datname = ANY(%(databases)s::text[]) OR d.oid = ANY(%(oids)s::oid[]))
"""

# Only what the admin may reset: a superuser's settings are a superuser's business. pg_settings
# hides the three that are named here, though anybody may set them on a database.
_SETTINGS = """
SELECT d.datname, split_part(c.setting, '=', 1), left(c.setting, 200)
  FROM pg_database d
  JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0
 CROSS JOIN unnest(s.setconfig) AS c(setting)
  LEFT JOIN pg_settings p ON p.name = split_part(c.setting, '=', 1)
 WHERE (d.datname = ANY(%(databases)s::text[]) OR d.oid = ANY(%(oids)s::oid[]))
   AND (p.context = 'user'
        OR split_part(c.setting, '=', 1) IN ('role', 'session_authorization', 'seed')
        OR has_parameter_privilege(split_part(c.setting, '=', 1), 'SET'))
"""

_SESSIONS = """
SELECT coalesce(d.datname, ''), r.rolname, count(*)
  FROM pg_stat_get_activity(NULL) a
  JOIN pg_roles r ON r.oid = a.usesysid
  LEFT JOIN pg_database d ON d.oid = a.datid
 WHERE r.rolname = ANY(%(roles)s::text[])
 GROUP BY 1, 2
"""

_VERIFIERS = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%(roles)s::text[])"


@dataclass(frozen=True, slots=True)
class _Asked:
    """The names that one batch is about."""

    roles: tuple[str, ...]
    databases: tuple[str, ...]
    oids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What one look brought back, sorted into lookups. verifiers: empty where they are hidden."""

    server: Server
    roles: Mapping[str, Role]
    databases: Mapping[str, Database]
    by_oid: Mapping[int, Database]
    verifiers: Mapping[str, str | None]


class Observer:
    """Keeps, beside nothing of the server, which stored verifiers were already recomputed: 0.8 ms
    each, too dear for every round of a thousand apps. users: norn's own roles."""

    def __init__(self, client: AdminClient, users: frozenset[str] = frozenset()) -> None:
        self._client = client
        self._users = tuple(sorted(users))
        self._verdicts: dict[tuple[str, str, CredentialMark], bool] = {}

    async def observe(self, wanted: Mapping[AppName, Wanted[Desired]]) -> dict[AppName, Observed]:
        """Raises driver errors, TimeoutError and Unavailable."""
        asked = _asked(wanted.values())
        read = await self._client.read(lambda session: _read(session, asked, self._users))
        passwords = await self._passwords(wanted.values(), read.verifiers)
        coming = {name for name, case in wanted.items() if _is_new(case, read)}
        return {name: _observed(case, read, passwords, coming) for name, case in wanted.items()}

    async def _passwords(
        self, wanted: Iterable[Wanted[Desired]], stored: Mapping[str, str | None]
    ) -> dict[str, bool]:
        verdicts: dict[str, bool] = {}
        unknown: list[tuple[str, str, Secret, tuple[str, str, CredentialMark]]] = []
        for case in wanted:
            role, credential = case.desired.role, case.desired.credential
            if role not in stored:
                continue
            text = stored[role] or ""
            key = (role, text, credential.mark)
            if key in self._verdicts:
                verdicts[role] = self._verdicts[key]
            else:
                unknown.append((role, text, credential.password, key))
        if unknown:
            found = await asyncio.to_thread(
                lambda: [verifier.matches(text, password) for _, text, password, _ in unknown]
            )
            for (role, _, _, key), verdict in zip(unknown, found, strict=True):
                for old in [k for k in self._verdicts if k[0] == role]:
                    del self._verdicts[old]
                self._verdicts[key] = verdicts[role] = verdict
        return verdicts


def _databases_of(case: Wanted[Desired]) -> set[str]:
    name, source = case.desired.database, rename_source(case)
    held = {row.name for row in held_databases(case.owned)}
    return held | {one for one in (name, source) if one is not None}


def _databases_seen(case: Wanted[Desired]) -> set[str]:
    return _databases_of(case) | set(case.desired.reads)


def _roles_of(case: Wanted[Desired]) -> set[str]:
    """Its own, its readers' and their group; also of readers that were let in before."""
    desired = case.desired
    roles, held = {desired.role, *desired.readers}, case.owned.get((GROUP, desired.group))
    roles |= {row.name for row in case.owned.values() if row.kind in (ROLE, GROUP)}
    if held is not None:
        roles |= {key.removeprefix(READER) for key in held.settings if key.startswith(READER)}
    return roles | {desired.group} if desired.readers or held is not None else roles


def _oids_of(case: Wanted[Desired]) -> set[int]:
    ids = (row.server_id for row in held_databases(case.owned))
    return {int(i) for i in ids if i is not None and i.isdigit()}


def _asked(wanted: Iterable[Wanted[Desired]]) -> _Asked:
    cases = tuple(wanted)
    return _Asked(
        tuple(sorted(set(chain.from_iterable(map(_roles_of, cases))))),
        tuple(sorted(set(chain.from_iterable(map(_databases_seen, cases))))),
        tuple(sorted(set(chain.from_iterable(map(_oids_of, cases))))),
    )


def _array(items: Iterable[str]) -> str:
    """As the server reads an array of text. The driver's own dumper takes longer than the query."""
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"


async def _read(session: Session, asked: _Asked, users: tuple[str, ...]) -> _Read:
    names = {
        "roles": _array(asked.roles),
        "databases": _array(asked.databases),
        "oids": _array(map(str, asked.oids)),
        "ours": COMMENT_PREFIX,
        "set": "SET" if session.version >= 160000 else "MEMBER",
        "version": session.version,
        "norn": _array(users),
        "predefined": _array(reach.PREDEFINED),
    }
    members_query = _MEMBERS.replace("{plain}", _PLAIN[session.version >= 160000])
    queries = [_SERVER, _ROLES, members_query, reach.QUERY]
    queries += [_DATABASES, _GRANTS, _SETTINGS, _SESSIONS]
    if session.authid_readable:
        queries.append(_VERIFIERS)
    async with session.conn.pipeline():
        cursors = [await session.conn.execute(query, names) for query in queries]
        rows = [await cursor.fetchall() for cursor in cursors]
    server, roles, members, reached, databases, grants, settings, sessions, *hidden = rows
    admin, limits_temp_files = server[0]
    found = _databases(databases, grants, settings, sessions)
    return _Read(
        Server(session.version, admin, limits_temp_files),
        _roles(roles, members, reached, sessions),
        {d.name: d for d in found},
        {d.oid: d for d in found},
        dict(hidden[0]) if hidden else {},
    )


Rows = list[tuple[Any, ...]]


def _roles(roles: Rows, members: Rows, reached: Rows, sessions: Rows) -> dict[str, Role]:
    inside: dict[str, set[Member]] = defaultdict(set)
    within: dict[str, set[Member]] = defaultdict(set)
    for role, member, grantor, plain, of_role, of_member in members:
        inside[role].add(Member(role, member, grantor, _is_ours(of_member), plain))
        within[member].add(Member(role, member, grantor, _is_ours(of_role), plain))
    reaches: dict[tuple[bool, str], set[Reach]] = defaultdict(set)
    for up, of, *what in reached:
        reaches[up, of].add(Reach(*what))
    count: dict[str, int] = defaultdict(int)
    for _, role, number in sessions:
        count[role] += number
    found = {}
    for name, oid, *attributes, limit, expires, config, comment, usable, ruled in roles:
        login, superuser, createdb, createrole, replication, bypassrls, inherit = attributes
        found[name] = Role(
            name,
            oid,
            login,
            superuser,
            createdb,
            createrole,
            replication,
            bypassrls,
            inherit,
            limit,
            expires,
            dict(setting.split("=", 1) for setting in config or ()),
            comment,
            usable,
            ruled,
            sessions=count[name],
            members=frozenset(inside[name]),
            member_of=frozenset(within[name]),
            reaches=frozenset(reaches[True, name]),
            reached_by=frozenset(reaches[False, name]),
        )
    return found


def _is_ours(comment: str | None) -> bool:
    return comment is not None and comment.startswith(COMMENT_PREFIX)


def _databases(databases: Rows, grants: Rows, settings: Rows, sessions: Rows) -> list[Database]:
    granted: dict[str, set[Grant]] = defaultdict(set)
    for name, *grant in grants:
        granted[name].add(Grant(*grant))
    set_on: dict[str, dict[str, str]] = defaultdict(dict)
    for name, setting, text in settings:
        set_on[name][setting] = text.partition("=")[2]
    count: dict[str, dict[str, int]] = defaultdict(dict)
    for name, role, number in sessions:
        count[name][role] = number
    return [
        Database(
            name,
            oid,
            owner,
            allowed,
            limit,
            template,
            frozenset(rights),
            frozenset(granted[name]),
            set_on[name],
            count[name],
            Counter(promised),
            ruled,
        )
        for name, oid, owner, allowed, limit, template, rights, promised, ruled in databases
    ]


def _is_new(case: Wanted[Desired], read: _Read) -> bool:
    """An app of which norn has nothing yet, and nobody has anything: its plan is to make all of
    it, once."""
    role, database = case.desired.role, case.desired.database
    absent = role not in read.roles and database not in read.databases
    return database is not None and absent and not case.owned


def _observed(
    case: Wanted[Desired],
    read: _Read,
    passwords: Mapping[str, bool],
    coming: Collection[AppName],
) -> Observed:
    role = read.roles.get(case.desired.role)
    if role is not None and role.name in passwords:
        role = replace(role, password=passwords[role.name])
    found = {name: read.databases[name] for name in _databases_of(case) if name in read.databases}
    for oid in _oids_of(case):
        if oid in read.by_oid:
            found[read.by_oid[oid].name] = read.by_oid[oid]
    return Observed(
        read.server,
        role,
        found,
        read.roles.get(case.desired.group),
        frozenset(
            name
            for name in map(AppName, case.desired.readers)
            if name in coming or _is_of_app(read.roles.get(name), name)
        ),
        {name: read.databases[name] for name in case.desired.reads if name in read.databases},
        _former(case, read),
    )


def _former(case: Wanted[Desired], read: _Read) -> dict[str, Role]:
    """Of an app with a new name, what is called after the former one still."""
    names = (case.desired.role, case.desired.group)
    found = {}
    for row in case.owned.values():
        role = read.roles.get(row.name)
        if row.kind not in (ROLE, GROUP) or row.name in names or role is None:
            continue
        app = AppName(row.name.removesuffix(READERS))
        made = row.server_id is None and role.comment == role_comment(app)
        if made or row.server_id == str(role.oid):
            found[row.kind] = role
    return found


def _is_of_app(role: Role | None, app: AppName) -> bool:
    return role is not None and role.comment == role_comment(app)
