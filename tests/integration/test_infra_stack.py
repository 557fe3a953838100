"""The embedded stack: it boots, its data survives, and nobody gets in without a password."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import valkey
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from infra.ports import free_port
from infra.process import StackError
from infra.stack import Stack
from tests.servers import ThrowAway


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Booted once for this module; each test leaves it running."""
    made = ThrowAway()
    try:
        made.stack.start()
        yield made.stack
    finally:
        made.remove()


def kafka_client(stack: Stack, **changes: Any) -> KafkaAdminClient:
    given = {
        "bootstrap_servers": stack.kafka.brokers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "norn-admin",
        "sasl_plain_password": stack.kafka.password,
        "bootstrap_timeout_ms": 4000,
    }
    return KafkaAdminClient(**{**given, **changes})


def topics(stack: Stack) -> list[str]:
    client = kafka_client(stack)
    try:
        return list(client.list_topics())
    finally:
        client.close()


def test_a_second_start_finds_the_servers_running(own: Stack) -> None:
    before = own.running()
    assert None not in before.values()
    again = Stack(own.folder)
    again.start()
    assert again.running() == before
    assert again.settings() == own.settings()


def test_secrets_are_readable_by_their_owner_alone(own: Stack) -> None:
    passwords = [v for k, v in own.values.items() if k.endswith("_password")]
    holding = []
    for path in own.folder.iterdir():
        if path.is_file() and any(p in path.read_text(errors="replace") for p in passwords):
            holding.append(path.name)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert sorted(holding) == ["kafka.properties", "stack.json"]
    for name in ("postgres", "valkey", "kafka"):
        assert stat.S_IMODE((own.folder / name).stat().st_mode) == 0o700


def test_no_password_is_in_a_command_line(own: Stack) -> None:
    passwords = [v for k, v in own.values.items() if k.endswith("_password")]
    for pid in own.running().values():
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(p in line for p in passwords)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has servers run as somebody else")
def test_root_starts_no_server_as_root(own: Stack) -> None:
    for pid in own.running().values():
        assert pid is not None
        owner = pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name
        assert owner in ("postgres", "norn-infra")


@pytest.mark.parametrize("password", ["wrong", ""])
def test_no_server_takes_a_wrong_password(own: Stack, password: str) -> None:
    for user in ("postgres", "norn_admin", "norn"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(own.postgres.url(user, password or "-"))
    client = valkey.Valkey(port=own.valkey.port, username="norn-admin", password=password or "-")
    with pytest.raises(valkey.AuthenticationError):
        client.ping()
    client.close()
    with pytest.raises(KafkaError):
        kafka_client(own, sasl_plain_password=password or "-").close()


def test_valkeys_default_user_is_locked(own: Stack) -> None:
    client = valkey.Valkey(port=own.valkey.port)
    with pytest.raises(valkey.AuthenticationError):
        client.ping()
    client.close()


def test_kafkas_listeners_take_nobody_without_a_login(own: Stack) -> None:
    """The controller's as well: whoever gets in there may do all."""
    # DescribeCluster, version 1: a listener that lets everybody in answers it.
    header = struct.pack(">hhihb", 60, 1, 7, -1, 0)
    for port, endpoint_type in ((own.kafka.port, 1), (own.kafka.controller, 2)):
        request = header + struct.pack(">bbb", 0, endpoint_type, 0)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
            wire.sendall(struct.pack(">i", len(request)) + request)
            try:
                assert wire.recv(100) == b""
            except ConnectionResetError:
                continue


def test_the_servers_listen_on_loopback_only(own: Stack) -> None:
    ports = {own.values[f"{name}_port"] for name in ("postgres", "valkey", "kafka", "controller")}
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A":  # LISTEN
                found.setdefault(int(port, 16), set()).add(address)
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {p for p in ports if found.get(p)} == ports
    for port in ports:
        assert found[port] <= loopback, port


def test_norn_admin_has_its_rights_and_no_other(own: Stack) -> None:
    with psycopg.connect(own.admin_url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT rolcreatedb, rolcreaterole, rolsuper, rolbypassrls, rolreplication "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (True, True, False, False, False)
        conn.execute("SET temp_file_limit = '1GB'")
        reserved = "SELECT pg_has_role('pg_use_reserved_connections', 'member')"
        assert conn.execute(reserved).fetchone() == (True,)


def test_other_roles_are_shut_out_of_every_database_but_their_own(own: Stack) -> None:
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(own.postgres.url("norn", "norn", database))
    with psycopg.connect(own.norn_db_url) as conn:
        assert conn.execute("SELECT current_database()").fetchone() == ("norn_db",)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(
            own.postgres.url("norn_admin", own.values["norn_admin_password"], "norn_db")
        )


def test_what_postgresql_holds_survives_a_kill(own: Stack) -> None:
    with psycopg.connect(own.norn_db_url) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    own.postgres.kill()
    assert own.running()["postgres"] is None
    own.postgres.start()
    with psycopg.connect(own.norn_db_url, autocommit=True) as conn:
        assert conn.execute("SELECT answer FROM kept").fetchone() == (42,)
        conn.execute("DROP TABLE kept")


def test_what_valkey_holds_survives_a_stop(own: Stack) -> None:
    client = valkey.Valkey.from_url(own.valkey.url, decode_responses=True)
    try:
        client.set("kept", "42")
        client.execute_command("ACL", "SETUSER", "kept", "on", "nopass")
        client.acl_save()
    finally:
        client.close()
    own.valkey.stop()
    own.valkey.start()
    client = valkey.Valkey.from_url(own.valkey.url, decode_responses=True)
    try:
        assert client.get("kept") == "42"
        assert "kept" in client.acl_users()
    finally:
        client.close()


def test_what_kafka_holds_survives_a_kill(own: Stack) -> None:
    client = kafka_client(own)
    client.create_topics([NewTopic("kept", 1, 1)])
    client.close()
    own.kafka.kill()
    own.kafka.start()
    assert "kept" in topics(own)


def test_a_frozen_server_keeps_silent_until_it_is_thawed(own: Stack) -> None:
    for server in (own.postgres, own.valkey):
        server.freeze()
        assert not server.answers()
        server.thaw()
        assert server.answers()


def test_a_frozen_server_can_be_stopped(own: Stack) -> None:
    own.valkey.freeze()
    own.valkey.stop()
    assert own.running()["valkey"] is None
    own.valkey.start()


def test_a_port_that_is_taken_is_named_and_nothing_runs(tmp_path: Path) -> None:
    made = ThrowAway()
    try:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            stack = Stack(made.stack.folder, {"valkey": port})
            with pytest.raises(StackError, match=f"Valkey: something else listens.*{port}"):
                stack.start(["valkey"])
        assert stack.running()["valkey"] is None
        stack.start(["valkey"])
        assert stack.running()["valkey"] is not None
    finally:
        made.remove()


def test_a_server_that_ends_while_starting_is_quoted() -> None:
    made = ThrowAway()
    try:
        acl = made.stack.folder / "valkey" / "acl"
        acl.mkdir(parents=True)
        (acl / "users.acl").write_text("user default no-such-rule\n")
        (acl / "users.acl").chmod(0o644)
        for folder in (acl, acl.parent):
            folder.chmod(0o755)
        with pytest.raises(StackError, match=r"(?s)Valkey ended while starting.*ACL errors"):
            made.stack.start(["valkey"])
        assert not (made.stack.folder / "valkey.pid").exists()
    finally:
        made.remove()


def test_a_pid_that_belongs_to_somebody_else_is_not_ours(own: Stack) -> None:
    """After a reboot the number in the pid file may be any process's."""
    stack = Stack(own.folder)
    noted = stack.valkey.process.pid_file
    before = noted.read_text()
    try:
        noted.write_text(f"{os.getpid()} {before.split()[1]}\n")
        assert stack.valkey.process.pid is None
    finally:
        noted.write_text(before)
    assert stack.valkey.process.pid is not None


def test_ports_are_kept_and_can_be_changed_while_the_server_is_down(own: Stack) -> None:
    kept = json.loads((own.folder / "stack.json").read_text())["valkey_port"]
    other = free_port()
    assert Stack(own.folder, {"valkey": other}).valkey.port == kept  # it runs
    own.valkey.stop()
    moved = Stack(own.folder, {"valkey": other})
    moved.start(["valkey"])
    assert moved.valkey.answers()
    moved.valkey.stop()
    back = Stack(own.folder, {"valkey": kept})
    back.start(["valkey"])
    assert own.valkey.answers()
