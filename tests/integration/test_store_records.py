"""PostgresStore against a real norn_db: what goes in comes out, in few statements, fenced."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.cron import CronState
from norn_reconciler.model.errors import LeaseLost, SchemaMismatch
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.migrations import Migrated, MigrationState
from norn_reconciler.model.plan import Step
from norn_reconciler.model.records import (
    AppRecord,
    AppState,
    Changes,
    Deployment,
    ForgeState,
    HealthCheck,
    Operation,
    OperationState,
    ServiceRecord,
    SpecRecord,
)
from norn_reconciler.model.secret import CredentialMark, Secret
from norn_reconciler.model.snapshots import SnapshotRecord
from norn_reconciler.model.status import Condition, Event
from norn_reconciler.store import schema
from norn_reconciler.store.lease import acquire
from norn_reconciler.store.store import PostgresStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MAIL, SHOP = AppName("mail-agent"), AppName("shop")
READY = Condition("Ready", "True", "Converged", "all is well", NOW)
DATABASE = Held("database", "mail_db", server_id="16400")
TOPIC = Held("topic", "mail.in", HeldState.RETAINED, Origin.ADOPTED, None, {"retention.ms": "1"})


def an_app(app=MAIL, **given):
    spec = SpecRecord(f"{app}.yaml", "d1", 10, 1_799_999_999_123_456_789, '{"app":"x", "b":1}')
    return replace(AppRecord(app, spec, 1, conditions={"Ready": READY}), **given)


def a_deployment(app=MAIL, status="deployed", id="0123456789abcdef0123456789abcdef"):
    steps = (Step("create database", "ok", 12, "CREATE DATABASE"),)
    return Deployment(id, app, status, steps, None, NOW, NOW + timedelta(seconds=1))


def a_forge_state(app=MAIL, status="forged"):
    return ForgeState(app, status, (), {"postgres": ["mail_db"]}, None, NOW, NOW)


@pytest.fixture
async def store(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    store = PostgresStore(Secret(fresh_norn_db), instance="one", request_timeout=5.0)
    yield store
    await store.close()


@pytest.fixture
async def epoch(store):
    lease, _ = await acquire(store, 60.0)
    return lease.epoch


@pytest.fixture
def statements(monkeypatch):
    """Statements sent by any asynchronous cursor, BEGIN and COMMIT apart."""
    sent = []
    execute = psycopg.AsyncCursor.execute

    async def noted(self, query, params=None, **options):
        sent.append(query)
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
    return sent


async def test_a_snapshot_says_how_long_ago_an_app_was_removed(store, epoch, fresh_norn_db):
    gone = an_app(SHOP, state=AppState.REMOVED)
    await store.record(epoch, Changes(apps=[an_app(), gone]))
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute("UPDATE reconciler.apps SET updated_at = now() - interval '1 hour'")
    removed = (await store.snapshot()).removed
    assert removed.keys() == {SHOP}
    assert 3600.0 <= removed[SHOP] < 7200.0


async def test_a_new_norn_db_is_empty(store):
    found = await store.snapshot()
    assert (found.apps, found.inventory, found.services, found.key_fingerprint) == (
        {},
        {},
        {},
        None,
    )


async def test_what_is_recorded_is_what_a_snapshot_holds(store, epoch):
    app = an_app(observed_generation=1, state=AppState.REMOVED, paused=True, removal_confirmed="ok")
    mark = ServiceRecord("digest", CredentialMark("key", 2))
    changes = Changes(
        apps=(app, an_app(SHOP, conditions={})),
        inventory={
            ("postgres", MAIL): {DATABASE.key: DATABASE},
            ("events", MAIL): {TOPIC.key: TOPIC},
        },
        services={("postgres", MAIL): mark, ("kv", SHOP): ServiceRecord()},
        key_fingerprint="key",
    )
    await store.record(epoch, changes)
    found = await store.snapshot()
    assert found.apps == {MAIL: app, SHOP: an_app(SHOP, conditions={})}
    assert found.inventory == {
        "postgres": {MAIL: {DATABASE.key: DATABASE}},
        "events": {MAIL: {TOPIC.key: TOPIC}},
    }
    assert found.services == {"postgres": {MAIL: mark}, "kv": {SHOP: ServiceRecord()}}
    assert found.key_fingerprint == "key"
    assert await store.app(MAIL) == app
    assert await store.app(AppName("nobody")) is None
    assert [r.app for r in await store.apps()] == [MAIL, SHOP]
    assert await store.inventory_of(MAIL) == {
        "postgres": {DATABASE.key: DATABASE},
        "events": {TOPIC.key: TOPIC},
    }


async def test_recording_twice_is_recording_once(store, epoch):
    changes = Changes(
        apps=(an_app(),),
        inventory={("postgres", MAIL): {DATABASE.key: DATABASE}},
        services={("postgres", MAIL): ServiceRecord("d")},
        deployments=(a_deployment(),),
        forge_states=(a_forge_state(),),
    )
    await store.record(epoch, changes)
    first = await store.snapshot()
    await store.record(epoch, changes)
    assert await store.snapshot() == first
    assert len(await store.deployments()) == len(await store.forge_states()) == 1


async def test_inventory_rows_that_are_gone_are_deleted_for_the_named_apps_only(store, epoch):
    other = Held("role", "mail-agent")
    both = {DATABASE.key: DATABASE, other.key: other}
    await store.record(
        epoch, Changes(inventory={("postgres", MAIL): both, ("postgres", SHOP): both})
    )
    await store.record(epoch, Changes(inventory={("postgres", MAIL): {other.key: other}}))
    found = (await store.snapshot()).inventory["postgres"]
    assert found == {MAIL: {other.key: other}, SHOP: both}
    await store.record(epoch, Changes(inventory={("postgres", MAIL): {}}))
    assert (await store.snapshot()).inventory["postgres"] == {SHOP: both}


async def test_a_claim_is_in_the_inventory_and_becomes_owned(store, epoch):
    claim = replace(DATABASE, state=HeldState.CLAIMED, server_id=None)
    await store.claim(epoch, "postgres", {MAIL: {claim.key: claim}, SHOP: {}})
    assert await store.inventory_of(MAIL) == {"postgres": {claim.key: claim}}
    await store.record(epoch, Changes(inventory={("postgres", MAIL): {DATABASE.key: DATABASE}}))
    assert await store.inventory_of(MAIL) == {"postgres": {DATABASE.key: DATABASE}}


async def test_nothing_to_write_is_no_statement(store, epoch, statements):
    await store.record(epoch, Changes())
    await store.claim(epoch, "postgres", {})
    assert statements == []


@pytest.mark.parametrize("count", [1, 1000])
async def test_the_number_of_statements_does_not_depend_on_the_number_of_apps(
    store, epoch, statements, count
):
    names = [AppName(f"app-{n}") for n in range(count)]
    changes = Changes(
        apps=[an_app(app) for app in names],
        inventory={("postgres", app): {DATABASE.key: DATABASE} for app in names},
        services={("postgres", app): ServiceRecord("d") for app in names},
        events=[Event("app.ready", "info", app, "ready") for app in names],
        deployments=[a_deployment(app, id=f"{n:032x}") for n, app in enumerate(names)],
        forge_states=[a_forge_state(app) for app in names],
    )
    await store.record(epoch, changes)
    assert len(statements) == 7  # the lease, then one a table
    statements.clear()
    claims = {app: {TOPIC.key: TOPIC} for app in names}
    await store.claim(epoch, "events", claims)
    assert len(statements) == 2
    assert len((await store.snapshot()).inventory["events"]) == count


async def test_a_forgotten_app_leaves_its_history_only(store, epoch):
    everything = Changes(
        apps=(an_app(), an_app(SHOP)),
        inventory={("postgres", MAIL): {DATABASE.key: DATABASE}},
        services={("postgres", MAIL): ServiceRecord("d")},
        events=(Event("app.ready", "info", MAIL, "ready"),),
        deployments=(a_deployment(),),
        forge_states=(a_forge_state(), a_forge_state(SHOP)),
    )
    await store.record(epoch, everything)
    await store.record(epoch, Changes(apps=(an_app(),), forgotten=(MAIL,)))
    found = await store.snapshot()
    assert set(found.apps) == {SHOP}
    assert (found.inventory, found.services) == ({}, {})
    assert [f.app for f in await store.forge_states()] == [SHOP]
    assert len(await store.deployments(MAIL)) == len(await store.events(MAIL)) == 1


async def test_a_former_epoch_writes_nothing(store, epoch):
    await store.record(epoch, Changes(apps=(an_app(),)))
    asked = await store.request(Operation(0, "reconcile", MAIL))
    await acquire(store, 60.0)
    for attempt in (
        store.record(epoch, Changes(forgotten=(MAIL,))),
        store.claim(epoch, "kv", {MAIL: {DATABASE.key: DATABASE}}),
        store.update_operation(epoch, Operation(asked, "reconcile", MAIL, OperationState.DONE)),
        store.prune(epoch),
    ):
        with pytest.raises(LeaseLost):
            await attempt
    found = await store.snapshot()
    assert (set(found.apps), found.inventory) == ({MAIL}, {})
    assert [o.state for o in await store.pending_operations()] == [OperationState.QUEUED]


async def test_a_fault_in_one_table_leaves_all_as_they_were(store, epoch, fresh_norn_db):
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute("ALTER TABLE public.forge_states RENAME COLUMN resources TO r")
    with pytest.raises(SchemaMismatch):
        await store.record(epoch, Changes(apps=(an_app(),), forge_states=(a_forge_state(),)))
    assert (await store.snapshot()).apps == {}


async def test_texts_that_postgresql_refuses_do_not_stop_a_round(store, epoch):
    hostile = "a\0b \udc80 '; DROP TABLE reconciler.apps; -- %s $1 {} 😀"
    event = Event("problem.found", "error", MAIL, hostile, {"found": [hostile, float("nan")]})
    await store.record(epoch, Changes(apps=(an_app(),), events=(event,)))
    (seen,) = await store.events(MAIL)
    assert seen.event.message == hostile.replace("\0", "\ufffd").replace("\udc80", "?")
    assert seen.event.fields["found"][1] == "nan"


async def test_events_come_newest_first_in_the_order_they_happened(store, epoch):
    told = [Event("drift.detected", "warning", MAIL, str(n), {"n": n}, "kv") for n in range(20)]
    fleet = Event("folder.changed", "info", None, "gone")
    await store.record(epoch, Changes(events=[*told, fleet]))
    assert [e.event for e in await store.events(MAIL, limit=5)] == told[:-6:-1]
    assert (await store.events(limit=1))[0].event == fleet


async def test_retention_keeps_the_newest_of_each_app_in_batches(store, epoch, fresh_norn_db):
    events = [Event("x", "info", app, str(n)) for n in range(10) for app in (MAIL, SHOP)]
    await store.record(epoch, Changes(events=events))
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute(
            "UPDATE reconciler.events SET at = at - interval '31 days' "
            "WHERE app = 'shop' AND message::int < 8"
        )
    assert await store.prune(epoch, events_per_app=5, batch=3) == 6
    while await store.prune(epoch, events_per_app=5, batch=3):
        pass
    assert [e.event.message for e in await store.events(MAIL)] == ["9", "8", "7", "6", "5"]
    assert [e.event.message for e in await store.events(SHOP)] == ["9", "8"]


async def test_health_checks_show_the_last_of_each_service_and_go_after_a_day(
    store, epoch, fresh_norn_db
):
    checks = [
        HealthCheck(MAIL, "kv", False, 3, "NeighbourOpen"),
        HealthCheck(MAIL, "postgres", True, 9, "Verified"),
    ]
    await store.record(epoch, Changes(apps=(an_app(),), health_checks=checks))
    await store.record(epoch, Changes(health_checks=[HealthCheck(MAIL, "kv", True, 2, "Verified")]))
    shown = [(h.service, h.healthy, h.response_ms, h.reason) for h in await store.app_health()]
    assert shown == [("kv", True, 2, "Verified"), ("postgres", True, 9, "Verified")]
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute(
            "UPDATE public.health_checks SET checked_at = now() - interval '25 hours' "
            "WHERE reconciler_service = 'kv'"
        )
    assert await store.prune(epoch, batch=1) == 1
    assert await store.prune(epoch, batch=1) == 1
    assert await store.prune(epoch, batch=1) == 0
    assert [h.service for h in await store.app_health()] == ["postgres"]


async def test_deployments_and_forge_states_show_what_is_documented(store, epoch, fresh_norn_db):
    await store.record(
        epoch,
        Changes(
            deployments=(a_deployment(status="failed"), a_deployment(SHOP, "deploying", "f" * 32)),
            forge_states=(replace(a_forge_state(status="forging"), finished_at=None),),
        ),
    )
    async with await psycopg.AsyncConnection.connect(fresh_norn_db) as conn:
        rows = await conn.execute(
            "SELECT app, commit_sha, status, steps->0, error, started_at, finished_at "
            "FROM deployments ORDER BY app"
        )
        step = {"step": "create database", "status": "ok", "durationMs": 12,
                "output": "CREATE DATABASE"}  # fmt: skip
        assert await rows.fetchall() == [
            (MAIL, "", "failed", step, "", NOW, NOW + timedelta(seconds=1)),
            (SHOP, "", "deploying", step, "", NOW, None),
        ]
        rows = await conn.execute("SELECT app, status, resources, finished_at FROM forge_states")
        assert await rows.fetchall() == [(MAIL, "forging", {"postgres": ["mail_db"]}, None)]


async def test_rows_go_into_a_norn_installations_tables_and_come_out(fresh_norn_db):
    from tests.integration.test_store_schema import LEGACY  # noqa: PLC0415

    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute(LEGACY)
    schema.upgrade(Secret(fresh_norn_db))
    store = PostgresStore(Secret(fresh_norn_db), instance="one")
    try:
        lease, _ = await acquire(store, 60.0)
        ours, theirs = a_deployment(), AppName("old-app")
        changes = Changes(
            deployments=(ours,), forge_states=(a_forge_state(), a_forge_state(theirs, "forging"))
        )
        await store.record(lease.epoch, changes)
        await store.record(lease.epoch, changes)
        seen = {d.app: d for d in await store.deployments()}
        assert seen[MAIL].steps == ours.steps
        assert seen[MAIL].started_at == NOW
        assert seen[theirs].status == "building"  # not ours to fail
        assert seen[theirs].steps[0].output == "…"
        forged = {f.app: f for f in await store.forge_states()}
        assert forged[theirs].status == "forging"
        assert forged[MAIL].resources == {"postgres": ["mail_db"]}
        assert [(n.name, n.role) for n in await store.nodes()] == [("one", "leader")]
        row = CronState(MAIL, "0 * * * *", False, NOW)
        await store.record(lease.epoch, Changes(crons=(row,)))
        assert row in await store.crons()
    finally:
        await store.close()


async def test_cron_rows_come_and_go_and_a_pause_is_others_to_set(store, epoch, fresh_norn_db):
    first, other = CronState(MAIL, "0 * * * *", False, NOW), CronState(SHOP, "every noon")
    await store.record(epoch, Changes(crons=(first, other)))
    assert await store.crons() == [first, other]
    async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
        await conn.execute("UPDATE cron_states SET paused = true WHERE app = %s", (MAIL,))
        await conn.execute("INSERT INTO cron_states (app, schedule) VALUES ('theirs', '@daily')")
    await store.record(epoch, Changes(crons=(replace(first, next_run_at=None),), uncron=(SHOP,)))
    theirs = CronState(AppName("theirs"), "@daily")
    assert await store.crons() == [replace(first, paused=True, next_run_at=None), theirs]
    await store.record(epoch, Changes(forgotten=(MAIL,)))
    assert await store.crons() == [theirs]


async def test_without_tables_it_says_what_to_type(fresh_norn_db):
    store = PostgresStore(Secret(fresh_norn_db), instance="one")
    try:
        for attempt in (store.snapshot, store.require_schema):
            with pytest.raises(SchemaMismatch, match="norn db upgrade"):
                await attempt()
        schema.upgrade(Secret(fresh_norn_db))
        await store.require_schema()
    finally:
        await store.close()


async def test_a_renamed_app_has_its_copies_and_the_last_migration_of_its_data(store, epoch):
    """Whatever an app of that name once had run: its data are gone, or it could not have them."""
    copy = SnapshotRecord("m.dump", MAIL, "mail_db", "x", 1, "s", "18.1", "18.1", NOW)
    ran = Migrated(MAIL, "7", MigrationState.DONE, NOW, "7")
    stale = replace(ran, app=SHOP, revision="1", done="1")
    await store.record(epoch, Changes(migrated=[ran, stale], snapshots=[copy]))
    await store.record(epoch, Changes(renamed={MAIL: SHOP}))
    assert (await store.snapshot()).migrated == {SHOP: replace(ran, app=SHOP)}
    assert [s.app for s in await store.snapshots()] == [SHOP]
