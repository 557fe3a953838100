"""norn-reconciler: keeps shared PostgreSQL, Valkey and Redpanda as the files in specs/ describe."""

__version__ = "0.1.0"
