"""Objects that an app has under other names than its spec has for them: what gives them those, and
how all looks then. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from norn_reconciler.model import trash
from norn_reconciler.model.inventory import Held
from norn_reconciler.model.plan import Wanted
from norn_reconciler.providers.postgres.actions import PostgresAction
from norn_reconciler.providers.postgres.database_actions import RenameDatabase
from norn_reconciler.providers.postgres.ownership import (
    held_databases,
    its_own,
    known,
    rename_source,
)
from norn_reconciler.providers.postgres.role_actions import RenameRole
from norn_reconciler.providers.postgres.state import (
    DATABASE,
    GROUP,
    ROLE,
    Database,
    Desired,
    Observed,
    Role,
    role_comment,
)


def in_place(
    wanted: Wanted[Desired], observed: Observed
) -> tuple[list[PostgresAction], Wanted[Desired], Observed]:
    """What gives all of it its name, and what is wanted and seen once that is done: all else is
    planned for then."""
    actions: list[PostgresAction] = []
    for rename in list(_roles(wanted, observed)):
        actions.append(rename)
        observed = _role_renamed(observed, rename)
    wanted = _roles_known(wanted, observed)
    row = wanted_back(wanted, observed)
    if row is None:
        return actions, wanted, observed
    name = wanted.desired.database or ""
    if name not in observed.databases:
        there = located(wanted, observed, row)
        assert there is not None, "it is wanted back"
        used = there.allow_connections
        actions.append(RenameDatabase(DATABASE, name, there.name, there.oid, used))
        databases = dict(observed.databases)
        databases[name] = replace(databases.pop(there.name), name=name)
        observed = replace(observed, databases=databases)
    return actions, _returned(wanted, row), observed


def recorded(wanted: Wanted[Desired], observed: Observed) -> Wanted[Desired]:
    """With its rows under the names that the objects have by now, where those are the spec's."""
    wanted = _roles_known(wanted, observed)
    row = wanted_back(wanted, observed)
    if row is None or wanted.desired.database not in observed.databases:
        return wanted
    return _returned(wanted, row)


def _named(wanted: Wanted[Desired], observed: Observed) -> tuple[tuple[str, str, Role | None], ...]:
    desired = wanted.desired
    return (ROLE, desired.role, observed.role), (GROUP, desired.group, observed.group)


def _roles(wanted: Wanted[Desired], observed: Observed) -> Iterator[RenameRole]:
    for kind, name, there in _named(wanted, observed):
        former = observed.former.get(kind)
        if there is None and former is not None:
            yield RenameRole(kind, name, former.name, role_comment(wanted.app))


def _role_renamed(observed: Observed, rename: RenameRole) -> Observed:
    """Whatever the server says of it, it says under its new name then; a database that was called
    like the role is called so still."""

    def put(value: Any) -> Any:
        match value:
            case str():
                return rename.name if value == rename.was else value
            case frozenset():
                return frozenset(map(put, value))
            case Mapping():
                return {put(key): put(one) for key, one in value.items()}
            case Database():
                return replace(part(value), name=value.name)
        return part(value) if is_dataclass(value) else value

    def part(value: Any) -> Any:
        return replace(value, **{f.name: put(getattr(value, f.name)) for f in fields(value)})

    role = replace(part(observed.former[rename.kind]), comment=rename.comment)
    former = {kind: put(r) for kind, r in observed.former.items() if kind != rename.kind}
    databases = {name: put(one) for name, one in observed.databases.items()}
    renamed = replace(observed, databases=databases, former=former)
    if rename.kind == GROUP:
        return replace(renamed, group=role, role=put(observed.role))
    return replace(renamed, role=role, group=put(observed.group))


def _roles_known(wanted: Wanted[Desired], observed: Observed) -> Wanted[Desired]:
    rows = dict(wanted.owned)
    for kind, name, there in _named(wanted, observed):
        if there is None or (kind, name) in rows:
            continue
        for row in wanted.owned.values():
            if row.kind == kind and row.server_id in {None, str(there.oid)}:
                del rows[row.key]
                rows[kind, name] = replace(row, name=name)
                break
    return replace(wanted, owned=rows) if rows != wanted.owned else wanted


def left_behind(wanted: Wanted[Desired]) -> Iterator[Held]:
    """Rows of databases that the spec asks for neither by their name nor by a new one."""
    kept = {wanted.desired.database, rename_source(wanted)}
    return (row for row in held_databases(wanted.owned) if row.name not in kept)


def wanted_back(wanted: Wanted[Desired], observed: Observed) -> Held | None:
    """The row of the database that is to have the name in the spec, where nothing else has it: the
    one that the spec says it was, or one that was called so before, in use or in the trash."""
    name = wanted.desired.database
    if name is None or (known(wanted) and rename_source(wanted) is None):
        return None
    rows = [
        (rank, row.settings.get(trash.AT, ""), row.name)
        for row in held_databases(wanted.owned)
        if (rank := _rank(row, name, wanted.desired.renamed_from))
        and (there := located(wanted, observed, row)) is not None
        and (there.name == name or name not in observed.databases)
    ]
    return wanted.owned[DATABASE, max(rows)[2]] if rows else None


def located(wanted: Wanted[Desired], observed: Observed, row: Held) -> Database | None:
    """The database that a row is about, whatever it is called by now."""
    if row.server_id is not None:
        there = observed.by_oid(row.server_id)
    else:
        there = observed.databases.get(row.name)
        there = there if there is not None and its_own(wanted, observed, there) else None
    return None if there is None or there.invalid else there


def _rank(row: Held, name: str, source: str | None) -> int:
    """How well a row answers to `name`, 0 where it does not: what the spec says before what norn
    remembers, and data in use before those that were thrown away (the latest of them)."""
    thrown = row.settings.get(trash.FROM)
    if thrown is not None:
        return 2 if thrown == name else int(thrown == source)
    return 4 if row.name == source else 3 * (row.settings.get(trash.FORMER) == name)


def _returned(wanted: Wanted[Desired], row: Held) -> Wanted[Desired]:
    """With its row under its own name, as it is once it is called so. What it was called before is
    kept: a spec that goes back to that name means these data, and what was put aside under it goes
    with them."""
    back = trash.returned(row)
    name, was = wanted.desired.database or "", back.name
    if was != name:
        back = replace(back, name=name, settings={**back.settings, trash.FORMER: was})
    others = (held for held in wanted.owned.values() if held.key != row.key)
    rows = {held.key: trash.renamed(held, was, name) for held in others}
    return replace(wanted, owned={**rows, back.key: back})
