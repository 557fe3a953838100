"""Servers that are down, frozen, restarted, or that keep, lack and refuse things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Denied, Rejected, Unavailable
from norn_reconciler.model.plan import Severity
from norn_reconciler.providers.kv.actions import SaveUsers
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.kv.section import KvSection
from tests.integration.kv_servers import ADMIN, OwnServer, line_of
from tests.integration.provider_contract import OpenFence, World, credential, fresh_name

Start = Callable[..., OwnServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers that end with the test."""
    started: list[OwnServer] = []

    def one(**options: Any) -> OwnServer:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(OwnServer(folder, **options).start())
        return started[-1]

    yield one
    for server in started:
        server.stop()


@asynccontextmanager
async def provided(server: OwnServer, **options: Any) -> AsyncIterator[KvProvider]:
    provider = server.provider(**options)
    try:
        yield provider
    finally:
        await provider.close()


def an_app() -> App:
    name = fresh_name()
    return App(name, {"kv": KvSection(namespace=name)})


def world_of(provider: KvProvider) -> World:
    return World(provider)  # type: ignore[arg-type]


async def every_verb_is_unavailable(world: World, provider: KvProvider, app: App) -> None:
    """Each within the provider's own limit: the sum of them would hang otherwise."""
    async with asyncio.timeout(30):
        with pytest.raises(Unavailable):
            await world.observe([app])
        with pytest.raises(Unavailable):
            await provider.apply({app.name: (SaveUsers.of(app.name),)}, OpenFence())
        with pytest.raises(Unavailable):
            await provider.prove(app, credential(app.name))
        assert not (await provider.check()).ok
        diagnosis = await provider.diagnose()
        assert not diagnosis.ok
        assert diagnosis.detail


async def test_a_frozen_server_hangs_nothing(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server, request_timeout=0.5) as provider:
        world = world_of(provider)
        await world.converge(app)
        server.freeze()
        plans = None
        with pytest.raises(Unavailable, match="in time"):
            plans = await world.plans([app])
        assert plans is None
        # Also when it froze between the look and the write.
        server.thaw()
        world.owned.clear()
        server.do("ACL", "DELUSER", app.name)
        plans = await world.plans([app])
        server.freeze()
        with pytest.raises(Unavailable):
            await world.apply(plans)
        with pytest.raises(Unavailable):
            await provider.prove(app, credential(app.name))
        assert not (await provider.check()).ok
        server.thaw()
        await world.converge(app)
        assert (await provider.prove(app, credential(app.name))).ok


async def test_many_waiting_verbs_share_one_limit(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server, request_timeout=0.5) as provider:
        world = world_of(provider)
        await world.observe([app])
        server.freeze()
        async with asyncio.timeout(10):  # one after the other would take 20 s
            results = await asyncio.gather(
                *(world.observe([app]) for _ in range(40)), return_exceptions=True
            )
        assert {type(r) for r in results} == {Unavailable}
        server.thaw()
        assert await world.observe([app])


async def test_a_dead_server_and_its_return(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(app)
        server.stop()
        await every_verb_is_unavailable(world, provider, app)
        server.start()
        # From its aclfile.
        assert (await provider.prove(app, credential(app.name))).ok
        assert (await world.plans([app]))[app.name].actions == ()


async def test_a_restart_between_two_rounds_is_not_noticed(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(app)
        server.stop()
        server.start()
        await asyncio.sleep(0)
        assert (await world.plans([app]))[app.name].actions == ()


async def test_cancelling_leaves_no_reply_for_the_next_request(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(app)
        for _ in range(20):
            task = asyncio.create_task(world.observe([app]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await provider.check()).ok
        assert (await world.plans([app]))[app.name].actions == ()


async def test_the_admins_own_password_is_wrong(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server, url=f"valkey://{ADMIN}:nope@127.0.0.1:{server.port}") as provider:
        seen = await provider.observe({app.name: world_of(provider).wanted(app)})
        fault = seen[app.name]
        assert isinstance(fault, Denied)
        assert "NORN_VALKEY_URL" in fault.remedy
        assert "nope" not in str(fault)
        health = await provider.check()
        assert not health.ok
        assert "nope" not in health.detail


LIMITED = "valkey://limited:pw@127.0.0.1:"
NEEDED = (
    "+acl|list", "+acl|setuser", "+acl|deluser", "+acl|save", "+client|kill", "+config|get",
    "+command|info", "+info", "+ping", "+auth", "+client|setinfo",
)  # fmt: skip


def limited(server: OwnServer, *without: str) -> str:
    rights = [r for r in NEEDED if r not in without]
    server.do("ACL", "SETUSER", "limited", "reset", "on", ">pw", *rights)
    return f"{LIMITED}{server.port}"


async def test_the_rights_that_we_name_are_enough(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server, url=limited(server)) as provider:
        world = world_of(provider)
        await world.converge(app)
        server.do("ACL", "SETUSER", app.name, "+@all", "nopass")
        await world.converge(app)
        await world.converge(App(app.name, {}))
        assert line_of(server.url, app.name) is None


@pytest.mark.parametrize("right", ["+acl|list", "+acl|setuser", "+acl|save"])
async def test_a_missing_right_is_named_with_the_command_that_gives_it(
    start: Start, right: str
) -> None:
    server, app = start(), an_app()
    async with provided(server, url=limited(server, right)) as provider:
        with pytest.raises(Denied) as denied:
            await world_of(provider).converge(app)
        assert denied.value.remedy == f"ACL SETUSER limited {right}"
        server.do("ACL", "SETUSER", "limited", right)
        await world_of(provider).converge(an_app())


async def test_sessions_that_may_not_be_ended_are_not_forgotten(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server, url=limited(server, "+client|kill")) as provider:
        world = world_of(provider)
        await world.converge(app)
        server.do("ACL", "SETUSER", app.name, "nopass")
        applied = await world.apply(await world.plans([app]))
        await world.confirm([app], applied)
        assert isinstance(applied[app.name].error, Denied)
        (left,) = (await world.plans([app]))[app.name].actions
        assert left.summary() == f"CLIENT KILL USER {app.name}"
        server.do("ACL", "SETUSER", "limited", "+client|kill")
        await world.converge(app)


async def test_not_being_allowed_to_ask_about_commands_and_files(start: Start) -> None:
    server, app = start(), an_app()
    url = limited(server, "+config|get", "+command|info", "+info")
    async with provided(server, url=url) as provider:
        world = world_of(provider)
        await world.converge(app)
        (problem,) = (await world.plans([app]))[app.name].problems
        assert problem.reason == "NotPersisted"
        assert "config|get" in problem.remedy


async def test_one_refused_app_leaves_the_others(start: Start) -> None:
    server = start()
    good, bad = an_app(), App(AppName("b d"), {"kv": KvSection(namespace="b")})
    async with provided(server) as provider:
        world = world_of(provider)
        plans = await world.plans([good])
        # The plan of the bad one as it would be if its name had not been refused before.
        action = plans[good.name].actions[0]
        broken = type(action)("acl-user", "b d", action.rules)  # type: ignore[attr-defined,call-arg]
        applied = await provider.apply(
            {bad.name: (broken,), good.name: plans[good.name].actions}, OpenFence()
        )
        assert isinstance(applied[bad.name].error, Rejected)
        assert applied[bad.name].done == ()
        assert applied[bad.name].steps[-1].status == "failed"
        assert applied[good.name].error is None
        assert applied[good.name].done == plans[good.name].actions
        assert (await provider.prove(good, credential(good.name))).ok
        assert "#" not in str(applied[bad.name].error).replace("#…", "")


async def test_without_an_aclfile_a_warning_says_so(start: Start) -> None:
    server, app = start(aclfile=False), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(app)
        (problem,) = (await world.plans([app]))[app.name].problems
        assert (problem.severity, problem.reason) == (Severity.WARNING, "NotPersisted")
        await world.converge(App(app.name, {}))


async def test_config_rewrite_only_where_it_is_allowed(start: Start) -> None:
    server, app = start(aclfile=False, config=True), an_app()
    async with provided(server) as careful:
        world = world_of(careful)
        await world.converge(app)
        assert (await world.plans([app]))[app.name].problems[0].reason == "NotPersisted"
    assert app.name not in server.users_file.read_text()
    async with provided(server, config_rewrite=True) as provider:
        world.provider = provider  # type: ignore[assignment]
        (saved,) = await world.converge(app)
        assert type(saved) is SaveUsers
        assert (await world.plans([app]))[app.name].problems == ()
        server.stop()
        server.start()
        assert (await provider.prove(app, credential(app.name))).ok


async def test_an_aclfile_that_cannot_be_written(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        # Valkey writes a new file beside the old one and renames it: a folder in its place stops
        # that, for root, too.
        saved = server.users_file.rename(server.folder / "aside")
        server.users_file.mkdir()
        plans = await world.plans([app])
        applied = await world.apply(plans)
        error = applied[app.name].error
        assert isinstance(error, Rejected)
        assert "not saved" in str(error)
        assert "folder" in error.remedy
        assert applied[app.name].done == plans[app.name].actions  # it works until a restart
        await world.confirm([app], applied)
        (left,) = (await world.plans([app]))[app.name].actions
        assert type(left) is SaveUsers
        server.users_file.rmdir()
        saved.rename(server.users_file)
        await world.converge(app)
        assert app.name in server.users_file.read_text()
        server.stop()
        server.start()
        assert (await provider.prove(app, credential(app.name))).ok


async def test_a_removed_user_does_not_come_back_from_the_file(start: Start) -> None:
    server, app = start(), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(app)
        assert app.name in server.users_file.read_text()
        await world.converge(App(app.name, {}))
        assert app.name not in server.users_file.read_text()


async def test_a_server_that_lacks_commands(start: Start) -> None:
    renamed = ("--rename-command", "EVAL", "", "--rename-command", "GEORADIUS", "")
    server, app = start(options=renamed), an_app()
    async with provided(server) as provider:
        world = world_of(provider)
        assert len(await world.converge(app)) == 1
        line = line_of(server.url, app.name)
        assert line is not None
        assert "+eval " not in line
        assert "+evalsha " in line
        # It gets them with another start: the users follow.
        server.stop()
        server.options = ()
        server.start()
        assert len(await world.converge(app)) == 1
        assert "+eval " in (line_of(server.url, app.name) or "")


async def test_a_batch_is_two_requests_however_many_apps(start: Start) -> None:
    server = start()
    apps = [an_app() for _ in range(60)]
    async with provided(server) as provider:
        world = world_of(provider)
        plans = await world.plans(apps)
        before, fence = provider.requests, OpenFence()
        await world.apply(plans, fence)
        assert provider.requests - before == 2
        assert fence.passed == 2
        saves = [s for s in server.do("INFO", "commandstats").splitlines() if "acl|save" in s]
        assert "calls=1," in saves[0]


async def test_a_clean_round_writes_nothing(start: Start) -> None:
    server, apps = start(), [an_app() for _ in range(3)]
    async with provided(server) as provider:
        world = world_of(provider)
        await world.converge(*apps)
        server.do("CONFIG", "RESETSTAT")
        written = server.users_file.stat().st_mtime_ns
        await world.converge(*apps)
        stats = server.do("INFO", "commandstats")
        for command in ("acl|setuser", "acl|deluser", "acl|save", "client|kill", "config|rewrite"):
            assert command not in stats
        assert "acl|list" in stats
        assert server.users_file.stat().st_mtime_ns == written


async def test_secrets_are_in_no_error_and_no_log_of_the_server(start: Start) -> None:
    server, app = start(options=("--slowlog-log-slower-than", "0")), an_app()
    secret = credential(app.name).password.reveal()
    async with provided(server) as provider:
        await world_of(provider).converge(app)
    told = str(server.do("SLOWLOG", "GET", "128")) + str(server.do("ACL", "LOG"))
    assert secret not in told + (server.folder / "log").read_text()
    assert secret not in server.users_file.read_text()
