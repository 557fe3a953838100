"""What holds for the whole specs folder: the removal guard's word, and files that can't be used. So
that it is told once, and still known after a restart."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN held text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE reconciler.meta ADD COLUMN refused jsonb NOT NULL DEFAULT '[]'")
