"""The embedded stack: PostgreSQL, Valkey and Kafka on this machine, without containers. For the
demo, the tests and `make infra`; never part of the installed product."""
