"""An app that turns what it owns against norn: no code of it runs as anybody else, norn mends it or
says what is wrong within a bounded time, and its neighbours notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from norn_reconciler.model.app import App
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.outcome import NEIGHBOUR_OPEN
from norn_reconciler.model.plan import Severity
from tests.integration.postgres_admin import app_with, database_of
from tests.integration.provider_contract import World, credential, fresh_name
from tests.isolation.postgres_cluster import VERSIONS, Cluster, running
from tests.isolation.postgres_hostile import (
    BOUND,
    ROUNDS,
    SECONDS,
    TRAP,
    Scene,
    forget_what_was_done_inside,
    rounds,
    within,
)
from tests.isolation.postgres_hostile_acts import ACTS, REFUSED, Act

LIMIT = 5  # connections of the hostile app


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def neighbour(cluster: Cluster) -> tuple[App, World]:
    """One for all tests of a server: each leaves it whole."""
    name = fresh_name("neighbour")
    return app_with(name), cluster.provision(name)


@pytest.fixture
async def scene(cluster: Cluster, neighbour: tuple[App, World]) -> AsyncIterator[Scene]:
    provider = cluster.provider(request_timeout=SECONDS)
    world = World(provider, dict(neighbour[1].owned), dict(neighbour[1].marks))  # type: ignore[arg-type]
    hostile = app_with(fresh_name("hostile"), connections=LIMIT)
    made = Scene(cluster, world, hostile, neighbour[0])
    await world.converge(made.hostile, made.neighbour)
    made.act(TRAP)
    yield made
    made.close()
    await provider.close()


def without(app: App) -> App:
    """The same app once its file is gone."""
    return replace(app, sections={})


def with_room(app: App, connections: int) -> App:
    """The same app with another limit: something for norn to do."""
    return app_with(app.name, connections=connections)


def logs_in(scene: Scene, app: App) -> bool:
    try:
        scene.log_in(app).close()
    except psycopg.OperationalError as fault:
        assert "FATAL" in str(fault)
        return False
    return True


@pytest.mark.parametrize("act", ACTS, ids=[act.name for act in ACTS])
async def test_norn_is_neither_subverted_nor_stuck_and_neighbours_converge(
    scene: Scene, act: Act, record_property: Callable[[str, object], None]
) -> None:
    world, hostile, neighbour = scene.world, scene.hostile, scene.neighbour
    most = 1 if act.hold else ROUNDS  # each waits for the lock anew
    powers = scene.powers()
    scene.act(*act.statements, hold=act.hold)
    with within(BOUND):
        first = await rounds(world, hostile, with_room(neighbour, 7), most=most)
        forget_what_was_done_inside(world, hostile)
        inside = await rounds(world, hostile, with_room(neighbour, 8), most=most)
    if act.hold:  # what removal makes of these is the next test's
        scene.close()
    with within(BOUND):
        removed = await rounds(world, without(hostile), with_room(neighbour, 9))
    line = f"hostile postgres {scene.cluster.version}: {act.name}: "
    line += f"{first[hostile.name].outcome}, inside {inside[hostile.name].outcome}"
    print(line)
    record_property("hostile", line)
    assert first[hostile.name].outcome in act.first.split("|"), first[hostile.name]
    assert inside[hostile.name].outcome in act.inside.split("|"), inside[hostile.name]
    for seen in (first, inside, removed):
        assert seen[neighbour.name].outcome == "repaired", seen[neighbour.name]
    assert removed[hostile.name].rests, removed[hostile.name]
    assert scene.sessions(hostile) == 0
    assert not logs_in(scene, hostile)
    assert logs_in(scene, neighbour)
    assert scene.caught() <= {(hostile.name, hostile.name)}
    assert scene.powers() == powers


async def test_what_the_server_itself_refuses(scene: Scene) -> None:
    for statement, codes in REFUSED:
        with pytest.raises(psycopg.Error) as refused:
            scene.act(statement)
        assert refused.value.sqlstate in codes.split(), statement
    assert (await scene.world.plans([scene.hostile]))[scene.hostile.name].actions == ()


async def test_the_trap_bites_whoever_comes_by_the_owners_path(scene: Scene) -> None:
    """Else nothing above would tell anything."""
    scene.act("ALTER DATABASE {h_db} SET search_path = evil, pg_catalog")
    with scene.cluster.superuser(database_of(scene.hostile.name)) as conn:
        conn.execute("SELECT version()")
    assert scene.caught() == {("postgres", "postgres")}


async def test_what_is_set_between_norns_look_and_its_login_traps_nobody(scene: Scene) -> None:
    """norn works inside while the owner's settings are in force: it took them back just before."""
    world, hostile, powers = scene.world, scene.hostile, scene.powers()
    for act in (act for act in ACTS if act.statements[0].startswith("ALTER DATABASE {h_db} SET")):
        forget_what_was_done_inside(world, hostile)
        plans = await world.plans([hostile])
        assert plans[hostile.name].actions
        scene.act(*act.statements)
        with within(BOUND):
            await world.confirm([hostile], await world.apply(plans))
            seen = await rounds(world, hostile)
        assert seen[hostile.name].outcome == "repaired", act.name
        assert scene.caught() <= {(hostile.name, hostile.name)}, act.name
    assert scene.powers() == powers


async def test_an_app_without_room_for_norns_login_is_reported_and_removed(scene: Scene) -> None:
    hostile, neighbour = scene.hostile, scene.neighbour
    scene.held += [scene.log_in(hostile) for _ in range(LIMIT)]
    with within(BOUND):
        seen = await rounds(scene.world, hostile, with_room(neighbour, 7))
        assert "too many connections" in seen[hostile.name].proof.reason
        forget_what_was_done_inside(scene.world, hostile)
        seen = await rounds(scene.world, hostile, with_room(neighbour, 8))
        assert seen[hostile.name].outcome == "reported"
        assert "too many connections" in seen[hostile.name].errors[0]
        assert seen[neighbour.name].outcome == "repaired"
        removed = await rounds(scene.world, without(hostile), neighbour)
    assert removed[hostile.name].rests
    assert scene.sessions(hostile) == 0


ROLE_LOCKED = ("BEGIN", "ALTER ROLE {h} PASSWORD 'x'")


async def test_an_open_transaction_does_not_hold_off_removal(scene: Scene) -> None:
    hostile, neighbour = scene.hostile, scene.neighbour
    scene.act(*ROLE_LOCKED, hold=True)
    removed = await rounds(scene.world, without(hostile), with_room(neighbour, 7), most=2)
    assert removed[neighbour.name].outcome == "repaired"
    assert scene.sessions(hostile) == 0
    assert not logs_in(scene, hostile)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="as above; and where prepared transactions are enabled, no session is needed for it",
)
async def test_a_prepared_transaction_does_not_hold_off_removal(scene: Scene) -> None:
    hostile, neighbour = scene.hostile, scene.neighbour
    gid = f"of {hostile.name}"
    scene.act(*ROLE_LOCKED, f"PREPARE TRANSACTION '{gid}'")
    try:
        removed = await rounds(scene.world, without(hostile), with_room(neighbour, 7), most=1)
        assert removed[neighbour.name].outcome == "repaired"
        assert not logs_in(scene, hostile)
    finally:
        with scene.cluster.superuser(database_of(hostile.name)) as conn:
            conn.execute(f"ROLLBACK PREPARED '{gid}'")


async def test_locks_on_a_neighbour_do_not_hold_off_its_removal(scene: Scene) -> None:
    hostile, neighbour = scene.hostile, scene.neighbour
    held = next(act for act in ACTS if act.name == "the neighbour's role and database held")
    scene.act(*held.statements, hold=True)
    with within(BOUND):
        removed = await rounds(scene.world, without(neighbour), hostile)
        assert removed[neighbour.name].rests
        assert not logs_in(scene, neighbour)
        back = await rounds(scene.world, neighbour, hostile)
    assert back[neighbour.name].outcome == "repaired"


async def test_two_apps_that_conspire_lose_only_what_is_theirs(scene: Scene) -> None:
    """One lets the other in, who from there drops its own database: nobody else notices."""
    hostile, friend, third = scene.hostile, *(app_with(fresh_name(n)) for n in ("friend", "third"))
    await scene.world.converge(friend)
    scene.act(f'GRANT CONNECT ON DATABASE {{h_db}} TO "{friend.name}"')
    with scene.log_in(friend, database_of(hostile.name)) as conn:
        conn.execute(f'DROP DATABASE "{database_of(friend.name)}" WITH (FORCE)')
    with within(BOUND):
        seen = await rounds(scene.world, hostile, friend, third)
    assert seen[friend.name].problem == "DataMissing"
    assert seen[hostile.name].outcome == "repaired"
    assert seen[third.name].outcome == "repaired"
    assert scene.caught() <= {(hostile.name, hostile.name)}


async def test_grants_to_everybody_are_taken_back_or_named(scene: Scene) -> None:
    """Roles that are not norn's keep what they were given, and a person is told of each."""
    roles = [f"stranger_{number}_{scene.hostile.name}" for number in range(20)]
    with scene.cluster.superuser() as conn:
        for role in roles:
            conn.execute(f'CREATE ROLE "{role}"')
    scene.act(*(f'GRANT CONNECT ON DATABASE {{h_db}} TO "{role}"' for role in roles))
    seen = await rounds(scene.world, scene.hostile, scene.neighbour)
    assert seen[scene.hostile.name].outcome == "harmless"
    plan = (await scene.world.plans([scene.hostile]))[scene.hostile.name]
    named = [p.message for p in plan.problems if p.reason == "ForeignGrant"]
    assert len(named) == len(roles)
    assert all(problem.severity is Severity.WARNING for problem in plan.problems)


OPENED = "GRANT CONNECT ON DATABASE {h_db} TO "


@pytest.mark.parametrize("grantee", ["{n}", "PUBLIC", "{n} WITH GRANT OPTION"])
async def test_an_owner_cannot_spoil_a_neighbours_proof(scene: Scene, grantee: str) -> None:
    """It is the owner's drift, which the owner's round takes back."""
    provider, hostile, neighbour = scene.world.provider, scene.hostile, scene.neighbour
    scene.act(OPENED + grantee)
    scene.log_in(neighbour, database_of(hostile.name)).close()
    known = credential(neighbour.name)
    proof = await provider.trespass(neighbour, known, hostile)
    assert proof.ok, proof.reason
    seen = await rounds(scene.world, hostile, neighbour)
    assert seen[hostile.name].outcome == "repaired"
    assert (await provider.trespass(neighbour, known, hostile)).ok


async def test_an_owner_that_opens_all_the_time_cannot_either(scene: Scene) -> None:
    hostile, neighbour = scene.hostile, scene.neighbour
    known, stop = credential(neighbour.name), threading.Event()

    def open_and_shut() -> None:
        with scene.log_in(hostile) as conn:
            while not stop.is_set():
                for act in (OPENED + "{n}", "REVOKE CONNECT ON DATABASE {h_db} FROM {n}"):
                    with contextlib.suppress(psycopg.errors.InternalError_):  # updated at once
                        conn.execute(act.format_map(scene.words()))

    opening = threading.Thread(target=open_and_shut)
    opening.start()
    try:
        proofs = [await scene.world.provider.trespass(neighbour, known, hostile) for _ in range(10)]
    finally:
        stop.set()
        opening.join()
    assert [proof.reason for proof in proofs] == [""] * 10


@pytest.mark.parametrize(
    ("opened", "shut"),
    [
        ("GRANT {h} TO {n}", "REVOKE {h} FROM {n}"),
        (
            "CREATE ROLE lets_in; GRANT CONNECT ON DATABASE {h_db} TO lets_in; "
            "GRANT lets_in TO {n}",
            "REVOKE CONNECT ON DATABASE {h_db} FROM lets_in; DROP ROLE lets_in",
        ),
        ("ALTER ROLE {n} SUPERUSER", "ALTER ROLE {n} NOSUPERUSER"),
    ],
)
async def test_what_is_no_owners_doing_fails_the_proof(
    scene: Scene, opened: str, shut: str
) -> None:
    provider, neighbour = scene.world.provider, scene.neighbour
    known = credential(neighbour.name)
    with scene.cluster.superuser() as conn:
        conn.execute(opened.format_map(scene.words()))
        try:
            proof = await provider.trespass(neighbour, known, scene.hostile)
        finally:
            conn.execute(shut.format_map(scene.words()))
    assert (proof.ok, proof.kind) == (False, NEIGHBOUR_OPEN)
    assert (await provider.trespass(neighbour, known, scene.hostile)).ok


async def test_a_grant_option_for_an_older_app_does_not_keep_a_database_open(scene: Scene) -> None:
    scene.act(
        "GRANT ALL ON DATABASE {h_db} TO PUBLIC",
        "GRANT ALL ON DATABASE {h_db} TO {n} WITH GRANT OPTION",
    )
    seen = await rounds(scene.world, scene.hostile, scene.neighbour)
    assert seen[scene.hostile.name].outcome == "repaired"


@pytest.mark.parametrize("what", ["ROLE {h}", "DATABASE {h_db}"])
async def test_an_apps_own_settings_cost_norn_nothing(scene: Scene, what: str) -> None:
    size = 2_000_000
    scene.act(
        f"DO $$ BEGIN EXECUTE 'ALTER {what} SET temp_tablespaces = '"
        f" || quote_literal(repeat('x', {size})); END $$"
    )
    seen = await scene.world.observe([scene.hostile])
    assert len(repr(seen)) < size // 10


async def test_a_dear_verifier_does_not_stop_norn(scene: Scene) -> None:
    keys = "A" * 43 + "="
    verifier = f"SCRAM-SHA-256$3000000:c2FsdHNhbHRzYWx0c2FsdA==${keys}:{keys}"
    scene.act(f"ALTER ROLE {{h}} PASSWORD '{verifier}'")
    pauses: list[float] = []

    async def heart() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - began)

    beating = asyncio.create_task(heart())
    await asyncio.sleep(0.05)
    patient = scene.cluster.provider(request_timeout=30)
    one = credential(scene.hostile.name)
    with contextlib.suppress(ServiceError):
        await patient.prove(scene.hostile, one)
    with contextlib.suppress(ServiceError):
        await patient.trespass(scene.hostile, one, scene.neighbour)
    await patient.close()
    forget_what_was_done_inside(scene.world, scene.hostile)
    await rounds(scene.world, scene.hostile, scene.neighbour)
    beating.cancel()
    assert max(pauses) < 1.0


async def test_a_schema_public_of_somebody_elses_is_not_said_to_be_closed(scene: Scene) -> None:
    database = database_of(scene.hostile.name)
    with scene.cluster.superuser(database) as conn:
        conn.execute("ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO PUBLIC")
    forget_what_was_done_inside(scene.world, scene.hostile)
    seen = await rounds(scene.world, scene.hostile, scene.neighbour)
    query = "SELECT has_schema_privilege('pg_monitor', 'public', 'CREATE')"
    with scene.cluster.superuser(database) as conn:
        still_open = conn.execute(query).fetchone() == (True,)
    assert not still_open or seen[scene.hostile.name].outcome == "reported"
