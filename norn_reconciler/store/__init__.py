"""norn_db: schema, queries, the lease. PostgreSQL as norn's own memory, not as a service."""
