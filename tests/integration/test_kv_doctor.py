"""What `norn doctor` says about servers that are set up well, badly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.providers.kv.diagnose import _copies, _version
from norn_reconciler.providers.kv.rules import app_rules, modifiers
from tests.integration.kv_servers import ADMIN, PASSWORD, OwnServer

Start = Callable[..., OwnServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[OwnServer] = []

    def one(**options: Any) -> OwnServer:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(OwnServer(folder, **options).start())
        return started[-1]

    yield one
    for server in started:
        server.stop()


async def diagnosis(server: OwnServer, **options: Any) -> Health:
    provider = server.provider(**options)
    try:
        return await provider.diagnose()
    finally:
        await provider.close()


def found(health: Health) -> dict[str, Problem]:
    return {problem.reason: problem for problem in health.findings}


async def test_a_server_that_is_set_up_well(start: Start) -> None:
    health = await diagnosis(start())
    assert health.ok
    assert health.findings == ()
    assert health.detail.startswith("Valkey 9.")


async def test_an_open_default_user_is_an_error_and_the_remedy_closes_it(start: Start) -> None:
    server = start(default="on nopass ~* &* +@all")
    health = await diagnosis(server)
    assert not health.ok
    problem = found(health)["DefaultUserOpen"]
    assert problem.severity is Severity.BLOCKING
    assert problem.remedy == "ACL SETUSER default reset off"
    server.do(*problem.remedy.split())
    assert (await diagnosis(server)).findings == ()


async def test_a_default_user_with_a_password_is_a_warning(start: Start) -> None:
    health = await diagnosis(start(default="on >one-password-for-all ~* +@all"))
    assert health.ok
    assert found(health)["DefaultUserOn"].remedy == "ACL SETUSER default reset off"


async def test_norn_logged_in_as_an_open_default_user(start: Start) -> None:
    server = start(default="on nopass ~* &* +@all")
    health = await diagnosis(server, url=f"valkey://127.0.0.1:{server.port}")
    assert not health.ok
    assert "ACL SETUSER norn-admin on" in found(health)["DefaultUserOpen"].remedy
    assert found(health)["AuthenticationOff"].severity is Severity.BLOCKING


async def test_other_users_that_reach_what_is_not_theirs(start: Start) -> None:
    server = start()
    app = app_rules("shop", "shop", "0" * 64)
    server.do("ACL", "SETUSER", "shop", *modifiers(app))
    server.do("ACL", "SETUSER", "open", "on", "nopass", "~x:*", "+get")
    server.do("ACL", "SETUSER", "legacy", "on", ">pw", "~sh*", "+get")
    server.do("ACL", "SETUSER", "boss", "on", ">pw", "resetkeys", "+@admin")
    server.do("ACL", "SETUSER", "quiet", "on", ">pw", "~quiet:*", "+get")
    server.do("ACL", "SETUSER", "gone", "off", "nopass", "~*", "+@all")
    health = await diagnosis(server)
    assert not health.ok
    assert {(p.reason, p.severity, p.remedy) for p in health.findings} == {
        ("UserOpen", Severity.BLOCKING, "ACL SETUSER open off"),
        ("ForeignUser", Severity.WARNING, "ACL SETUSER legacy off"),
        ("ForeignAdmin", Severity.WARNING, "ACL SETUSER boss off"),
    }
    for problem in health.findings:
        server.do(*problem.remedy.split())
    assert (await diagnosis(server)).findings == ()


async def test_an_admin_without_a_password_of_its_own(start: Start) -> None:
    server = start()
    server.do("ACL", "SETUSER", ADMIN, "nopass")
    health = await diagnosis(server)
    assert not health.ok
    assert set(found(health)) == {"AuthenticationOff"}


async def test_a_published_password(start: Start) -> None:
    server = start()
    server.do("ACL", "SETUSER", ADMIN, ">norn")
    url = f"valkey://{ADMIN}:norn@127.0.0.1:{server.port}"
    health = await diagnosis(server, url=url)
    assert health.ok
    assert set(found(health)) == {"PublishedPassword"}


RIGHTS = {
    "acl|list", "acl|setuser", "acl|deluser", "acl|save", "client|kill", "config|get",
    "command|info", "info",
}  # fmt: skip


@pytest.mark.parametrize("right", sorted(RIGHTS - {"info", "config|get"}))
async def test_a_missing_right_and_the_command_that_gives_it(start: Start, right: str) -> None:
    server = start()
    server.do("ACL", "SETUSER", ADMIN, f"-{right}")
    health = await diagnosis(server)
    problem = found(health)["Denied"]
    assert problem.remedy == f"ACL SETUSER {ADMIN} +{right}"
    assert health.ok is (right == "command|info")


async def test_all_missing_rights_at_once(start: Start) -> None:
    server = start()
    few = ("+ping", "+acl|dryrun", "+acl|whoami", "+info", "+config|get")
    server.do("ACL", "SETUSER", "few", "reset", "on", ">pw", *few)
    health = await diagnosis(server, url=f"valkey://few:pw@127.0.0.1:{server.port}")
    assert {p.remedy for p in health.findings} == {
        f"ACL SETUSER few +{right}" for right in RIGHTS - {"info", "config|get"}
    }


async def test_rights_that_cannot_be_looked_at(start: Start) -> None:
    server = start()
    server.do("ACL", "SETUSER", ADMIN, "-acl|dryrun")
    health = await diagnosis(server)
    assert health.ok
    assert found(health)["NotChecked"].remedy == f"ACL SETUSER {ADMIN} +acl|dryrun"


async def test_a_server_that_keeps_no_users(start: Start) -> None:
    server = start(aclfile=False)
    assert set(found(await diagnosis(server))) == {"NotPersisted"}
    assert set(found(await diagnosis(server, config_rewrite=True))) == {"NotPersisted"}
    server = start(aclfile=False, config=True)
    assert set(found(await diagnosis(server))) == {"NotPersisted"}
    assert found(await diagnosis(server, config_rewrite=True)) == {}


async def test_replicas_have_users_of_their_own(start: Start) -> None:
    primary = start()
    auth = ("--primaryuser", ADMIN, "--primaryauth", PASSWORD)
    replica = start(options=("--replicaof", "127.0.0.1", str(primary.port), *auth))
    while "connected_slaves:1" not in primary.do("INFO", "replication"):
        pass
    problem = found(await diagnosis(primary))["AclNotReplicated"]
    assert "1 replicas" in problem.message
    assert "replica" in found(await diagnosis(replica))["AclNotReplicated"].message


async def test_a_node_of_a_cluster(start: Start) -> None:
    health = await diagnosis(start(options=("--cluster-enabled", "yes")))
    assert "cluster" in found(health)["AclNotReplicated"].message


async def test_it_changes_nothing(start: Start) -> None:
    server = start()
    before = server.do("ACL", "LIST")
    await diagnosis(server)
    assert server.do("ACL", "LIST") == before
    assert server.do("DBSIZE") == 0


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"valkey_version": "9.1.2"}, None),
        ({"valkey_version": "8.0.0"}, None),
        ({"valkey_version": "10.0.0-rc1"}, None),
        ({"valkey_version": "7.2.5"}, "VersionTooOld"),
        ({"redis_version": "7.4.0"}, "NotValkey"),
        ({}, "NotValkey"),
    ],
)
def test_versions(info: dict[str, str], reason: str | None) -> None:
    assert [p.reason for p in _version(info)] == ([reason] if reason else [])


def test_what_info_does_not_say_is_no_finding() -> None:
    assert list(_copies({})) == []
