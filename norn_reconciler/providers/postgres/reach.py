"""Which apps' roles have come into roles that no app should be in, through whomever. One query for
a whole batch, of catalogs that everybody may read.

A membership WITH INHERIT FALSE counts: SET ROLE works all the same; and one that gives neither now
may give both at any time, by its ADMIN option or by its grantor's. The groups of readers are what
norn itself grants; what such a group was let into is cut there.
"""

from __future__ import annotations

from norn_reconciler.providers.postgres.state import APP_ROLE, NORN_ROLE, POWERFUL, READERS

# Of the roles that come with the server, those that lead out of an app's own database: to programs
# and files of the server's host, to all databases' rows and verifiers, to others' query texts and
# settings with passwords in them, to others' sessions, and out to other servers. The rest
# (pg_checkpoint, pg_maintain, pg_stat_scan_tables, …) costs the server some work and tells nothing.
PREDEFINED = (
    "pg_create_subscription",
    "pg_execute_server_program",
    "pg_monitor",
    "pg_read_all_data",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_read_server_files",
    "pg_signal_backend",
    "pg_write_all_data",
    "pg_write_server_files",
)

# up: from the asked roles to all that they are in. down: from these to all that are in them; the
# admin is in every role, and what is in the admin is told by up.
# mends: by the rules of REVOKE, https://www.postgresql.org/docs/current/sql-revoke.html
QUERY = f"""
WITH RECURSIVE asked AS (
  SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname = ANY(%(roles)s::text[])
), up (asked, member, role, cut_role, cut_member, grantor) AS (
  SELECT a.oid, a.oid, m.roleid, m.roleid, m.member, m.grantor
    FROM asked a JOIN pg_auth_members m ON m.member = a.oid
   UNION
  SELECT u.asked, u.member, m.roleid,
         CASE WHEN g.readers THEN m.roleid ELSE u.cut_role END,
         CASE WHEN g.readers THEN m.member ELSE u.cut_member END,
         CASE WHEN g.readers THEN m.grantor ELSE u.grantor END
    FROM up u
    JOIN pg_auth_members m ON m.member = u.role
    JOIN pg_roles via ON via.oid = u.role
   CROSS JOIN LATERAL (
     SELECT via.rolname LIKE '%%{READERS}'
        AND starts_with(shobj_description(via.oid, 'pg_authid'), %(ours)s) AS readers) g
), down (asked, member, cut_member, grantor) AS (
  SELECT a.oid, m.member, m.member, m.grantor
    FROM asked a JOIN pg_auth_members m ON m.roleid = a.oid
    JOIN pg_roles r ON r.oid = m.member AND r.rolname <> current_user
   UNION
  SELECT d.asked, m.member, d.cut_member, d.grantor
    FROM down d JOIN pg_auth_members m ON m.roleid = d.member
    JOIN pg_roles r ON r.oid = m.member AND r.rolname <> current_user
), found AS (
  SELECT true AS up, u.* FROM up u
   UNION ALL
  SELECT false, d.asked, d.member, d.asked, d.asked, d.cut_member, d.grantor
    FROM down d WHERE d.member <> d.cut_member
), told AS (
  SELECT f.*, g.rolname,
         CASE WHEN g.rolname = ANY(%(norn)s::text[]) OR g.rolname = current_user
              THEN '{NORN_ROLE}'
              WHEN g.rolname NOT LIKE '%%{READERS}'
               AND starts_with(shobj_description(g.oid, 'pg_authid'), %(ours)s)
              THEN '{APP_ROLE}'
              WHEN g.rolsuper OR g.rolcreaterole OR g.rolcreatedb OR g.rolreplication
                OR g.rolbypassrls OR g.rolname = ANY(%(predefined)s::text[])
              THEN '{POWERFUL}' END AS kind
    FROM found f JOIN pg_roles g ON g.oid = f.role
)
SELECT t.up, a.rolname, member.rolname, t.rolname, t.kind,
       cut_role.rolname, cut_member.rolname, coalesce(grantor.rolname, ''),
       cut_role.rolname NOT LIKE '%%{READERS}'
       AND coalesce(starts_with(shobj_description(cut_role.oid, 'pg_authid'), %(ours)s), false)
       AND coalesce(starts_with(shobj_description(cut_member.oid, 'pg_authid'), %(ours)s), false)
       AND CASE WHEN admin.rolsuper THEN true
                WHEN cut_role.rolsuper THEN false
                WHEN %(version)s < 160000 AND admin.rolcreaterole THEN true
                ELSE pg_has_role(cut_role.oid, 'MEMBER WITH ADMIN OPTION')
                     AND (%(version)s < 160000 OR pg_has_role(t.grantor, 'USAGE')) END
  FROM told t
  JOIN pg_roles admin ON admin.rolname = current_user
  JOIN asked a ON a.oid = t.asked
  JOIN pg_roles member ON member.oid = t.member
  JOIN pg_roles cut_role ON cut_role.oid = t.cut_role
  JOIN pg_roles cut_member ON cut_member.oid = t.cut_member
  LEFT JOIN pg_roles grantor ON grantor.oid = t.grantor
 WHERE t.kind IS NOT NULL
   AND (t.up OR starts_with(shobj_description(t.member, 'pg_authid'), %(ours)s))
"""
