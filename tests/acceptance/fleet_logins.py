"""Logins with what was delivered to an app: they work, and reach no further than they should."""

from __future__ import annotations

from typing import Any

import psycopg
import valkey
from kafka.admin import KafkaAdminClient

from tests.acceptance.services import SASL


class Variables(dict[str, str]):
    """An app's variables; a failing test may show their names, and never what they say."""

    def __repr__(self) -> str:
        return f"Variables({sorted(self)})"


def log_in(app: str, env: Variables, inside: set[str]) -> None:
    """With every credential of the file. inside: the topics that the app's own prefix covers."""
    if "DATABASE_URL" in env:
        with psycopg.connect(env["DATABASE_URL"], autocommit=True) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (app,)
            conn.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    if "VALKEY_URL" in env:
        with valkey.Valkey.from_url(env["VALKEY_URL"]) as client:
            client.set(f"{env['KV_NAMESPACE']}:own", "1")
            assert client.execute_command("ACL", "WHOAMI") == app.encode()
            _refused(client, "GET", f"{app}-other")
            _refused(client, "KEYS", "*")
    if "KAFKA_SASL_PASSWORD" in env:
        named = [*env["KAFKA_TOPICS"].split(","), *env.get("KAFKA_READ_TOPICS", "").split(",")]
        declared = {topic for topic in named if topic}
        assert _topics_seen_by(env) == declared | inside, app


def _refused(client: Any, *words: str) -> None:
    try:
        client.execute_command(*words)
    except valkey.exceptions.NoPermissionError:
        return
    raise AssertionError(f"{words} is allowed")


def opens_a_door(env: Variables) -> bool:
    """Whether any of these credentials still opens a door."""
    if "DATABASE_URL" in env:
        try:
            psycopg.connect(env["DATABASE_URL"]).close()
        except psycopg.OperationalError:
            pass
        else:
            return True
    if "VALKEY_URL" in env:
        try:
            with valkey.Valkey.from_url(env["VALKEY_URL"]) as client:
                client.ping()
        except valkey.exceptions.AuthenticationError:
            pass
        else:
            return True
    return False


def _topics_seen_by(env: Variables) -> set[str]:
    client = KafkaAdminClient(
        bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
        bootstrap_timeout_ms=5000,
        sasl_plain_username=env["KAFKA_SASL_USERNAME"],
        sasl_plain_password=env["KAFKA_SASL_PASSWORD"],
        **SASL,
    )
    try:
        return set(client.list_topics())
    finally:
        client.close()
