"""The postgres provider beside a server that is down, frozen, restarted, open to everybody, or
taken over by a new leader; and over TLS."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from norn_reconciler.model.app import App
from norn_reconciler.model.errors import Unavailable
from norn_reconciler.model.plan import Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.provider import PostgresProvider
from tests.integration.postgres_admin import Admin, app_with
from tests.integration.provider_contract import World, credential, fresh_name
from tests.servers import PostgresServer

TIMEOUT = 2.0


@pytest.fixture
async def admin(postgres: PostgresServer) -> AsyncIterator[Admin]:
    admin = Admin(postgres)
    before = await admin.roles()
    yield admin
    await admin.sweep(before)


class Relay:
    """A TCP relay that can go silent, as a stopped server does: it accepts, and says nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._running = asyncio.Event()
        self._running.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.break_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()

    def break_all(self) -> None:
        """What a restart of the server does to its connections."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        out_reader, out_writer = await asyncio.open_connection(*self._to)
        self._open |= {writer, out_writer}
        await asyncio.gather(self._pump(reader, out_writer), self._pump(out_reader, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._running.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@pytest.fixture
async def relay(postgres: PostgresServer) -> AsyncIterator[Relay]:
    async with Relay(postgres.host, postgres.port).listening() as relay:
        yield relay


@pytest.fixture
async def provider(admin: Admin, relay: Relay) -> AsyncIterator[PostgresProvider]:
    parts = urlsplit(admin.server.admin_url)
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{relay.port}"
    url = Secret(urlunsplit(parts._replace(netloc=netloc)))
    provider = PostgresProvider(url, request_timeout=TIMEOUT, instance="faults")
    yield provider
    relay.thaw()
    await provider.close()


@pytest.fixture
def app() -> App:
    return app_with(fresh_name())


async def test_a_frozen_server_holds_no_verb_longer_than_the_timeout(
    provider: PostgresProvider, relay: Relay, app: App
) -> None:
    world = World(provider)  # type: ignore[arg-type]
    plans = await world.plans([app])  # a connection is open now, and one is not

    async def unavailable(verb: Callable[[], Awaitable[object]]) -> float:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await verb()
        return time.monotonic() - began

    relay.freeze()
    took = [
        await unavailable(lambda: world.apply(plans)),
        await unavailable(lambda: world.observe([app])),
        await unavailable(lambda: provider.prove(app, credential(app.name))),
        await unavailable(lambda: provider.end_sessions("other")),
    ]
    began = time.monotonic()
    health = await provider.check()
    took.append(time.monotonic() - began)
    assert not health.ok
    assert max(took) < TIMEOUT + 1.0, took  # the driver alone would hang for ten seconds

    relay.thaw()
    await world.converge(app)
    assert (await provider.check()).ok


async def test_a_restart_between_rounds_is_not_noticed(
    provider: PostgresProvider, relay: Relay, app: App
) -> None:
    world = World(provider)  # type: ignore[arg-type]
    await world.converge(app)
    relay.break_all()
    assert (await world.plans([app]))[app.name].actions == ()


async def test_nobody_there_is_unavailable_with_a_word_and_without_the_password(
    unused_tcp_port: int, app: App
) -> None:
    url = Secret(f"postgresql://norn_admin:geheim@127.0.0.1:{unused_tcp_port}/postgres")
    provider = PostgresProvider(url, request_timeout=TIMEOUT)
    with pytest.raises(Unavailable) as caught:
        await World(provider).observe([app])  # type: ignore[arg-type]
    assert "refused" in str(caught.value)
    health = await provider.check()
    assert not health.ok
    assert "geheim" not in str(caught.value) + repr(health)


async def test_a_wrong_admin_password_is_unavailable_and_says_so(admin: Admin, app: App) -> None:
    url = f"postgresql://norn_admin:wrong@{admin.server.host}:{admin.server.port}/postgres"
    with pytest.raises(Unavailable, match="password authentication failed"):
        await World(PostgresProvider(Secret(url))).observe([app])  # type: ignore[arg-type]


async def test_an_unreadable_url_is_not_repeated(app: App) -> None:
    url = Secret("postgresql://norn_admin:geheim@127.0.0.1/postgres?nonsense=1")
    with pytest.raises(Unavailable) as caught:
        await World(PostgresProvider(url)).observe([app])  # type: ignore[arg-type]
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_new_leader_ends_the_old_ones_sessions(admin: Admin, app: App) -> None:
    url = Secret(admin.server.admin_url)
    old, new = (PostgresProvider(url, instance=name) for name in ("böse\nalte" * 9, "new"))
    try:
        await World(old).observe([app])  # type: ignore[arg-type]
        assert await new.end_sessions("böse\nalte" * 9) == 1
        assert await new.end_sessions("new") == 0
        assert (await new.check()).ok
    finally:
        await old.close()
        await new.close()


async def test_doctor_on_a_well_kept_server(admin: Admin) -> None:
    provider = PostgresProvider(
        Secret(admin.server.admin_url), norn_databases=frozenset({"norn_db"})
    )
    try:
        health = await provider.diagnose()
    finally:
        await provider.close()
    assert health.ok
    assert health.detail.startswith(f"PostgreSQL {admin.server.version}.")
    reasons = {finding.reason for finding in health.findings}
    # Others' tests may have open databases on this server.
    assert reasons <= {"PublishedPassword", "CreateRole", "ForeignPublicConnect", "NotChecked"}
    assert ("CreateRole" in reasons) == (admin.server.version == "15")


async def test_doctor_names_what_a_shared_server_leaves_open(admin: Admin) -> None:
    await admin.run("GRANT CONNECT ON DATABASE template1 TO PUBLIC")
    await admin.run("REVOKE SET ON PARAMETER temp_file_limit FROM norn_admin")
    provider = PostgresProvider(Secret(admin.server.admin_url))
    try:
        health = await provider.diagnose()
    finally:
        await provider.close()
        await admin.run("REVOKE ALL ON DATABASE template1 FROM PUBLIC")
        await admin.run("GRANT SET ON PARAMETER temp_file_limit TO norn_admin")
    remedies = {finding.reason: finding.remedy for finding in health.findings}
    assert remedies["PublicConnect"] == (
        "as a superuser: REVOKE ALL ON DATABASE template1 FROM PUBLIC"
    )
    assert remedies["TempFileLimit"] == (
        "as a superuser: GRANT SET ON PARAMETER temp_file_limit TO norn_admin"
    )


async def test_doctor_says_what_it_may_not_look_at_and_goes_on(admin: Admin) -> None:
    name = f"half_{uuid.uuid4().hex[:8]}"
    await admin.run(f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD 'half'")
    await admin.run(f"GRANT CONNECT ON DATABASE postgres TO {name}")
    server = admin.server
    url = f"postgresql://{name}:half@{server.host}:{server.port}/postgres"
    provider = PostgresProvider(Secret(url))
    rights = [
        f"GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {name}",
        f"GRANT SELECT ON pg_hba_file_rules TO {name}",
    ]
    try:
        for right in rights:  # half of them is none
            health = await provider.diagnose()
            remedies = [f.remedy for f in health.findings if f.reason == "NotChecked"]
            assert f"as a superuser: {'; '.join(rights)}" in remedies
            assert "TempFileLimit" in {f.reason for f in health.findings}
            await admin.run(right)
        health = await provider.diagnose()
        (left,) = [f.remedy for f in health.findings if f.reason == "NotChecked"]
        assert "pg_authid" in left
        await admin.run("GRANT SELECT ON pg_authid TO {}", name)
        await provider.close()  # it looks at that right when it logs in
        health = await provider.diagnose()
        assert "NotChecked" not in {f.reason for f in health.findings}
    finally:
        await provider.close()
        await admin.run(f"DROP OWNED BY {name}")
        await admin.run(f"DROP ROLE {name}")


async def test_doctor_tries_each_right_and_leaves_nothing(admin: Admin) -> None:
    name = f"weak_{uuid.uuid4().hex[:8]}"
    await admin.run(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'weak'")
    await admin.run(f"GRANT CONNECT ON DATABASE postgres TO {name}")
    roles = await admin.run("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'norn_doctor%'")
    url = admin.server.admin_url.replace("norn_admin", name).split(":", 2)
    provider = PostgresProvider(
        Secret(f"{url[0]}:{url[1]}:weak@{url[2].partition('@')[2]}"),
        norn_databases=frozenset({"norn_db"}),
    )
    try:
        health = await provider.diagnose()
        assert "lacks CREATEROLE" in str(health.findings)
        await admin.run(f"ALTER ROLE {name} CREATEROLE")
        health = await provider.diagnose()
        assert [f.message for f in health.findings if "cannot" in f.message] == []
    finally:
        await provider.close()
        await admin.run(f"REVOKE CONNECT ON DATABASE postgres FROM {name}")
        await admin.run(f"DROP ROLE {name}")
    after = await admin.run("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'norn_doctor%'")
    assert after == roles


async def test_a_server_that_keeps_temp_files_to_itself_converges_without(
    admin: Admin, app: App
) -> None:
    await admin.run("REVOKE SET ON PARAMETER temp_file_limit FROM norn_admin")
    provider = PostgresProvider(Secret(admin.server.admin_url))
    try:
        await World(provider).converge(app)  # type: ignore[arg-type]
    finally:
        await provider.close()
        await admin.run("GRANT SET ON PARAMETER temp_file_limit TO norn_admin")


class OwnServer:
    """A server of this module's own: PostgreSQL 15 with TLS, whose pg_hba.conf the test writes."""

    BIN = Path("/usr/lib/postgresql/15/bin")
    PASSWORD = "own-superuser"

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.data, self.port = folder, folder / "data", port

    def _run(self, *command: str | Path) -> None:
        subprocess.run(
            list(map(str, command)),
            check=True,
            user="postgres",
            group="postgres",
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    def start(self, hba: str) -> None:
        shutil.chown(self.folder, "postgres", "postgres")
        secret = self.folder / "password"
        secret.write_text(self.PASSWORD)
        shutil.chown(secret, "postgres")
        initdb: list[str | Path] = [
            self.BIN / "initdb",
            "-D",
            self.data,
            "-U",
            "postgres",
            "-E",
            "UTF8",
        ]
        self._run(*initdb, "--no-locale", "--auth=scram-sha-256", f"--pwfile={secret}")
        certify = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        self._run(
            *f"{certify} -addext subjectAltName=DNS:localhost".split(),
            *("-keyout", self.data / "server.key", "-out", self.data / "server.crt"),
        )
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = 'localhost'\nssl = on\n")
            conf.write(f"unix_socket_directories = '{self.folder}'\nfsync = off\n")
        (self.data / "pg_hba.conf").write_text(hba)
        self._run(self.BIN / "pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "start")

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self._run(self.BIN / "pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def url(self, **query: str) -> str:
        tail = "&".join(f"{k}={v}" for k, v in query.items())
        return f"postgresql://postgres:{self.PASSWORD}@localhost:{self.port}/postgres?{tail}"


@pytest.fixture
def own_server(unused_tcp_port: int) -> Iterator[OwnServer]:
    if not OwnServer.BIN.exists():
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="norn-tls-"))  # not pytest's: the server must get in
    server = OwnServer(folder, unused_tcp_port)
    yield server
    server.stop()
    shutil.rmtree(folder)


async def test_tls_from_end_to_end(own_server: OwnServer, app: App) -> None:
    own_server.start("hostssl all all all scram-sha-256\n")
    trusted = own_server.url(sslmode="verify-full", sslrootcert=f"{own_server.folder}/root.crt")
    shutil.copy(own_server.data / "server.crt", own_server.folder / "root.crt")
    provider = PostgresProvider(Secret(trusted), sslmode="verify-full")
    plain = PostgresProvider(Secret(trusted), sslmode="disable")
    untrusting = PostgresProvider(Secret(own_server.url(sslmode="verify-full")))
    try:
        await World(provider).converge(app)  # type: ignore[arg-type]
        assert (await provider.prove(app, credential(app.name))).ok
        url = provider.env(app, credential(app.name))["DATABASE_URL"]
        assert url.endswith("?sslmode=verify-full")
        proof = await plain.prove(app, credential(app.name))
        assert not proof.ok
        assert "no pg_hba.conf entry" in proof.reason
        assert not (await untrusting.check()).ok
    finally:
        for each in (provider, plain, untrusting):
            await each.close()


async def test_a_server_that_trusts_everybody_is_found_out(own_server: OwnServer) -> None:
    own_server.start("local all all trust\nhost all all all trust\n")
    provider = PostgresProvider(Secret(own_server.url()))
    try:
        health = await provider.diagnose()
    finally:
        await provider.close()
    assert not health.ok
    blocking = [p.reason for p in health.findings if p.severity is Severity.BLOCKING]
    assert blocking == ["TrustAuthentication"]
    rules = [p.message for p in health.findings if p.reason == "TrustRule"]
    assert [rule.split(" of ")[0] for rule in rules] == ["line 1", "line 2"]


async def test_an_app_is_proven_where_it_is_told_to_go(
    admin: Admin, relay: Relay, app: App
) -> None:
    """The advertised address counts for the proof; hardening goes the admin's way and proves
    nothing about it."""
    provider = PostgresProvider(
        Secret(admin.server.admin_url),
        advertised=f"127.0.0.1:{relay.port}",
        request_timeout=TIMEOUT,
    )
    try:
        world = World(provider)  # type: ignore[arg-type]
        relay.freeze()
        applied = (await world.apply(await world.plans([app])))[app.name]
        assert applied.error is None
        assert not applied.proven
        with pytest.raises(Unavailable):
            await provider.prove(app, credential(app.name))
        relay.thaw()
        assert (await provider.prove(app, credential(app.name))).ok
        assert (
            f"@127.0.0.1:{relay.port}/" in provider.env(app, credential(app.name))["DATABASE_URL"]
        )
        assert provider.env(replace(app, sections={}), credential(app.name)) == {}
    finally:
        await provider.close()
