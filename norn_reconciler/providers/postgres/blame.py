"""Whose doing it is that an app gets into another's database: the admin asks the catalogs."""

from __future__ import annotations

from enum import StrEnum

from norn_reconciler.providers.postgres.client import Session
from norn_reconciler.providers.postgres.state import COMMENT_PREFIX


class Blame(StrEnum):
    """OWNER: the database is another app's, and that app (or whom it let grant) opened it, to this
    role or to PUBLIC; its own round takes that back. OTHER: anything else: a membership, a power, a
    database that is no app's. SHUT: by now there is no way in."""

    OWNER = "owner"
    OTHER = "other"
    SHUT = "shut"


# A superuser's GRANT bears the owner's name as well, and is taken back as the owner's is.
_QUESTION = """
SELECT CASE
  WHEN r.rolsuper OR pg_has_role(r.oid, d.datdba, 'MEMBER') OR bool_or(x.indirect)
    OR bool_or(x.grantee IS NOT NULL AND NOT coalesce(x.by_app, false)) THEN 'other'
  WHEN bool_or(x.grantee IS NOT NULL) THEN
    CASE WHEN starts_with(shobj_description(d.datdba, 'pg_authid'), %(ours)s) THEN 'owner'
         ELSE 'other' END
  ELSE 'shut' END
  FROM pg_roles r
  JOIN pg_database d ON d.datname = %(database)s
  LEFT JOIN LATERAL (
    SELECT a.grantee, a.grantee NOT IN (0, r.oid) AS indirect,
           starts_with(shobj_description(a.grantor, 'pg_authid'), %(ours)s) AS by_app
      FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE a.privilege_type = 'CONNECT' AND a.grantee <> d.datdba
       -- PUBLIC is no role that could be asked about
       AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(r.oid, a.grantee, 'MEMBER') END
  ) x ON true
 WHERE r.rolname = %(role)s
 GROUP BY r.oid, r.rolsuper, d.datdba
"""


async def of_the_door(session: Session, role: str, database: str) -> Blame:
    """Raises psycopg.Error."""
    names = {"role": role, "database": database, "ours": COMMENT_PREFIX}
    row = await (await session.conn.execute(_QUESTION, names)).fetchone()
    return Blame(row[0]) if row else Blame.OTHER
