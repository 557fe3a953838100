"""What alembic runs. The connection, its transaction and its lock come from store/schema.py."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="reconciler",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
