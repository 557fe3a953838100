"""The postgres provider after crashes, losses and renames, and where the admin lacks a right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.errors import Conflict, Denied, Rejected
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.plan import Effect, Severity
from norn_reconciler.model.secret import DUE, CredentialMark, Secret
from norn_reconciler.providers.postgres.actions import quoted
from norn_reconciler.providers.postgres.database_actions import CreateDatabase, HardenSchema
from norn_reconciler.providers.postgres.problems import POWER
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.reach import PREDEFINED
from norn_reconciler.providers.postgres.role_actions import CreateRole
from tests.integration.postgres_admin import Admin, app_with, database_of
from tests.integration.provider_contract import OpenFence, World, credential, fresh_name
from tests.servers import PostgresServer

CLAIMED = HeldState.CLAIMED
NORN = frozenset({"norn", "norn_keeper"})


@pytest.fixture
async def admin(postgres: PostgresServer) -> AsyncIterator[Admin]:
    admin = Admin(postgres)
    before = await admin.roles()
    yield admin
    await admin.sweep(before)


@pytest.fixture
async def world(admin: Admin) -> AsyncIterator[World]:
    provider = PostgresProvider(
        Secret(admin.server.admin_url), instance="recovery", norn_users=NORN
    )
    yield World(provider)  # type: ignore[arg-type]
    await provider.close()


@pytest.fixture
def app() -> App:
    return app_with(fresh_name())


def claims(app: App) -> dict[tuple[str, str], Held]:
    rows = (Held("role", app.name, CLAIMED), Held("database", database_of(app.name), CLAIMED))
    return {row.key: row for row in rows}


async def summaries(world: World, app: App) -> list[str]:
    return [a.summary() for a in (await world.plans([app]))[app.name].actions]


async def problem_reasons(world: World, app: App) -> list[tuple[Severity, str]]:
    plan = (await world.plans([app]))[app.name]
    return [(p.severity, p.reason) for p in plan.problems]


async def test_a_crash_after_any_statement_of_a_creation_is_taken_up(
    world: World, admin: Admin, app: App
) -> None:
    name, database = app.name, database_of(app.name)
    statements = [
        ("CREATE ROLE {}", name),
        ("COMMENT ON ROLE {} IS " + f"'norn: app {name}'", name),
        ("GRANT {} TO CURRENT_USER", name),
        ("CREATE DATABASE {} OWNER {} TEMPLATE template0 ALLOW_CONNECTIONS false", database, name),
        ("REVOKE ALL ON DATABASE {} FROM PUBLIC", database),
        ("ALTER DATABASE {} ALLOW_CONNECTIONS true", database),
    ]
    for count in range(2, len(statements) + 1):
        world.owned[name], world.marks = claims(app), {}
        for text, *names in statements[:count]:
            await admin.as_norn(text, *names)
        await world.converge(app)
        assert (await world.provider.prove(app, credential(name))).ok
        assert {row.state for row in world.owned[name].values()} == {HeldState.OWNED}
        await admin.run("DROP DATABASE {}", database)
        await admin.run("DROP ROLE {}", name)


async def test_one_apply_is_enough(world: World, app: App) -> None:
    """Else PUBLIC's way in would be open until the next round."""
    applied = await world.apply(await world.plans([app]))
    await world.confirm([app], applied)
    assert (await world.plans([app]))[app.name].actions == ()


async def test_each_writing_request_asks_the_fence_and_a_batch_shares_them(
    world: World, admin: Admin
) -> None:
    for count in (1, 4):
        apps = [app_with(fresh_name()) for _ in range(count)]
        fence = OpenFence()
        await world.apply(await world.plans(apps), fence)
        # all roles; each database; all seals; each login
        assert fence.passed == 1 + count + 1 + count


async def test_a_database_is_closed_until_it_is_sealed(
    world: World, admin: Admin, app: App
) -> None:
    plans = await world.plans([app])
    until = [type(a) for a in plans[app.name].actions].index(CreateDatabase) + 1
    half = {app.name: replace(plans[app.name], actions=plans[app.name].actions[:until])}
    await world.apply(half)
    assert await admin.refuses(app.name, database_of(app.name))


async def test_an_app_that_dropped_its_schema_public_has_nothing_to_close(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    name, database = app.name, database_of(app.name)
    await admin.as_app(name, database, "DROP SCHEMA public")
    row = world.owned[name]["database", database]
    world.owned[name] = {**world.owned[name], row.key: replace(row, settings={})}
    assert [type(a) for a in await world.converge(app)] == [HardenSchema]


async def test_a_claimed_role_without_the_witness_is_somebody_elses(
    world: World, admin: Admin, app: App
) -> None:
    world.owned[app.name] = claims(app)
    await admin.run("CREATE ROLE {}", app.name)
    assert await problem_reasons(world, app) == [(Severity.BLOCKING, "Conflict")]
    assert await summaries(world, app) == []


async def test_a_role_made_by_somebody_between_plan_and_apply_is_not_taken(
    world: World, admin: Admin, app: App
) -> None:
    plans = await world.plans([app])
    await admin.run("CREATE ROLE {}", app.name)
    before = await admin.run(f"SELECT * FROM pg_authid WHERE rolname::text = '{app.name}'")
    applied = (await world.apply(plans))[app.name]
    assert isinstance(applied.error, Conflict)
    assert applied.done == ()
    assert before == await admin.run(f"SELECT * FROM pg_authid WHERE rolname::text = '{app.name}'")


async def test_one_app_at_fault_leaves_the_others_converged(world: World, admin: Admin) -> None:
    apps = [app_with(fresh_name()) for _ in range(5)]
    bad = apps[2].name
    plans = await world.plans(apps)
    await admin.run("CREATE ROLE {}", bad)  # refused at the role phase, for this one alone
    await admin.run("CREATE DATABASE {}", database_of(apps[4].name))  # and here at the database's
    applied = await world.apply(plans)
    await admin.run("DROP DATABASE {}", database_of(apps[4].name))
    assert [name for name in plans if applied[name].error] == [bad, apps[4].name]
    for app in (apps[0], apps[1], apps[3]):
        assert applied[app.name].proven
        assert applied[app.name].done == plans[app.name].actions
        assert [s.status for s in applied[app.name].steps] == ["ok"] * len(plans[app.name].actions)
    assert [s.status for s in applied[bad].steps] == ["failed"]


async def test_a_vanished_database_is_not_made_again_by_itself(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database = database_of(app.name)
    await admin.run("DROP DATABASE {} WITH (FORCE)", database)
    plan = (await world.plans([app]))[app.name]
    assert plan.actions == ()
    assert plan.blocked is not None
    assert (plan.blocked.reason, plan.blocked.object) == ("DataMissing", ("database", database))
    await world.confirm([app], {})
    assert ("database", database) in world.owned[app.name]

    # A person confirmed: the engine drops the row.
    rows = world.owned[app.name]
    world.owned[app.name] = {key: row for key, row in rows.items() if key[0] == "role"}
    done = await world.converge(app)
    assert [type(a) for a in done if a.effect is Effect.CREATE] == [CreateDatabase]
    assert (await world.provider.prove(app, credential(app.name))).ok


async def test_nothing_is_made_on_a_server_where_role_and_database_are_gone(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    await admin.run("DROP DATABASE {} WITH (FORCE)", database_of(app.name))
    await admin.run("DROP ROLE {}", app.name)
    assert await problem_reasons(world, app) == [(Severity.BLOCKING, "DataMissing")]
    assert await summaries(world, app) == []


async def test_a_replaced_database_blocks_until_it_is_adopted(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database = database_of(app.name)
    await admin.run("DROP DATABASE {} WITH (FORCE)", database)
    await admin.run("CREATE DATABASE {} OWNER {}", database, app.name)
    assert await problem_reasons(world, app) == [(Severity.BLOCKING, "DataReplaced")]
    assert await summaries(world, app) == []

    seen = (await world.observe([app]))[app.name]
    rows = world.provider.adoptable(world.wanted(app), seen)
    assert [(key, row.origin) for key, row in rows.items()] == [
        (("database", database), Origin.ADOPTED)
    ]
    world.owned[app.name] = {**world.owned[app.name], **rows}
    await world.converge(app)
    assert world.owned[app.name]["database", database].origin is Origin.ADOPTED


async def test_a_database_renamed_on_the_server_blocks_and_names_the_new_name(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    await admin.run("ALTER DATABASE {} RENAME TO {}", database_of(app.name), f"moved_{app.name}")
    plan = (await world.plans([app]))[app.name]
    assert plan.actions == ()
    assert plan.blocked is not None
    assert plan.blocked.reason == "Renamed"
    assert plan.blocked.object is None  # nothing is lost: there is no loss to confirm
    assert f'ALTER DATABASE "moved_{app.name}" RENAME' in plan.blocked.remedy


async def test_what_an_interrupted_drop_left(world: World, admin: Admin, app: App) -> None:
    await world.converge(app)
    database = database_of(app.name)
    await admin.run(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname::text = " + f"'{database}'"
    )
    assert await problem_reasons(world, app) == [(Severity.BLOCKING, "DataMissing")]
    assert await summaries(world, app) == []

    rows = world.owned[app.name]
    world.owned[app.name] = {key: row for key, row in rows.items() if key[0] == "role"}
    done = [a.summary() for a in await world.converge(app)]
    assert done[:2] == [
        f'DROP DATABASE "{database}"',
        f'CREATE DATABASE "{database}" OWNER "{app.name}"',
    ]


async def test_dropping_leftovers_twice_spares_the_new_database(
    world: World, admin: Admin, app: App
) -> None:
    world.owned[app.name] = claims(app)
    await world.converge(app)
    database = database_of(app.name)
    await admin.run(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname::text = " + f"'{database}'"
    )
    world.owned[app.name] = claims(app)
    plans = await world.plans([app])
    await world.apply(plans)
    await admin.as_app(app.name, database, "CREATE TABLE kept AS SELECT 42 AS x")
    await world.apply(plans)
    assert await admin.run("SELECT x FROM kept", database=database) == [(42,)]


async def test_a_renamed_spec_retains_the_old_database_and_hands_it_back(
    world: World, admin: Admin, app: App
) -> None:
    name, old, new = app.name, database_of(app.name), database_of(app.name, "new")
    await world.converge(app)
    await admin.as_app(name, old, "CREATE TABLE kept AS SELECT 42 AS x")
    session = await admin.log_in(name, old)
    renamed = app_with(name, new)
    done = await world.converge(renamed)
    removals = [a.summary() for a in done if a.effect is Effect.REMOVAL]
    assert removals == [
        f'ALTER DATABASE "{old}" ALLOW_CONNECTIONS false',
        f'pg_terminate_backend: sessions of "{name}" in "{old}"',
    ]
    with pytest.raises(Exception, match=r"terminat|closed"):
        await session.execute("SELECT 1")
    await session.close()
    assert await admin.refuses(name, old)
    assert not await admin.refuses(name, new)
    assert world.owned[name]["database", old].state is HeldState.RETAINED
    assert world.owned[name]["database", new].state is HeldState.OWNED
    assert await problem_reasons(world, renamed) == [(Severity.WARNING, "DatabaseRetained")]

    await world.converge(app)
    assert await admin.as_app(name, old, "SELECT x FROM kept") == [(42,)]
    assert await admin.refuses(name, new)
    assert world.owned[name]["database", old].state is HeldState.OWNED


async def test_removal_ends_sessions_and_shuts_what_is_retained(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database = database_of(app.name)
    session = await admin.log_in(app.name, database)
    leaving = replace(app, sections={})
    await world.converge(leaving)
    with pytest.raises(Exception, match=r"terminat|closed"):
        await session.execute("SELECT 1")
    await session.close()
    # Retained data is no open data: PUBLIC stays out.
    await admin.run("GRANT CONNECT ON DATABASE {} TO PUBLIC", database)
    assert await summaries(world, leaving) == [
        f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC'
    ]
    # Nor can somebody's LOGIN last.
    await admin.run("ALTER ROLE {} LOGIN", app.name)
    await world.converge(leaving)
    assert await admin.refuses(app.name, database)


async def test_rows_go_when_nothing_of_a_removed_app_remains(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    leaving = replace(app, sections={})
    await world.converge(leaving)
    await admin.run("DROP DATABASE {}", database_of(app.name))
    await admin.run("DROP ROLE {}", app.name)
    await world.converge(leaving)
    assert world.owned[app.name] == {}


async def test_foreign_grants_are_reported_and_left_alone(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database, guest = database_of(app.name), f"guest_{app.name}"
    await admin.run("CREATE ROLE {}", guest)
    await admin.as_app(app.name, database, "GRANT CONNECT ON DATABASE {} TO {}", database, guest)
    await admin.run("GRANT {} TO {}", app.name, guest)
    await admin.run("GRANT pg_stat_scan_tables TO {}", app.name)
    assert await problem_reasons(world, app) == [
        (Severity.WARNING, "ForeignMembership"),
        (Severity.WARNING, "ForeignMembership"),
        (Severity.WARNING, "ForeignGrant"),
    ]
    assert await summaries(world, app) == []


async def test_what_is_to_type_ends_what_is_foreign_whoever_granted_it(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database, guest, third = database_of(app.name), f"guest_{app.name}", f"third_{app.name}"
    boss = f"boss_{app.name}"
    await admin.run("CREATE ROLE {}; CREATE ROLE {}; CREATE ROLE {}", guest, third, boss)
    await admin.as_app(
        app.name, database, "GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION", database, third
    )
    await admin.run("SET ROLE {}; GRANT CONNECT ON DATABASE {} TO {}", third, database, guest)
    await admin.run("GRANT {} TO {} WITH ADMIN OPTION", app.name, boss)
    await admin.run("SET ROLE {}; GRANT {} TO {}", boss, app.name, guest)
    plan = (await world.plans([app]))[app.name]
    assert len(plan.problems) == 4
    # What was handed on has to go first.
    for problem in sorted(plan.problems, key=lambda p: guest not in p.remedy):
        _, _, statement = problem.remedy.partition(": ")
        await admin.run(statement)
    assert (await world.plans([app]))[app.name].problems == ()


async def test_a_power_that_only_a_superuser_may_take_is_denied_with_the_statement(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    database = database_of(app.name)
    await admin.run("ALTER ROLE {} SUPERUSER", app.name)
    await admin.run("GRANT CONNECT ON DATABASE {} TO PUBLIC", database)
    applied = (await world.apply(await world.plans([app])))[app.name]
    assert isinstance(applied.error, Denied)
    # What else has to be mended is not kept waiting.
    assert [a.summary() for a in applied.done] == [
        f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC'
    ]
    assert applied.error.remedy == f'as a superuser: ALTER ROLE "{app.name}" NOSUPERUSER'
    await admin.run("ALTER ROLE {} NOSUPERUSER", app.name)
    await world.converge(app)


async def test_a_membership_that_norn_cannot_revoke_keeps_nothing_else_broken(
    world: World, admin: Admin, app: App
) -> None:
    other = app_with(fresh_name("other"))
    await world.converge(app, other)
    await admin.run("GRANT {} TO {}", app.name, other.name)
    await admin.run("ALTER ROLE {} VALID UNTIL '2020-01-01' PASSWORD NULL", app.name)
    assert not await signs_in(world, app)
    del world.marks[app.name]  # as once the engine has found the password changed
    applied = (await world.apply(await world.plans([app])))[app.name]
    await world.confirm([app], {app.name: applied})
    done = [action.summary() for action in applied.done]
    assert f"ALTER ROLE \"{app.name}\" VALID UNTIL 'infinity'" in done
    assert f'ALTER ROLE "{app.name}" PASSWORD ***' in done
    assert await signs_in(world, app)
    if admin.server.version == "15":  # there CREATEROLE may revoke it
        assert applied.error is None
        return
    revoke = f'REVOKE "{app.name}" FROM "{other.name}" GRANTED BY postgres'
    assert isinstance(applied.error, Denied)
    assert applied.error.remedy == f"as a superuser: {revoke}"
    await admin.run(revoke.replace(f'"{app.name}"', "{}").replace(f'"{other.name}"', "{}"),
                    app.name, other.name)  # fmt: skip
    await world.converge(app, other)


async def told(world: World, app: App) -> list[tuple[Severity, str]]:
    plan = (await world.plans([app]))[app.name]
    return [(p.severity, p.remedy) for p in plan.problems if p.reason == POWER]


@pytest.mark.parametrize("inherit", [True, False])
@pytest.mark.parametrize(
    "role",
    [*sorted({*PREDEFINED} - {"pg_create_subscription"}), "norn_keeper", "strong"],
)
async def test_a_role_with_powers_is_none_that_an_app_may_be_in(
    world: World, admin: Admin, app: App, role: str, inherit: bool
) -> None:
    await world.converge(app)
    if role == "strong":
        role = f"strong_{app.name}"
        await admin.run("CREATE ROLE {} CREATEROLE", role)
    elif not await admin.run(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
        pytest.skip(f"no role {role} here")
    if not inherit and admin.server.version == "15":
        await admin.run("ALTER ROLE {} NOINHERIT", app.name)
    options = " WITH INHERIT FALSE" if not inherit and admin.server.version != "15" else ""
    await admin.run("GRANT {} TO {}" + options, role, app.name)
    shown = quoted(role)
    revoke = f'REVOKE {shown} FROM "{app.name}" GRANTED BY postgres'
    assert await told(world, app) == [(Severity.BLOCKING, f"as a superuser: {revoke}")]
    await admin.run("REVOKE {} FROM {} GRANTED BY postgres", role, app.name)
    await world.converge(app)
    assert await told(world, app) == []


async def test_an_apps_role_within_anothers_is_told_on_both_sides(
    world: World, admin: Admin, app: App
) -> None:
    other, helper = app_with(fresh_name("other")), f"helper_{app.name}"
    await world.converge(app, other)
    await admin.run("CREATE ROLE {}", helper)
    await admin.run("GRANT {} TO {}", app.name, helper)
    options = "" if admin.server.version == "15" else " WITH INHERIT FALSE"
    await admin.run("GRANT {} TO {}" + options, helper, other.name)
    outer = f'REVOKE {helper} FROM "{other.name}" GRANTED BY postgres'
    inner = f'REVOKE "{app.name}" FROM {helper} GRANTED BY postgres'
    outer, inner = (text.replace(helper, quoted(helper)) for text in (outer, inner))
    assert await told(world, other) == [(Severity.BLOCKING, f"as a superuser: {outer}")]
    assert await told(world, app) == [(Severity.BLOCKING, f"as a superuser: {inner}")]
    await admin.run("DROP ROLE {}", helper)
    await admin.run("GRANT {} TO {}", app.name, other.name)
    revoke = f'REVOKE "{app.name}" FROM "{other.name}" GRANTED BY postgres'
    assert await summaries(world, app) == [revoke]
    # Before 16 norn may revoke it, whoever granted it.
    can = admin.server.version == "15"
    assert await summaries(world, other) == ([revoke] if can else [])
    said = [] if can else [(Severity.BLOCKING, f"as a superuser: {revoke}")]
    assert await told(world, other) == said


async def test_an_app_leaves_the_role_of_one_that_is_forgotten(
    world: World, admin: Admin, app: App
) -> None:
    """Nobody's round shuts it out there. What it handed on goes with it."""
    other, third = app_with(fresh_name("other")), f"third_{app.name}"
    await world.converge(app, other)
    await admin.as_norn("GRANT {} TO {} WITH ADMIN OPTION", app.name, other.name)
    await admin.run("CREATE ROLE {}", third)
    await admin.as_app(other.name, database_of(other.name), "GRANT {} TO {}", app.name, third)
    del world.owned[app.name]  # norn forget
    revoke = f'REVOKE "{app.name}" FROM "{other.name}" GRANTED BY norn_admin'
    assert await summaries(world, other) == [revoke]
    assert (await world.plans([other]))[other.name].problems == ()
    await world.converge(other)
    members = await admin.run(
        "SELECT pg_get_userbyid(m.member) FROM pg_auth_members m"
        f" WHERE m.roleid = '\"{app.name}\"'::regrole"
    )
    left = {name for (name,) in members}
    # Before 16 the server did not remember who handed on what.
    assert left == {"norn_admin"} | ({third} if admin.server.version == "15" else set())


async def test_a_role_that_became_a_superuser_is_left_by_a_superusers_statement(
    world: World, admin: Admin, app: App
) -> None:
    other = app_with(fresh_name("other"))
    await world.converge(app, other)
    await admin.as_norn("GRANT {} TO {}", app.name, other.name)
    await admin.run("ALTER ROLE {} SUPERUSER", app.name)
    revoke = f'REVOKE "{app.name}" FROM "{other.name}" GRANTED BY norn_admin'
    assert await told(world, other) == [(Severity.BLOCKING, f"as a superuser: {revoke}")]
    await admin.run("ALTER ROLE {} NOSUPERUSER", app.name)
    await world.converge(other)


async def test_what_a_group_of_readers_is_in_is_cut_at_the_group(
    world: World, admin: Admin, app: App
) -> None:
    reader = app_with(fresh_name("reader"))
    group = f"{app.name}.readers"
    await world.converge(app, reader)
    await admin.run("CREATE ROLE {}", group)
    await admin.run("COMMENT ON ROLE {} IS 'norn: app " + app.name + "'", group)
    await admin.run("GRANT {} TO {}", group, reader.name)
    assert await told(world, reader) == []
    await admin.run("GRANT pg_read_all_data TO {}", group)
    revoke = f'REVOKE pg_read_all_data FROM "{group}" GRANTED BY postgres'
    assert await told(world, reader) == [(Severity.BLOCKING, f"as a superuser: {revoke}")]


async def signs_in(world: World, app: App) -> bool:
    return (await world.provider.prove(app, credential(app.name))).ok


async def test_adoption_needs_a_superusers_grant_and_then_converges(
    world: World, admin: Admin, app: App
) -> None:
    name, database = app.name, database_of(app.name)
    await admin.run("CREATE ROLE {} LOGIN", name)
    await admin.run("CREATE DATABASE {} OWNER {}", database, name)
    await admin.run("CREATE TABLE kept AS SELECT 42 AS x", database=database)
    seen = (await world.observe([app]))[name]
    world.owned[name] = world.provider.adoptable(world.wanted(app), seen)
    assert {row.origin for row in world.owned[name].values()} == {Origin.ADOPTED}
    if admin.server.version != "15":
        applied = (await world.apply(await world.plans([app])))[name]
        assert isinstance(applied.error, Denied)
        grant = f'GRANT "{name}" TO norn_admin WITH ADMIN TRUE, INHERIT TRUE, SET TRUE'
        assert applied.error.remedy == f"as a superuser: {grant}"
        await admin.run(grant.replace(f'"{name}"', "{}"), name)
    stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'NAME'".replace("NAME", name)
    before = await admin.run(stored)
    await world.converge(app)
    assert await admin.run(stored) == before, "it keeps the password it had"
    (plan,) = (await world.plans([app])).values()
    assert [p.reason for p in plan.problems] == ["PasswordKept"]
    world.marks[name] = CredentialMark(DUE, 1)  # norn rotate
    await world.converge(app)
    assert (await world.provider.prove(app, credential(name))).ok
    assert await admin.run("SELECT x FROM kept", database=database) == [(42,)]
    assert {row.origin for row in world.owned[name].values()} == {Origin.ADOPTED}


async def test_an_admin_without_createdb_is_told_the_statement(
    world: World, admin: Admin, app: App
) -> None:
    limited = f"limited_{app.name}"
    await admin.run("CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'limited'", limited)
    await admin.run("GRANT CONNECT ON DATABASE postgres TO {}", limited)
    url = f"postgresql://{limited}:limited@{admin.server.host}:{admin.server.port}/postgres"
    provider = PostgresProvider(Secret(url), instance="limited")
    limited_world = World(provider)  # type: ignore[arg-type]
    try:
        applied = (await limited_world.apply(await limited_world.plans([app])))[app.name]
        assert isinstance(applied.error, Denied)
        assert f'ALTER ROLE "{limited}" CREATEDB' in applied.error.remedy
        health = await provider.diagnose()
    finally:
        await provider.close()
    assert not health.ok
    assert [p.remedy for p in health.findings if p.severity is Severity.BLOCKING] == [
        f'as a superuser: ALTER ROLE "{limited}" CREATEDB'
    ]


async def test_a_poisoned_database_runs_nothing_as_norn(
    world: World, admin: Admin, app: App
) -> None:
    """The trap: the app plants functions and settings that whoever connects would run."""
    await world.converge(app)
    name, database = app.name, database_of(app.name)
    await admin.as_app(name, database, "CREATE SCHEMA evil")
    await admin.as_app(name, database, "CREATE TABLE evil.who (who text)")
    await admin.as_app(
        name,
        database,
        "CREATE FUNCTION evil.now() RETURNS int LANGUAGE sql AS "
        "'INSERT INTO evil.who VALUES (current_user) RETURNING 1'",
    )
    await admin.as_app(
        name, database, "ALTER DATABASE {} SET search_path = evil, pg_catalog", database
    )
    row = world.owned[name]["database", database]
    world.owned[name] = {**world.owned[name], row.key: replace(row, settings={})}  # harden again
    plans = await world.plans([app])
    assert any(isinstance(a, HardenSchema) for a in plans[name].actions)
    await world.converge(app)
    assert await admin.run("SELECT who FROM evil.who", database=database) == []


async def test_an_app_that_used_up_its_connections_is_told_so(world: World, admin: Admin) -> None:
    app = app_with(AppName(fresh_name()), connections=1)
    await world.converge(app)
    session = await admin.log_in(app.name, database_of(app.name))
    proof = await world.provider.prove(app, credential(app.name))
    await session.close()
    assert not proof.ok
    assert proof.reason.startswith("TooManyConnections")
    wrong = await world.provider.prove(app, credential(app.name, generation=2))
    assert wrong.reason.startswith("WrongPassword")


async def test_a_new_generation_of_the_password_is_set_and_proven(
    world: World, admin: Admin, app: App
) -> None:
    await world.converge(app)
    wanted = world.wanted(app)
    newer = credential(app.name, generation=2)
    wanted = replace(wanted, desired=world.provider.desired(app, newer))
    seen = (await world.provider.observe({app.name: wanted}))[app.name]
    actions = world.provider.plan(wanted, seen).actions
    assert [a.summary() for a in actions] == [f'ALTER ROLE "{app.name}" PASSWORD ***']
    await world.provider.apply({app.name: actions}, OpenFence())
    assert (await world.provider.prove(app, newer)).ok
    assert not (await world.provider.prove(app, credential(app.name))).ok


async def test_where_verifiers_can_be_read_a_changed_password_is_drift(
    admin: Admin, app: App
) -> None:
    provider = PostgresProvider(Secret(admin.server.superuser_url), instance="super")
    world = World(provider)  # type: ignore[arg-type]
    try:
        done = await world.converge(app)
        assert isinstance(done[0], CreateRole)
        await admin.as_app(
            app.name, database_of(app.name), "ALTER ROLE {} PASSWORD 'own'", app.name
        )
        assert await summaries(world, app) == [f'ALTER ROLE "{app.name}" PASSWORD ***']
        await world.converge(app)
        assert (await provider.prove(app, credential(app.name))).ok
    finally:
        await provider.close()


async def test_a_lock_held_by_somebody_delays_one_app_only(admin: Admin) -> None:
    provider = PostgresProvider(Secret(admin.server.admin_url), request_timeout=3, instance="lock")
    world, apps = World(provider), [app_with(fresh_name()) for _ in range(3)]  # type: ignore[arg-type]
    try:
        plans = await world.plans(apps)
        holder = await admin.log_in_as_superuser()
        async with holder:
            await holder.execute("BEGIN")
            await holder.execute(f'CREATE ROLE "{apps[1].name}"')  # uncommitted: others wait for it
            applied = await world.apply(plans)
            await holder.execute("ROLLBACK")
        errors = [applied[a.name].error for a in apps]
        assert isinstance(errors[1], Rejected)
        assert errors[0] is errors[2] is None
        await world.confirm(apps, applied)
        await world.converge(*apps)
    finally:
        await provider.close()


@pytest.mark.parametrize(
    "barrier",
    [
        "ALTER ROLE {role} NOLOGIN",
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "ALTER DATABASE {database} CONNECTION LIMIT 0",
        "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
        "REVOKE CONNECT ON DATABASE {database} FROM {role}",
        "DROP DATABASE {database}",
    ],
)
async def test_which_password_is_set_is_told_whatever_else_bars_the_way(
    world: World, admin: Admin, app: App, barrier: str
) -> None:
    await world.converge(app)
    seen = (await world.observe([app]))[app.name]
    await admin.run(barrier.format(role=f'"{app.name}"', database=f'"{database_of(app.name)}"'))
    known, other = credential(app.name), credential(app.name, 2)
    assert not (await world.provider.prove(app, known)).ok
    assert await world.provider.fits(app, seen, [other, known]) == known
    assert await world.provider.fits(app, seen, [other]) is None


async def test_where_verifiers_can_be_read_nobody_logs_in_to_tell(admin: Admin, app: App) -> None:
    provider = PostgresProvider(Secret(admin.server.superuser_url), instance="super")
    world = World(provider)  # type: ignore[arg-type]
    try:
        await world.converge(app)
        seen = (await world.observe([app]))[app.name]
        known, other = credential(app.name), credential(app.name, 2)
        assert await provider.fits(app, seen, [other, known]) == known
        await admin.as_app(
            app.name, database_of(app.name), "ALTER ROLE {} PASSWORD 'own'", app.name
        )
        assert await provider.fits(app, seen, [other, known]) is None
        await admin.run("ALTER ROLE {} PASSWORD NULL", app.name)
        assert await provider.fits(app, seen, [other, known]) is None
    finally:
        await provider.close()
