"""The three servers as their administrators see and change them, without norn."""

from __future__ import annotations

from typing import Any

import psycopg
import valkey
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.admin import ACLResourcePatternType as Pattern

SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256"}


class Services:
    """Each client is made when it is first needed."""

    def __init__(
        self, postgres: str, valkey_url: str, brokers: str, username: str, password: str
    ) -> None:
        self.postgres_url = postgres
        self.valkey = valkey.Valkey.from_url(valkey_url, decode_responses=True)
        self._kafka: KafkaAdminClient | None = None
        self._brokers = brokers
        self._login = {"sasl_plain_username": username, "sasl_plain_password": password}

    @property
    def kafka(self) -> KafkaAdminClient:
        if self._kafka is None:
            self._kafka = KafkaAdminClient(bootstrap_servers=self._brokers, **SASL, **self._login)
        return self._kafka

    def close(self) -> None:
        self.valkey.close()
        if self._kafka is not None:
            self._kafka.close()

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres_url, autocommit=True) as conn:
            cursor = conn.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def owner(self, database: str) -> str | None:
        found = self.sql(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", database
        )
        return found[0][0] if found else None

    def can_login(self, role: str) -> bool | None:
        found = self.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", role)
        return found[0][0] if found else None

    def client(self, user: str, password: str) -> valkey.Valkey:
        """Valkey as this user."""
        kept = self.valkey.connection_pool.connection_kwargs
        return valkey.Valkey(kept["host"], kept["port"], username=user, password=password)

    def acl_user(self, app: str) -> Any:
        return self.valkey.acl_getuser(app)

    def topics(self) -> set[str]:
        return set(self.kafka.list_topics())

    def acls(self, app: str) -> list[Any]:
        """Every ACL of User:<app>."""
        found = self.kafka.describe_acls(
            ACLFilter(
                principal=f"User:{app}",
                host=None,
                operation=ACLOperation.ANY,
                permission_type=ACLPermissionType.ANY,
                resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, Pattern.ANY),
            )
        )
        acls = found[0] if isinstance(found, tuple) else found
        return list(acls)

    def delete_acls(self, app: str) -> None:
        self.kafka.delete_acls(
            [
                ACLFilter(
                    principal=f"User:{app}",
                    host=None,
                    operation=ACLOperation.ANY,
                    permission_type=ACLPermissionType.ANY,
                    resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, Pattern.ANY),
                )
            ]
        )

    def scram_users(self) -> set[str]:
        found = self.kafka.describe_user_scram_credentials()
        return {_user(row) for row in found}


def _user(row: Any) -> str:
    if isinstance(row, str):
        return row
    return str(row["user"] if isinstance(row, dict) else row.user)
