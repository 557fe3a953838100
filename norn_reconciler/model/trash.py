"""Databases on their way out: what they are called, and what their inventory rows say of it. Rows
are HeldState.RETAINED, as all that no spec asks for, and go when their grace is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from norn_reconciler.model.inventory import Held

AT = "trash.at"  # keys in Held.settings: since when, as ISO 8601 in UTC
FROM = "trash.from"  # what it was called before
COPY = "trash.copy"  # and the snapshot that was made of it since nobody can change it any more
BESIDE = "restore.beside"  # what a restore made beside that database: nobody's data, and no loss
_MOST = 63  # bytes of a name, as PostgreSQL has it


def named(name: str, at: datetime) -> str:
    """`mail_db.trash.20260131T080000`: when it was thrown away, in UTC. A long name is cut."""
    suffix = f".trash.{at.astimezone(UTC):%Y%m%dT%H%M%S}"
    kept = name.encode()[: _MOST - len(suffix)].decode(errors="ignore")
    return kept + suffix


def since(held: Held) -> datetime | None:
    """When it was thrown away; None when it was not."""
    said = held.settings.get(AT)
    return datetime.fromisoformat(said) if said else None


def returned(held: Held) -> Held:
    """The row of one that is wanted again, under the name that it had."""
    name = held.settings.get(FROM, held.name)
    kept = {key: value for key, value in held.settings.items() if key not in {AT, FROM, COPY}}
    return replace(held, name=name, settings=kept)


def settings(name: str, at: datetime) -> dict[str, str]:
    """What the row of a database that was called `name` says from then on."""
    return {AT: at.astimezone(UTC).isoformat(timespec="seconds"), FROM: name}
