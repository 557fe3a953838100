"""What holds for the whole specs folder: the removal guard's word, and files that can't be used. So
that it is told once, and still known after a restart. And norn_db's owner goes on using the tables
that Norn's users know, where norn-reconciler has a user of its own."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN held text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN refused jsonb NOT NULL DEFAULT '[]'")
    for table in SHARED:
        op.execute(_OPEN_TO_OTHERS.format(table=table))


SHARED = (
    "deployments",
    "forge_states",
    "health_checks",
    "cron_states",
    "cron_executions",
    "cluster_nodes",
)
# The tables that Norn's users know are theirs to read and write, whoever made them; norn's own
# records are not.
_OPEN_TO_OTHERS = """
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(datdba) FROM pg_database
                    WHERE datname = current_database());
BEGIN
    IF pg_get_userbyid((SELECT relowner FROM pg_class WHERE oid = 'public.{table}'::regclass))
       = current_user AND owner <> current_user THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.{table} TO %I', owner);
    END IF;
END $$
"""
