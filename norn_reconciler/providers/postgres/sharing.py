"""What has to be done so that exactly the readers that the spec names read the app's database:
(wanted, observed) → actions. Pure.

Whoever is no member of the group has no access, so shutting a reader out needs no login inside.
"""

from __future__ import annotations

from collections.abc import Iterator

from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.ownership import Standing, group_standing, remembered
from norn_reconciler.providers.postgres.reader_actions import (
    AdmitReader,
    CreateGroup,
    DismissReader,
    LetGroupConnect,
    OpenToReaders,
)
from norn_reconciler.providers.postgres.role_actions import (
    CommentRole,
    DropPower,
    EndSessions,
    RevokeMembership,
    SetAttribute,
)
from norn_reconciler.providers.postgres.state import (
    DATABASE,
    DEFAULTS,
    GROUP,
    ROLE,
    Database,
    Desired,
    Member,
    Observed,
    Role,
    role_comment,
)


def let_in(
    wanted: Wanted[Desired], observed: Observed, name: str, database: Database | None
) -> Iterator[PostgresAction]:
    """What the readers lack of database `name`, which is the app's. database: None while it is
    still to be made."""
    desired, group = wanted.desired, observed.group
    if not desired.readers or wanted.keeps_password((ROLE, desired.role)):
        return  # without the app's password nothing can be opened inside
    if group_standing(wanted, observed) is Standing.FOREIGN:
        return
    key = (GROUP, desired.group)
    if group is None:
        yield CreateGroup(*key, role_comment(wanted.app))
    else:
        yield from _mend(group, role_comment(wanted.app))
    promised = database.promised.get(desired.group, 0) if database and group else None
    if promised is None or promised < DEFAULTS:
        yield OpenToReaders(
            DATABASE, name, desired.role, desired.credential, desired.group, promised
        )
    if database is None or group is None or not may_connect(database, desired.group):
        yield LetGroupConnect(DATABASE, name, desired.role, desired.group)
    for reader in sorted(observed.readers):
        seen = [m for m in group.members if m.member == reader] if group is not None else []
        if not any(m.plain for m in seen):
            was = "a member who can do more than read" if seen else ""
            yield AdmitReader(*key, reader, observed.server.version, was)


def may_connect(database: Database, group: str) -> bool:
    return any(g.grantee == group and g.privilege == "CONNECT" for g in database.grants)


def shut_out(wanted: Wanted[Desired], observed: Observed) -> Iterator[PostgresAction]:
    """Members that the spec does not name, and what they have open. Whom it named before waits out
    the grace; another norn app never had any business there."""
    group = observed.group
    if group is None or group_standing(wanted, observed) is not Standing.OURS:
        return
    key, before = (GROUP, group.name), remembered(wanted)
    left: set[str] = set(before) - set(wanted.desired.readers)
    out: set[str] = set()
    for member in sorted(group.members):
        if not member.other_is_app or _stays(member, wanted, observed):
            continue
        if member.member in left:
            yield DismissReader(*key, member.member, member.grantor)
        else:
            yield RevokeMembership(*key, member.member, member.grantor)
        if member.member not in wanted.desired.readers:
            out.add(member.member)
    yield from leave(group)
    for reader in sorted(left | out):
        for database in own_databases(wanted, observed):
            if reader in out or database.sessions.get(reader):
                yield EndSessions(*key, reader, database.name)


def leave(role: Role) -> Iterator[PostgresAction]:
    """What an app's role or group must not be in. Whose that is shuts it out as well, unless that
    app is paused or forgotten."""
    cuts = {(r.cut_role, r.cut_member, r.grantor) for r in role.reaches if r.mends}
    for name, member, grantor in sorted(cuts):
        yield RevokeMembership(ROLE, name, member, grantor)


def _stays(member: Member, wanted: Wanted[Desired], observed: Observed) -> bool:
    """A reader's membership, where it gives no more than reading. One that norn granted itself is
    narrowed in place."""
    if member.member not in wanted.desired.readers:
        return False
    return member.plain or member.grantor in ("", observed.server.admin)


def own_databases(wanted: Wanted[Desired], observed: Observed) -> Iterator[Database]:
    """Those that norn owns a row of, by name and OID."""
    for name, database in sorted(observed.databases.items()):
        row = wanted.owned.get((DATABASE, name))
        if row is not None and row.server_id in (None, str(database.oid)):
            yield database


def _mend(group: Role, comment: str) -> Iterator[PostgresAction]:
    key = (GROUP, group.name)
    if group.login:
        yield SetAttribute(*key, "NOLOGIN", "LOGIN")
    for power in group.powers:
        yield DropPower(*key, f"NO{power}", power)
    if group.comment != comment:
        yield CommentRole(*key, comment, group.comment)
