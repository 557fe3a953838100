"""What all steps on PostgreSQL share. They show themselves as SQL, without secrets; what is sent is
made in render.py, with the driver's own quoting."""

from __future__ import annotations

import re

from norn_reconciler.model.plan import Action
from norn_reconciler.providers.postgres.state import PUBLIC

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def quoted(name: str) -> str:
    """An identifier as psql would show it: quoted where it has to be."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def grantee_text(name: str) -> str:
    return "PUBLIC" if name == PUBLIC else quoted(name)


def revoke_membership(role: str, member: str, grantor: str) -> str:
    """From 16 on a REVOKE takes what its own grantor gave, and nothing else. grantor: "" where he
    is gone."""
    by = f" GRANTED BY {quoted(grantor)}" if grantor else ""
    return f"REVOKE {quoted(role)} FROM {quoted(member)}{by}"


class Phase:
    """Order across a batch: what takes access away comes before what gives it.

    RENAME_ROLE, RENAME: roles and databases have their names before anything is done by those.

    JOIN precedes all, since the admin revokes as a member of the owner; SHUT follows OWN for the
    same reason. POWERS comes late: where only a superuser may do it, it is refused, and must not
    keep the app's database open meanwhile. Readers are let in (ADMIT) after everybody else was shut
    out (HARDEN), and before what may be refused for reasons of its own (EXTEND).
    """

    RENAME_ROLE = 3
    JOIN = 5
    RENAME = 7
    REVOKE = 10
    END_SESSIONS = 15
    ROLE = 20
    DROP = 25
    CREATE = 30
    OWN = 35
    SHUT = 40
    SEAL = 45
    POWERS = 50
    HARDEN = 60
    OPEN = 61
    ADMIT = 62
    EXTEND = 65


class PostgresAction(Action):
    """Any step on PostgreSQL."""

    __slots__ = ()
