"""What a plan cannot mend by itself, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from norn_reconciler.model import trash
from norn_reconciler.model.plan import Effect, Problem, Severity, Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction, quoted, revoke_membership
from norn_reconciler.providers.postgres.database_actions import SetOwner
from norn_reconciler.providers.postgres.inventory import recoverable
from norn_reconciler.providers.postgres.naming import left_behind
from norn_reconciler.providers.postgres.ownership import Standing, group_standing, rename_source
from norn_reconciler.providers.postgres.remedies import remedy
from norn_reconciler.providers.postgres.role_actions import JoinRole, RenameRole
from norn_reconciler.providers.postgres.state import (
    APP_ROLE,
    BOOTSTRAP_OID,
    DATABASE,
    GROUP,
    NORN_ROLE,
    POWERFUL,
    PUBLIC,
    ROLE,
    Database,
    Desired,
    Grant,
    Member,
    Observed,
    Reach,
    Role,
)

POWER = "PowerByMembership"


def of(
    wanted: Wanted[Desired], observed: Observed, role_is: Standing, database_is: Standing
) -> list[Problem]:
    """Blocking ones first."""
    found = list(_blocking(wanted, observed, role_is, database_is))
    if observed.role is not None and role_is is Standing.OURS:
        found += _reaches(observed.role)
        found += _foreign_members(observed.role)
        found += _reading(wanted, observed)
        if wanted.keeps_password((ROLE, observed.role.name)):
            found.append(wanted.password_kept((ROLE, observed.role.name)))
    if database_is is Standing.OURS:
        found += _foreign_grants(wanted, observed)
    found += _readers(wanted, observed)
    found += _retained(wanted, observed)
    return found


def out_of_reach(actions: Sequence[PostgresAction], observed: Observed) -> Iterator[Problem]:
    """What the server will refuse to the admin, known before it is tried: norn did not make what it
    is to alter. With the statement that a superuser has to run once."""
    role, server = observed.role, observed.server
    # Ending sessions takes no right on the role, and a removal waits for its date.
    first = next((a for a in actions if a.kind == ROLE and a.effect is not Effect.REMOVAL), None)
    if role is not None and not role.ruled and first is not None:
        why = "is a superuser" if role.superuser else f"was not made by {server.admin}"
        name = first.was if isinstance(first, RenameRole) else first.name
        yield Problem(
            Severity.BLOCKING,
            "Denied",
            f"role {name} {why}, so {server.admin} may not alter it yet",
            remedy(JoinRole(first.kind, name, server.admin, server.version), server.admin,
                   server.version, actions),
        )  # fmt: skip
    for action in actions:
        if isinstance(action, SetOwner) and not observed.databases[action.name].ruled:
            yield Problem(
                Severity.BLOCKING,
                "Denied",
                f"database {action.name} is {action.was}'s, so {server.admin} may not hand it "
                "over; what is inside keeps its owners",
                f"{remedy(action, server.admin, server.version)}; then, in that database, "
                f"ALTER … OWNER TO {quoted(action.owner)} for the schemas, tables and functions",
            )


def _blocking(
    wanted: Wanted[Desired], observed: Observed, role_is: Standing, database_is: Standing
) -> Iterator[Problem]:
    name, role = wanted.desired.database or "", wanted.desired.role
    adopt = f"norn adopt {wanted.app}"
    lost = recoverable(wanted, observed, proven=False)
    if role_is is Standing.FOREIGN and observed.role and observed.role.oid == BOOTSTRAP_OID:
        yield Problem(
            Severity.BLOCKING,
            "Conflict",
            f"role {role} is the superuser that the server was set up with: no app can have it",
            "give the app another name in its spec, and its database to the new role: "
            f"ALTER DATABASE {quoted(name)} OWNER TO …",
        )
    elif (ROLE, role) in lost:
        yield wanted.record_lost((ROLE, role))
    elif role_is is Standing.FOREIGN:
        taken = ROLE in observed.former  # by whoever is in the way of a rename
        yield Problem(
            Severity.BLOCKING,
            "Conflict",
            f"role {role} exists already and norn did not make it",
            _away(role) if taken else f"to take it over: {adopt}",
        )
    if wanted.desired.readers and group_standing(wanted, observed) is Standing.FOREIGN:
        group = wanted.desired.group
        yield (
            wanted.record_lost((GROUP, group))
            if (GROUP, group) in lost
            else Problem(
                Severity.BLOCKING,
                "Conflict",
                f"role {group} exists already and norn did not make it",
                _away(group),
            )
        )
    database = observed.databases.get(name)
    if (DATABASE, name) in lost:
        yield wanted.record_lost((DATABASE, name))
    elif database_is is Standing.FOREIGN and database is not None:
        yield Problem(
            Severity.BLOCKING,
            "Conflict",
            f"database {name} exists already, owned by {database.owner}",
            f"to take it over: {adopt}; or name another database in the spec",
        )
    if database_is is Standing.REPLACED and database is not None:
        yield Problem(
            Severity.BLOCKING,
            "DataReplaced",
            f"database {name} is not the one that norn made: it was dropped and made again by "
            f"somebody (its OID is {database.oid})",
            f"to take the new one over: {adopt}",
        )
    if database_is is Standing.MISSING:
        yield _missing(wanted, observed, name)
    if database_is is Standing.AWAITED:
        yield _awaited(wanted, observed, name)


def _away(role: str) -> str:
    return f"as a superuser: ALTER ROLE {quoted(role)} RENAME TO …, or DROP ROLE {quoted(role)}"


def _missing(wanted: Wanted[Desired], observed: Observed, name: str) -> Problem:
    row = wanted.owned[DATABASE, name]
    moved = observed.by_oid(row.server_id)
    if moved is not None and moved.name != name:
        return Problem(
            Severity.BLOCKING,
            "Renamed",
            f"database {name} was renamed to {moved.name} on the server",
            f"ALTER DATABASE {quoted(moved.name)} RENAME TO {quoted(name)}, or in the spec "
            f"`database: {moved.name}` and `renamedFrom: {name}`",
        )
    how = "an interrupted DROP left it invalid" if moved is not None else "it is gone"
    return Problem(
        Severity.BLOCKING,
        "DataMissing",
        f"database {name} was there and {how}, with its data; it is not made again by itself",
        "restore it, or confirm the loss",
        (DATABASE, name),
    )


def _awaited(wanted: Wanted[Desired], observed: Observed, name: str) -> Problem:
    """An empty one in its place would look as if the data were lost."""
    source = rename_source(wanted) or ""
    row, there = wanted.owned.get((DATABASE, source)), observed.databases.get(source)
    if row is None and there is not None:
        return Problem(
            Severity.BLOCKING,
            "Conflict",
            f"database {name} is to be {source} by a new name, and {source}, owned by "
            f"{there.owner}, is none of this app's",
            f"name {source} in the spec and take it over (norn adopt {wanted.app}) before it is "
            "renamed; or leave renamedFrom out: then a new, empty one is made",
        )
    beside = observed.databases.get(name)
    if row is not None and beside is not None and not beside.invalid:
        return Problem(
            Severity.BLOCKING,
            "Conflict",
            f"database {name} is to be {source} by a new name, and the app has both by now",
            f"see what is in each (norn explain --remove {wanted.app}). To go on with {source}: if "
            f"nothing in {name} is needed, as a superuser: "
            f"DROP DATABASE {quoted(name)} WITH (FORCE); then {source} is renamed. "
            f"To go on with {name}: leave renamedFrom out",
        )
    if row is not None and observed.by_oid(row.server_id) is there and there is not None:
        return Problem(
            Severity.BLOCKING,
            "Conflict",
            f"an interrupted DROP left {name}, which {source} is to be called",
            f"DROP DATABASE {quoted(name)}",
        )
    return Problem(
        Severity.BLOCKING,
        "DataMissing",
        f"database {source}, which is to be renamed to {name}, was there and is gone, with its "
        "data; an empty one is not made by itself",
        "restore it, or confirm the loss",
        (DATABASE, source),
    )


_REACHED = {
    APP_ROLE: "the role of another app",
    NORN_ROLE: "norn's own",
    POWERFUL: "a role with powers over the server or over others' data",
}


def _reaches(role: Role) -> Iterator[Problem]:
    """What the role can do by being in another one, and whose role can act as this one, where norn
    may not end it. Told on both sides: either app's isolation is broken by it."""
    # One membership may lead to many roles: the nearest stands for all.
    nearest: dict[tuple[str, str, str], Reach] = {}
    for reach in sorted(role.reaches, key=lambda r: (r.role != r.cut_role, r)):
        if not reach.mends:
            nearest.setdefault((reach.cut_role, reach.cut_member, reach.grantor), reach)
    for reach in nearest.values():
        how = "" if reach.cut_role == reach.role else f", by way of {reach.cut_role}"
        yield Problem(
            Severity.BLOCKING,
            POWER,
            f"role {reach.member} is a member of {reach.role}, {_REACHED[reach.kind]}{how}",
            _cut(reach),
            opens=True,
        )
    for reach in sorted(role.reached_by):
        if not reach.mends:
            yield Problem(
                Severity.BLOCKING,
                POWER,
                f"role {reach.member}, of another app, is a member of {role.name} by way of "
                f"{reach.cut_member} and can act as it",
                _cut(reach),
                opens=True,
            )


def _cut(reach: Reach) -> str:
    return f"as a superuser: {revoke_membership(reach.cut_role, reach.cut_member, reach.grantor)}"


def _foreign_members(role: Role) -> Iterator[Problem]:
    told = {reach.cut_role for reach in role.reaches if reach.cut_member == role.name}
    for member in sorted(role.members):
        if not member.other_is_app:
            yield Problem(
                Severity.WARNING,
                "ForeignMembership",
                f"role {member.member} is a member of {role.name} and can act as it",
                _end(member),
            )
    for member in sorted(role.member_of):
        if not member.other_is_app and member.role not in told:
            yield Problem(
                Severity.WARNING,
                "ForeignMembership",
                f"role {role.name} is a member of {member.role} and has its rights",
                _end(member),
            )


def _end(member: Member) -> str:
    revoke = revoke_membership(member.role, member.member, member.grantor)
    return f"if that is not meant: {revoke}"


def _readers(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    """Of the app's own database, what its readers still wait for."""
    desired = wanted.desired
    if not desired.readers:
        return
    if group_standing(wanted, observed) is Standing.OURS and observed.group is not None:
        yield from _reaches(observed.group)
        yield from _foreign_members(observed.group)
    if wanted.keeps_password((ROLE, desired.role)):
        yield Problem(
            Severity.WARNING,
            "ReadersWait",
            f"database {desired.database} is not opened to readers: that is done inside, as "
            f"{desired.role}, whose password norn does not know",
            f"norn rotate {wanted.app}",
        )
    missing = [reader for reader in desired.readers if reader not in observed.readers]
    if missing:
        yield Problem(
            Severity.WARNING,
            "ReadersMissing",
            f"no role of norn's for {', '.join(missing)}: let in as soon as there is one",
        )


def _reading(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    """Of others' databases, what the app may read by their specs and cannot by the server."""
    groups = {m.role for m in observed.role.member_of} if observed.role is not None else set()
    for name in wanted.desired.reads:
        database = observed.readable.get(name)
        if database is None:
            why = "it is not there"
        elif database.invalid or not database.allow_connections:
            why = "it takes no connections"
        elif not any(g.grantee in groups and g.privilege == "CONNECT" for g in database.grants):
            why = "it is not open to its readers yet"
        else:
            continue
        whose = f": norn describe {database.owner}" if database is not None else ""
        yield Problem(
            Severity.WARNING,
            "ReadPending",
            f"database {name} cannot be read: {why}",
            f"its owner's spec lets {wanted.app} read it{whose}",
        )


def _foreign_grants(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    database = observed.databases[wanted.desired.database or ""]
    allowed = (PUBLIC, wanted.desired.role, observed.server.admin)
    for grant in sorted(database.grants):
        if grant.grantee not in allowed and not grant.ours:
            yield Problem(
                Severity.WARNING,
                "ForeignGrant",
                f"{grant.grantee} has {grant.privilege} on database {database.name}; "
                "norn leaves it alone",
                f"if that is not meant: {_revoke(grant, database)}",
            )


def _revoke(grant: Grant, database: Database) -> str:
    """Whatever GRANTED BY says, the server revokes as the owner, or as whoever revokes."""
    what = (
        f"REVOKE {grant.privilege} ON DATABASE {quoted(database.name)} FROM {quoted(grant.grantee)}"
    )
    if grant.grantor == database.owner:
        return what
    return f"SET ROLE {quoted(grant.grantor)}; {what}; RESET ROLE"


def _retained(wanted: Wanted[Desired], observed: Observed) -> Iterator[Problem]:
    for row in left_behind(wanted):
        database = observed.databases.get(row.name)
        if database is None or trash.since(row):
            continue
        if row.server_id is not None and row.server_id != str(database.oid):
            continue
        yield Problem(
            Severity.WARNING,
            "DatabaseRetained",
            f"database {row.name} is no longer in the spec: it keeps its data, nobody can connect",
            # What has a dot no spec can name: a restore made it, and the next takes it away.
            ""
            if "." in row.name
            else "name it again in the spec to have it back (only its name was to change? "
            "docs/renames.md)",
        )
