"""The removal guard's word, so that it is told once and still known after a restart."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN held text NOT NULL DEFAULT ''")
