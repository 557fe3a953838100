"""PostgreSQL 15 to 18: a login role and a database of its own for each app."""
