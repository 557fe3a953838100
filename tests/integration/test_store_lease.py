"""One writer: contenders, a killed one, a stopped one, and what the next one finds."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import LeaseHeld, LeaseLost, StoreUnavailable
from norn_reconciler.model.records import Changes, Deployment, ForgeState
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import lease as store_lease
from norn_reconciler.store import schema
from norn_reconciler.store.lease import acquire, heartbeat, keep, release, renew
from norn_reconciler.store.store import PostgresStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MARK = Changes(key_fingerprint="written")


@pytest.fixture
def database(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    return fresh_norn_db


@pytest.fixture
async def contender(database):
    """Makes stores of several instances and closes them."""
    made = []

    def make(instance):
        made.append(PostgresStore(Secret(database), instance=instance, request_timeout=5.0))
        return made[-1]

    yield make
    for store in made:
        await store.close()


async def sql(database, statement, *values):
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        cursor = await conn.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


async def expire(database, seconds=3600.0):
    """Let norn_db's clock pass."""
    await sql(
        database,
        "UPDATE reconciler.lease SET expires_at = expires_at - make_interval(secs => %s)",
        seconds,
    )


async def test_of_many_at_once_one_becomes_leader(contender):
    stores = [contender(f"n{n}") for n in range(6)]
    results = await asyncio.gather(*(acquire(s, 60.0) for s in stores), return_exceptions=True)
    won = [r for r in results if isinstance(r, tuple)]
    assert len(won) == 1
    refused = [r for r in results if isinstance(r, LeaseHeld)]
    assert len(refused) == 5
    lease, fence = won[0]
    fence.check()
    assert lease.epoch == 1
    assert {r.holder for r in refused} == {lease.holder}
    state = await stores[0].lease_holder()
    assert (state.holder, state.epoch, state.held) == (lease.holder, 1, True)


@pytest.mark.parametrize("seed", range(6))
async def test_never_two_open_fences_and_never_a_write_of_a_former_leader(
    contender, database, seed
):
    """Random steps of three instances. One pretended clock drives fences and norn_db's expiry."""
    rng = random.Random(seed)
    clock = [0.0]
    stores = [contender(f"n{n}") for n in range(3)]
    tenures = {}
    epoch = 0
    taken = lost = 0
    for _ in range(80):
        store = rng.choice(stores)
        match rng.choice(["acquire", "acquire", "renew", "renew", "write", "wait", "release"]):
            case "acquire" if store not in tenures:
                with suppress(LeaseHeld):
                    tenures[store] = await acquire(store, 30.0, clock=lambda: clock[0])
                    assert tenures[store][0].epoch == epoch + 1
                    epoch += 1
                    taken += 1
            case "renew" if store in tenures:
                lease, fence = tenures[store]
                try:
                    await renew(store, lease, fence)
                    assert lease.epoch == epoch
                except LeaseLost:
                    assert lease.epoch < epoch
                    lost += 1
                    del tenures[store]
            case "write" if store in tenures:
                lease, _ = tenures[store]
                if lease.epoch == epoch:
                    await store.record(lease.epoch, MARK)
                else:
                    with pytest.raises(LeaseLost):
                        await store.record(lease.epoch, MARK)
            case "wait":
                step = rng.choice([5.0, 20.0, 40.0])
                clock[0] += step
                await expire(database, step)
            case "release" if store in tenures and rng.random() < 0.3:
                await release(store, *tenures.pop(store))
        open_fences = [s.instance for s, (_, fence) in tenures.items() if fence.remaining > 0]
        assert len(open_fences) <= 1
    assert taken >= 3
    assert lost >= 1


async def test_a_released_lease_is_free_at_once(contender):
    one, two = contender("one"), contender("two")
    lease, fence = await acquire(one, 60.0)
    await release(one, lease, fence)
    with pytest.raises(LeaseLost):
        fence.check()
    with pytest.raises(LeaseLost):
        await one.record(lease.epoch, MARK)
    second, _ = await acquire(two, 60.0)
    assert second.epoch == lease.epoch + 1


async def test_a_renewal_between_look_and_try_keeps_the_lease(contender, database, monkeypatch):
    one, two = contender("one"), contender("two")
    lease, fence = await acquire(one, 60.0)
    await expire(database)

    async def renewed(*given):
        await renew(one, lease, fence)

    monkeypatch.setattr("norn_reconciler.store.lease._end_sessions", renewed)
    with pytest.raises(LeaseHeld, match="one holds the lease"):
        await acquire(two, 60.0)
    await one.record(lease.epoch, MARK)


async def test_of_two_that_saw_the_same_dead_holder_one_takes_over(
    contender, database, monkeypatch
):
    one, two, three = contender("one"), contender("two"), contender("three")
    await acquire(one, 60.0)
    monkeypatch.setattr("norn_reconciler.store.incarnation.is_gone", lambda name: True)
    end_sessions = store_lease._end_sessions
    taken = []

    async def raced(store, conn, holder):
        if store is two and not taken:
            taken.append(await acquire(three, 60.0))
        await end_sessions(store, conn, holder)

    monkeypatch.setattr(store_lease, "_end_sessions", raced)
    with pytest.raises(LeaseHeld, match="three holds the lease"):
        await acquire(two, 60.0)
    await three.record(taken[0][0].epoch, MARK)


async def test_a_session_opened_while_the_lease_changes_hands_is_ended_too(
    contender, database, monkeypatch
):
    two = contender("two")
    await acquire(contender("one"), 60.0)
    await expire(database)
    put_node = store_lease._put_node
    late = []

    async def slowly(*given):
        late.append(
            await psycopg.AsyncConnection.connect(
                database, autocommit=True, application_name="norn:one"
            )
        )
        await put_node(*given)

    monkeypatch.setattr(store_lease, "_put_node", slowly)
    await acquire(two, 60.0)
    async with late[0] as conn:
        with pytest.raises(psycopg.OperationalError):
            await conn.execute("SELECT 1")


async def test_a_standby_waits_with_a_heartbeat_and_then_leads(contender, database):
    one, two = contender("one"), contender("two")
    lease, fence = await acquire(one, 60.0)
    looked = asyncio.Event()

    async def nap(seconds):
        assert seconds == 1.0
        looked.set()
        await asyncio.sleep(0)

    waiting = asyncio.create_task(acquire(two, 60.0, wait=True, sleep=nap))
    await looked.wait()
    assert [(n.name, n.role) for n in await two.nodes()] == [("one", "leader"), ("two", "standby")]
    await release(one, lease, fence)
    second, _ = await waiting
    assert second.epoch == 2
    assert [(n.name, n.role, n.status) for n in await two.nodes()] == [
        ("one", "standby", "stopped"),
        ("two", "leader", "ready"),
    ]


async def test_a_new_leader_ends_the_former_ones_sessions_and_no_others(contender, database):
    one, two = contender("one"), contender("two")
    lease, _ = await acquire(one, 60.0)
    await one.snapshot()  # a connection stays in its pool
    bystander = await psycopg.AsyncConnection.connect(database, autocommit=True)
    async with bystander:
        await expire(database)
        await acquire(two, 60.0)
        names = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        await bystander.execute("SELECT 1")
        left = {row[0] for row in await sql(database, names)}
        assert "norn:one" not in left
    with pytest.raises(LeaseLost):
        await one.record(lease.epoch, MARK)  # over a new connection
    assert [(n.name, n.role, n.status) for n in await two.nodes()] == [
        ("one", "standby", "lost"),
        ("two", "leader", "ready"),
    ]


async def test_a_crash_fails_our_deployments_in_flight_and_leaves_forging_to_be_taken_up(
    contender, database
):
    one, two = contender("one"), contender("two")
    lease, _ = await acquire(one, 60.0)
    apps = [AppName("a"), AppName("b")]
    await one.record(
        lease.epoch,
        Changes(
            deployments=(
                Deployment("1", apps[0], "deploying", (), None, NOW, NOW),
                Deployment("2", apps[1], "deployed", (), None, NOW, NOW),
            ),
            forge_states=(
                ForgeState(apps[0], "forging", (), {}, None, NOW, None),
                ForgeState(apps[1], "tearing_down", (), {}, None, NOW, None),
            ),
        ),
    )
    await sql(
        database,
        "INSERT INTO deployments (id, app, commit_sha, image_tag, status, started_at) "
        "VALUES ('3', 'c', '', '', 'building', now())",
    )
    await expire(database)
    await acquire(two, 60.0)
    found = {d.id: (d.status, d.error, d.finished_at is None) for d in await two.deployments()}
    assert found == {
        "1": ("failed", "norn restarted during deployment", False),
        "2": ("deployed", None, False),
        "3": ("building", None, True),  # another tool's
    }
    assert [f.status for f in await two.forge_states()] == ["forging", "tearing_down"]


async def test_losing_norn_db_closes_the_fence_and_getting_it_back_opens_it(contender, database):
    one = contender("one")
    clock = [0.0]
    lease, fence = await acquire(one, 30.0, clock=lambda: clock[0])
    story, naps = [], []

    async def nap(seconds):
        naps.append(seconds)
        clock[0] += 10.0
        if len(naps) == 2:  # norn_db goes away
            await sql(database, "ALTER TABLE reconciler.lease RENAME TO away")
            monkey["away"] = True
        if len(naps) == 5:
            story.append(("remaining", fence.remaining))
            monkey["away"] = False
            await sql(database, "ALTER TABLE reconciler.away RENAME TO lease")
        if len(naps) == 7:  # and another takes over
            await expire(database)
            await acquire(contender("two"), 30.0)

    monkey = {"away": False}
    transaction = one.database.transaction

    def broken(*given):
        if monkey["away"]:
            raise StoreUnavailable("norn_db does not answer: told so by the test")
        return transaction(*given)

    one.database.transaction = broken
    lost = []
    await keep(
        one,
        lease,
        fence,
        lost.append,
        on_away=lambda fault: story.append("away"),
        on_back=lambda: story.append("back"),
        sleep=nap,
    )
    assert story == ["away", ("remaining", 0.0), "back"]
    assert fence.remaining == 0.0
    assert naps == [10.0, 10.0, 1.0, 1.0, 1.0, 10.0, 10.0]
    assert len(lost) == 1
    with pytest.raises(LeaseLost, match="given up"):
        fence.check()


async def test_a_heartbeat_moves_by_norn_dbs_clock(contender):
    one = contender("one")
    await heartbeat(one, 60.0)
    (first,) = await one.nodes()
    await heartbeat(one, 60.0, status="draining")
    (second,) = await one.nodes()
    assert second.updated_at > first.updated_at
    assert (second.role, second.status) == ("standby", "draining")


HOLDER = """
import asyncio, os, signal, sys
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.records import Changes
from norn_reconciler.model.secret import Secret
from norn_reconciler.store.lease import acquire
from norn_reconciler.store.store import PostgresStore

async def main():
    store = PostgresStore(Secret(os.environ["URL"]), instance=sys.argv[1], request_timeout=30.0)
    lease, fence = await acquire(store, 60.0)
    print("leading", flush=True)
    mode = sys.argv[2]
    for attempt in range(2):
        try:
            if attempt == 0:
                async with store._writing(lease.epoch) as conn:
                    await conn.execute("UPDATE reconciler.meta SET key_fingerprint = 'stopped'")
                    if mode == "stop":
                        os.kill(os.getpid(), signal.SIGSTOP)
                    if mode == "hang":
                        await asyncio.sleep(600)
            else:
                await store.record(lease.epoch, Changes(key_fingerprint="former"))
            print("written", flush=True)
        except NornError as error:
            print(type(error).__name__, flush=True)
    await store.close()

asyncio.run(main())
"""


def start_holder(database, instance, mode):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, instance, mode],
        env={**os.environ, "URL": database},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "leading\n"
    return child


async def test_a_stopped_holder_inside_a_transaction_loses_it_and_can_write_no_more(
    contender, database
):
    two = contender("two")
    await sql(database, "INSERT INTO reconciler.meta (key_fingerprint) VALUES ('before')")
    child = start_holder(database, "one", "stop")
    try:
        await asyncio.to_thread(os.waitid, os.P_PID, child.pid, os.WSTOPPED)
        with pytest.raises(LeaseHeld, match="one holds the lease"):
            await acquire(two, 60.0)  # stopped is not dead
        await expire(database)
        lease, _ = await acquire(two, 60.0)  # though the other's transaction holds the row's lock
        child.send_signal(signal.SIGCONT)
        output, _ = await asyncio.to_thread(child.communicate)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert output.split() == ["StoreUnavailable", "LeaseLost"]
    assert (await two.snapshot()).key_fingerprint == "before"
    await two.record(lease.epoch, MARK)


@pytest.mark.parametrize("instance", ["one", "two"])
async def test_a_killed_holder_is_followed_at_once_under_any_name(contender, database, instance):
    child = start_holder(database, "one", "hang")
    child.kill()
    child.communicate()
    lease, fence = await acquire(contender(instance), 60.0)
    assert lease.epoch == 2
    fence.check()


async def test_a_living_holder_of_the_same_name_is_not_followed(contender, database):
    """Two daemons with one name, or `norn apply` beside the daemon."""
    child = start_holder(database, "one", "hang")
    try:
        with pytest.raises(LeaseHeld):
            await acquire(contender("one"), 60.0)
    finally:
        child.kill()
        child.communicate()
