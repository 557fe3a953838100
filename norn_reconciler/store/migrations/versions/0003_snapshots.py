"""What was true of each snapshot when it had been made and verified. The files are elsewhere;
norn's own records alone can say whether one is still what it was."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.snapshots (
            name           text PRIMARY KEY,
            app            text NOT NULL,
            database       text NOT NULL,
            commit_sha     text NOT NULL,
            size           bigint NOT NULL,
            sha256         text NOT NULL,
            server_version text NOT NULL,
            client_version text NOT NULL,
            made_at        timestamptz NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX snapshots_app ON reconciler.snapshots (app, made_at)")
