"""Readers of a database on real servers, 18 and 15: what every provider owes of a section that
shares, each drift of it, and that norn may be ended anywhere on the way in and on the way out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import psycopg
import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import LeaseLost
from norn_reconciler.model.inventory import HeldState
from norn_reconciler.model.plan import Effect
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.section import PostgresSection
from tests.integration import test_postgres_contract as plain
from tests.integration.postgres_admin import Admin, app_with, database_of
from tests.integration.provider_contract import Mutation, OpenFence, World, credential, fresh_name
from tests.servers import PostgresServer


def group_of(app: str) -> str:
    return f"{app}.readers"


def by_norns_admin(text: str, named: str) -> Mutation:
    """{} in `text`: the group and the reader."""

    async def act(test: Any, app: App) -> None:
        await test.admin.as_norn(text, group_of(app.name), test.reader.name)

    return Mutation(act, named)


def by_superuser(text: str, named: str) -> Mutation:
    async def act(test: Any, app: App) -> None:
        await test.admin.run(text, group_of(app.name))

    return Mutation(act, named)


def by_owner(text: str, named: str) -> Mutation:
    """{} in `text`: the database and the group."""

    async def act(test: Any, app: App) -> None:
        database = database_of(app.name)
        await test.admin.as_app(app.name, database, text, database, group_of(app.name))

    return Mutation(act, named)


async def _another_apps_membership(test: Any, app: App) -> None:
    await test.admin.as_norn("GRANT {} TO {}", group_of(app.name), await test.other_app())


async def _promise_taken_by_the_reader(test: Any, app: App) -> None:
    database, group = database_of(app.name), group_of(app.name)
    await test.admin.as_app(test.reader.name, database, "DROP OWNED BY {}", group)


async def _group_dropped(test: Any, app: App) -> None:
    group = group_of(app.name)
    await test.admin.run("DROP OWNED BY {}", group, database=database_of(app.name))
    await test.admin.run("DROP ROLE {}", group)


_DATABASE, _GROUP = 'DATABASE "{app}_db"', '"{app}.readers"'


class TestPostgresReadersContract(plain.TestPostgresContract):
    """The same, of a section that lets another app read."""

    reader: App

    mutations: ClassVar = {
        "connect": by_owner(
            "REVOKE CONNECT ON DATABASE {} FROM {}", f"GRANT CONNECT ON {_DATABASE} TO {_GROUP}"
        ),
        "more than connect": by_owner(
            "GRANT TEMPORARY ON DATABASE {} TO {}", f"REVOKE TEMPORARY ON {_DATABASE} FROM {_GROUP}"
        ),
        "membership": by_norns_admin("REVOKE {} FROM {}", f"GRANT {_GROUP} TO"),
        "more than membership": by_norns_admin(
            "GRANT {} TO {} WITH ADMIN OPTION", f"GRANT {_GROUP} TO"
        ),
        "another app's membership": Mutation(_another_apps_membership, f"REVOKE {_GROUP} FROM"),
        "promise": Mutation(_promise_taken_by_the_reader, "GRANT SELECT, of now and by default"),
        "group dropped": Mutation(_group_dropped, f"CREATE ROLE {_GROUP}"),
        "login": by_superuser("ALTER ROLE {} LOGIN", f"ALTER ROLE {_GROUP} NOLOGIN"),
        "powers": by_superuser("ALTER ROLE {} CREATEROLE", f"ALTER ROLE {_GROUP} NOCREATEROLE"),
        "comment": by_superuser("COMMENT ON ROLE {} IS 'x'", f"COMMENT ON ROLE {_GROUP}"),
    }

    compared: ClassVar = {
        "Role.members": "membership",
        "Role.name": "group dropped",
        "Role.login": "login",
        "Role.createrole": "powers",
        "Role.comment": "comment",
        "Database.grants": "connect",
        "Database.promised": "promise",
    }
    # All else is compared as it is without readers.
    elsewhere: ClassVar = dict.fromkeys(
        {*plain.TestPostgresContract.compared, *plain.TestPostgresContract.elsewhere} - {*compared},
        "integration/provider_contract.py::test_each_field_that_is_compared_has_its_mutation",
    )

    @pytest.fixture(autouse=True)
    async def _a_reader(self, provider: Any) -> None:
        self.reader = app_with(fresh_name("reader"))
        await World(provider).converge(self.reader)

    def section(self, app: AppName) -> PostgresSection:
        return PostgresSection(database=database_of(app), readers=(self.reader.name,))


@dataclass
class Pair:
    """owner lets reader read; both are new."""

    admin: Admin
    world: World
    owner: App
    reader: App

    @property
    def database(self) -> str:
        return database_of(self.owner.name)

    @property
    def group(self) -> str:
        return group_of(self.owner.name)

    @property
    def closed(self) -> App:
        """The owner, as it lets nobody read."""
        return app_with(self.owner.name)

    async def reads(self, query: str = "SELECT 1") -> list[Any]:
        return await self.admin.as_app(self.reader.name, self.database, query)

    async def owns(self, statement: str) -> list[Any]:
        return await self.admin.as_app(self.owner.name, self.database, statement)

    async def is_out(self) -> bool:
        return await self.admin.refuses(self.reader.name, self.database)


def new_pair(admin: Admin, provider: PostgresProvider) -> Pair:
    owner, reader = fresh_name("owner"), fresh_name("reader")
    section = PostgresSection(database=database_of(owner), readers=(reader,))
    reads = {"postgres": frozenset({database_of(owner)})}
    return Pair(
        admin,
        World(provider),  # type: ignore[arg-type]
        App(owner, {"postgres": section}),
        replace(app_with(reader), readable=reads),
    )


@pytest.fixture
async def provider(postgres: PostgresServer) -> AsyncIterator[PostgresProvider]:
    made = PostgresProvider(Secret(postgres.admin_url), instance="readers")
    yield made
    await made.close()


@pytest.fixture
async def admin(postgres: PostgresServer) -> AsyncIterator[Admin]:
    made = Admin(postgres)
    before = await made.roles()
    yield made
    await made.sweep(before)


@pytest.fixture
def pair(admin: Admin, provider: PostgresProvider) -> Pair:
    return new_pair(admin, provider)


async def test_two_new_ones_need_one_round_in_any_order(pair: Pair) -> None:
    for apps in ([pair.owner, pair.reader], [pair.reader, pair.owner]):
        fresh = new_pair(pair.admin, pair.world.provider)  # type: ignore[arg-type]
        order = (
            [fresh.owner, fresh.reader] if apps[0] is pair.owner else [fresh.reader, fresh.owner]
        )
        applied = await fresh.world.apply(await fresh.world.plans(order))
        assert not [a.error for a in applied.values() if a.error]
        await fresh.world.confirm(order, applied)
        plans = await fresh.world.plans(order)
        assert {(p.actions, p.problems) for p in plans.values()} == {((), ())}
        assert await fresh.reads() == [(1,)]


async def test_a_reader_that_is_refused_its_role_is_left_out(pair: Pair) -> None:
    """It was about to be made in the same batch, and somebody was faster."""
    plans = await pair.world.plans([pair.owner, pair.reader])
    await pair.admin.run("CREATE ROLE {} LOGIN", pair.reader.name)
    applied = await pair.world.apply(plans)
    assert applied[pair.owner.name].error is None
    assert applied[pair.reader.name].error is not None
    await pair.world.confirm([pair.owner], applied)
    plan = (await pair.world.plans([pair.owner]))[pair.owner.name]
    assert plan.actions == ()
    assert [p.reason for p in plan.problems] == ["ReadersMissing"]
    query = "SELECT count(*) FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE"
    assert await pair.admin.run(f"{query} rolname::text = '{pair.reader.name}')") == [(0,)]


async def test_a_reader_that_is_blocked_keeps_its_owner_from_nothing(pair: Pair) -> None:
    """Its role will not be made while the database it asks for is somebody else's."""
    database = database_of(pair.reader.name)
    await pair.admin.run("CREATE DATABASE {}", database)
    try:
        await pair.world.converge(pair.owner)
        plans = await pair.world.plans([pair.owner, pair.reader])
        assert plans[pair.reader.name].blocked is not None
        assert plans[pair.owner.name].actions == ()
        assert [p.reason for p in plans[pair.owner.name].problems] == ["ReadersMissing"]
    finally:
        await pair.admin.run("DROP DATABASE {}", database)


async def test_readers_move_to_the_owners_other_database(pair: Pair) -> None:
    await pair.world.converge(pair.owner, pair.reader)
    inside = await pair.admin.log_in(pair.reader.name, pair.database)
    second = database_of(pair.owner.name, "second")
    section = PostgresSection(database=second, readers=(pair.reader.name,))
    moved = App(pair.owner.name, {"postgres": section})
    reads = replace(pair.reader, readable={"postgres": frozenset({second})})
    await pair.world.converge(moved, reads)
    with pytest.raises(psycopg.OperationalError):
        await inside.execute("SELECT 1")
    assert await pair.is_out()
    assert await pair.admin.as_app(pair.reader.name, second, "SELECT 1") == [(1,)]
    await pair.world.converge(pair.owner, pair.reader)
    assert await pair.reads() == [(1,)]
    assert await pair.admin.refuses(pair.reader.name, second)


async def test_a_table_of_a_transaction_that_is_open_meanwhile_is_not_missed(pair: Pair) -> None:
    await pair.world.converge(pair.closed, pair.reader)
    late = await pair.admin.log_in(pair.owner.name, pair.database)
    await late.execute("BEGIN; CREATE SCHEMA slow; CREATE TABLE slow.late AS SELECT 5 AS x")
    opening = asyncio.create_task(pair.world.converge(pair.owner, pair.reader))
    await asyncio.sleep(1.0)
    assert not opening.done(), "it waits for what may still come"
    await late.execute("COMMIT")
    await late.close()
    await opening
    assert await pair.reads("SELECT x FROM slow.late") == [(5,)]


async def test_a_transaction_without_end_does_not_hold_readers_up(pair: Pair) -> None:
    await pair.world.converge(pair.closed, pair.reader)
    await pair.owns("CREATE TABLE t AS SELECT 1 AS x")
    endless = await pair.admin.log_in(pair.owner.name, pair.database)
    await endless.execute("BEGIN; INSERT INTO t VALUES (2)")
    await pair.world.converge(pair.owner, pair.reader)
    assert await pair.reads("SELECT x FROM t") == [(1,)]
    await endless.close()


async def test_many_tables_are_opened_at_once(pair: Pair) -> None:
    await pair.world.converge(pair.closed, pair.reader)
    await pair.owns("DO $$ BEGIN FOR i IN 1..1200 LOOP EXECUTE format('CREATE TABLE t%s ()', i);"
                    " END LOOP; END $$")  # fmt: skip
    await pair.world.converge(pair.owner, pair.reader)
    await pair.reads("SELECT FROM t1, t600, t1200")


async def test_norn_may_be_ended_anywhere_on_the_way_in(
    admin: Admin, provider: PostgresProvider
) -> None:
    for limit in itertools.count(1):
        pair = new_pair(admin, provider)
        apps, world = [pair.owner, pair.reader], pair.world
        try:
            await world.apply(await world.plans(apps), OpenFence(limit))
        except LeaseLost:
            await world.converge(*apps)
            await pair.owns("CREATE TABLE t AS SELECT 1 AS x")
            assert await pair.reads("SELECT x FROM t") == [(1,)]
            assert (await world.plans(apps))[pair.owner.name].problems == ()
            continue
        assert limit > 6
        return


@pytest.mark.parametrize("way", ["readers taken away", "owner gone", "another database"])
async def test_norn_may_be_ended_anywhere_on_the_way_out(
    admin: Admin, provider: PostgresProvider, way: str
) -> None:
    for limit in itertools.count(0):
        pair = new_pair(admin, provider)
        world, reader = pair.world, replace(pair.reader, readable={})
        await world.converge(pair.owner, pair.reader)
        inside = await admin.log_in(pair.reader.name, pair.database)
        after = {
            "readers taken away": pair.closed,
            "owner gone": replace(pair.owner, sections={}),
            "another database": app_with(pair.owner.name, database_of(pair.owner.name, "second")),
        }[way]
        plans = await world.plans([after, reader])
        if way != "another database":
            effects = {action.effect for action in plans[after.name].actions}
            assert effects == {Effect.REMOVAL}
        ended = False
        try:
            await world.apply(plans, OpenFence(limit))
        except LeaseLost:
            ended = True
        await world.converge(after, reader)
        assert await pair.is_out()
        with pytest.raises(psycopg.OperationalError):
            await inside.execute("SELECT 1")
        await inside.close()
        row = world.owned[after.name]["group", pair.group]
        assert (row.state, row.settings) == (HeldState.RETAINED, {})
        if not ended:
            assert limit > 1
            return


async def test_a_reader_that_comes_back_reads_what_was_made_meanwhile(pair: Pair) -> None:
    await pair.world.converge(pair.owner, pair.reader)
    await pair.world.converge(pair.closed, pair.reader)
    assert await pair.is_out()
    await pair.owns("CREATE SCHEMA later; CREATE TABLE later.t AS SELECT 1 AS x")
    await pair.world.converge(pair.owner, pair.reader)
    assert await pair.reads("SELECT x FROM later.t") == [(1,)]


async def test_its_place_is_proven_and_what_it_could_write_is_told(pair: Pair) -> None:
    known = credential(pair.reader.name)
    provider = pair.world.provider
    await pair.world.converge(pair.owner, pair.reader)
    assert (await provider.trespass(pair.reader, known, pair.owner)).ok
    await pair.admin.run("GRANT CREATE ON DATABASE {} TO PUBLIC", pair.database)
    found = await provider.trespass(pair.reader, known, None)
    assert (found.ok, found.kind) == (False, "ReadersMayWrite")
    assert "schemas" in found.reason
    await pair.world.converge(pair.owner, pair.reader)
    await pair.admin.run("GRANT TEMPORARY ON DATABASE {} TO {}", pair.database, pair.reader.name)
    found = await provider.trespass(pair.reader, known, None)
    assert "temporary tables" in found.reason
    await pair.world.converge(pair.owner, pair.reader)
    assert (await provider.trespass(pair.reader, known, None)).ok


async def test_a_reader_on_its_way_out_is_no_trespasser(pair: Pair) -> None:
    """Between the owner's word and the end of the grace it is still let in."""
    await pair.world.converge(pair.owner, pair.reader)
    dropped = replace(pair.reader, readable={})
    known = credential(dropped.name)
    assert (await pair.world.provider.trespass(dropped, known, pair.closed)).ok
    await pair.admin.run("ALTER DATABASE {} CONNECTION LIMIT 0", pair.database)
    assert (await pair.world.provider.trespass(dropped, known, pair.closed)).ok
    await pair.admin.as_norn("REVOKE {} FROM {}", pair.group, pair.reader.name)
    await pair.admin.run("GRANT {} TO {}", pair.owner.name, pair.reader.name)
    found = await pair.world.provider.trespass(dropped, known, pair.closed)
    assert (found.ok, found.kind) == (False, "NeighbourOpen")


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT UPDATE ON t TO PUBLIC",
        "GRANT INSERT (x) ON t TO PUBLIC",
        "GRANT USAGE ON SEQUENCE s TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
    ],
)
async def test_what_the_owner_let_others_write_is_told_of_the_owner(
    pair: Pair, statement: str
) -> None:
    await pair.world.converge(pair.owner, pair.reader)
    await pair.owns("CREATE TABLE t (x int); CREATE SEQUENCE s")
    known, provider = credential(pair.owner.name), pair.world.provider
    assert (await provider.trespass(pair.owner, known, pair.reader)).ok
    await pair.owns(statement)
    found = await provider.trespass(pair.owner, known, pair.reader)
    assert (found.ok, found.kind) == (False, "ReadersMayWrite")
    assert (await provider.trespass(pair.closed, known, pair.reader)).ok, "nobody is there to write"
    reader = await provider.trespass(pair.reader, credential(pair.reader.name), pair.owner)
    assert reader.ok, "it is not the reader's fault"


async def test_an_owner_that_shuts_its_database_does_not_fail_its_reader(pair: Pair) -> None:
    await pair.world.converge(pair.owner, pair.reader)
    known, provider = credential(pair.reader.name), pair.world.provider
    for statement in ("CONNECTION LIMIT 0", "ALLOW_CONNECTIONS false"):
        await pair.admin.run(f"ALTER DATABASE {{}} WITH {statement}", pair.database)
        assert (await provider.prove(pair.reader, known)).ok
        assert (await provider.trespass(pair.reader, known, pair.owner)).ok


async def test_a_reader_that_may_do_more_than_read_is_narrowed(pair: Pair) -> None:
    """As the group (16 and later know that option), or by letting others in."""
    await pair.world.converge(pair.owner, pair.reader)
    old = pair.admin.server.version == "15"
    more = "ADMIN OPTION" if old else "SET TRUE, ADMIN TRUE"
    await pair.admin.as_norn(f"GRANT {{}} TO {{}} WITH {more}", pair.group, pair.reader.name)
    (action,) = (await pair.world.plans([pair.owner]))[pair.owner.name].actions
    assert action.found == "a member who can do more than read"
    await pair.world.converge(pair.owner)
    let_in = f'GRANT "{pair.group}" TO norn_admin'
    for statement in (let_in,) if old else (let_in, f'SET ROLE "{pair.group}"'):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await pair.reads(statement)
    assert await pair.reads() == [(1,)]
