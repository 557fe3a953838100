"""What a person might do by hand at three in the morning. The demo has norn repair it."""

from __future__ import annotations

import psycopg
import valkey
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
)
from psycopg import sql

from infra.kafka_server import ADMIN
from infra.stack import Stack


def open_database(stack: Stack, database: str) -> str:
    """Let everybody into `database`. Returns what was typed, like the others here."""
    statement = sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(sql.Identifier(database))
    with psycopg.connect(stack.postgres.url(), autocommit=True) as conn:
        conn.execute(statement)
        return statement.as_string(conn)


def widen_user(stack: Stack, user: str) -> str:
    """Give a Valkey user all keys."""
    client = valkey.Valkey.from_url(stack.valkey.url)
    try:
        client.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", user, "~*"
        )
    finally:
        client.close()  # type: ignore[no-untyped-call]
    return f"ACL SETUSER {user} ~*"


def revoke_topic(stack: Stack, user: str, topic: str) -> str:
    """Take a user's ACLs on one topic away."""
    client = KafkaAdminClient(
        bootstrap_servers=stack.kafka.brokers,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_plain_username=ADMIN,
        sasl_plain_password=stack.kafka.password,
    )
    pattern = ResourcePatternFilter(ResourceType.TOPIC, topic, ACLResourcePatternType.LITERAL)
    try:
        client.delete_acls(
            [
                ACLFilter(
                    principal=f"User:{user}",
                    host=None,
                    operation=ACLOperation.ANY,
                    permission_type=ACLPermissionType.ANY,
                    resource_pattern=pattern,
                )
            ]
        )
    finally:
        client.close()
    return f"kafka-acls --remove --allow-principal User:{user} --topic {topic}"
