"""Operations: asked for beside the writer, heard of, done, told."""

from contextlib import aclosing
from dataclasses import replace

import psycopg
import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import StoreUnavailable
from norn_reconciler.model.records import Operation, OperationState
from norn_reconciler.model.secret import Secret
from norn_reconciler.store import schema
from norn_reconciler.store.lease import acquire
from norn_reconciler.store.reads import StoreReads
from norn_reconciler.store.store import PostgresStore

MAIL = AppName("mail-agent")


@pytest.fixture
async def writer(fresh_norn_db):
    schema.upgrade(Secret(fresh_norn_db))
    store = PostgresStore(Secret(fresh_norn_db), instance="daemon")
    yield store
    await store.close()


@pytest.fixture
async def person(fresh_norn_db):
    store = StoreReads(Secret(fresh_norn_db), instance="cli")
    yield store
    await store.close()


async def test_a_request_is_pending_until_it_has_ended(writer, person):
    lease, _ = await acquire(writer, 60.0)
    first = await person.request(
        Operation(0, "confirm", None, arguments={"x": [1]}, digest="abc", requested_by="root")
    )
    second = await person.request(Operation(0, "pause", MAIL))
    one, two = await writer.pending_operations()
    assert (one.id, one.digest, one.arguments, one.requested_by) == (
        first,
        "abc",
        {"x": [1]},
        "root",
    )
    assert (two.id, two.kind, two.app, two.state) == (second, "pause", MAIL, OperationState.QUEUED)
    assert one.created_at is not None

    running = replace(one, state=OperationState.RUNNING, step="removing")
    await writer.update_operation(lease.epoch, running)
    assert await person.operation(first) == running
    await writer.update_operation(
        lease.epoch, replace(running, state=OperationState.DONE, step="", result="removed\0")
    )
    done = await person.operation(first)
    assert (done.state, done.result) == (OperationState.DONE, "removed\ufffd")
    assert done.finished_at >= done.created_at
    assert [o.id for o in await writer.pending_operations()] == [second]
    assert [o.id for o in await person.recent_operations()] == [second, first]
    assert [o.id for o in await person.recent_operations(MAIL)] == [second]
    assert await person.operation(999) is None


async def test_a_listener_hears_first_that_it_listens_and_then_each_request(writer, person):
    async with aclosing(writer.listen()) as calls:
        await anext(calls)
        asked = await person.request(Operation(0, "reconcile", MAIL))
        await anext(calls)
        assert [o.id for o in await writer.pending_operations()] == [asked]


async def test_a_listener_whose_connection_is_lost_says_so(writer, fresh_norn_db):
    async with aclosing(writer.listen()) as calls:
        await anext(calls)
        async with await psycopg.AsyncConnection.connect(fresh_norn_db, autocommit=True) as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'norn:daemon'"
            )
        with pytest.raises(StoreUnavailable):
            await anext(calls)
