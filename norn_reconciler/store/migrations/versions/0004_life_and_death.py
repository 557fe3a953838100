"""What is needed to take something back: each generation of an app's spec, which of them is in
force in place of its file's, and which generation a rollout was of. What an app's spec said last of
the end of its data. And how the last migration of its database ended."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.generations (
            app        text NOT NULL,
            generation bigint NOT NULL,
            canonical  text NOT NULL,
            at         timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (app, generation)
        )
        """
    )
    op.execute(
        "INSERT INTO reconciler.generations (app, generation, canonical, at)"
        " SELECT app, generation, canonical, updated_at FROM reconciler.apps"
    )
    op.execute("ALTER TABLE reconciler.apps ADD COLUMN pinned bigint")
    op.execute("ALTER TABLE reconciler.services ADD COLUMN deletion text NOT NULL DEFAULT 'retain'")
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN doomed text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE public.deployments ADD COLUMN reconciler_generation bigint")
    op.execute("ALTER TABLE public.cron_executions ADD COLUMN reconciler_epoch bigint")
    op.execute(
        """
        CREATE TABLE reconciler.migrations (
            app      text PRIMARY KEY,
            revision text NOT NULL,
            state    text NOT NULL,
            at       timestamptz NOT NULL,
            done     text,
            snapshot text NOT NULL,
            error    text NOT NULL
        )
        """
    )
