"""Whole databases change places, or nothing has changed and the live one is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.databases import Databases, Seen
from norn_reconciler.model.errors import Rejected
from tests.integration.provider_contract import fresh_name
from tests.isolation.postgres_cluster import VERSIONS, Cluster, running


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as cluster:
        yield cluster


async def seen(whole: Databases, name: str) -> Seen:
    found = await whole.seen(name)
    assert found is not None
    return found


@contextmanager
def hindered(cluster: Cluster, app: str, database: str, by: str) -> Iterator[None]:
    with cluster.superuser(database) as root, cluster.app(app, database) as own:
        if by == "prepared":
            own.autocommit = False
            own.execute("CREATE TABLE halfway (n int)")
            own.execute("PREPARE TRANSACTION 'one'")
            own.commit()
            own.close()
        elif by == "slot":
            root.execute("SELECT pg_create_logical_replication_slot('tap', 'pgoutput')")
        if by != "session":
            root.close()
        yield
        with cluster.superuser(database) as after:
            if by == "prepared":
                after.execute("ROLLBACK PREPARED 'one'")
            elif by == "slot":
                after.execute("SELECT pg_drop_replication_slot('tap')")


def test_they_change_places_at_once_or_nothing_changes(cluster: Cluster) -> None:
    app = AppName(fresh_name("whole"))
    world = cluster.provision(app)
    database = next(n for k, n in world.owned[app] if k == "database")

    async def story() -> None:
        provider = cluster.provider()
        whole = provider.whole()
        try:
            live = await seen(whole, database)
            other, aside = await whole.make(f"{database}.new", app), f"{database}.old"
            for by, words in (
                ("prepared", "prepared transactions"),
                ("slot", "replication slot tap hold"),
                ("session", "sessions of postgres"),
            ):
                with hindered(cluster, app, database, by), pytest.raises(Rejected, match=words):
                    await whole.swap(live, other, aside)
                assert (await seen(whole, database)).id == live.id, by
                with cluster.app(app, database) as conn:
                    conn.execute("SELECT 1")

            await whole.swap(live, other, aside)
            await whole.swap(live, other, aside)  # it was cut off, and nobody knows how it ended
            assert (await seen(whole, database)).id == other.id
            old = await seen(whole, aside)
            assert (old.id, old.open) == (live.id, False)
            await whole.rename(old, f"{aside}er", open=False)
            await whole.rename(old, f"{aside}er", open=False)
            assert (await seen(whole, f"{aside}er")).id == live.id

            # Whoever shut it was killed before it could go on.
            with cluster.superuser() as conn:
                conn.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
            await whole.reopen(await seen(whole, database))
            with cluster.app(app, database) as conn:
                conn.execute("SELECT 1")
            with pytest.raises(Rejected, match="not the one"):
                await whole.reopen(live)
        finally:
            await provider.close()

    asyncio.run(story())


def test_one_made_like_another_sorts_and_stores_as_that_does(cluster: Cluster) -> None:
    app = AppName(fresh_name("like"))
    cluster.provision(app)
    made = {"c": "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'POSIX'"}
    if cluster.version == "15":  # the wheel of 18 is built without ICU
        made["icu"] = "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn' LOCALE 'C' ENCODING 'UTF8'"
    else:
        made["builtin"] = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
    with cluster.superuser() as root:
        for kind, how in made.items():
            root.execute(
                f'CREATE DATABASE "{app}-{kind}" OWNER "{app}" TEMPLATE template0 {how}'  # type: ignore[arg-type]
            )

    async def story() -> None:
        provider = cluster.provider()
        try:
            for kind in made:
                await provider.whole().make(f"{app}-{kind}.new", app, like=f"{app}-{kind}")
        finally:
            await provider.close()

    asyncio.run(story())
    with cluster.superuser() as root:
        for kind in made:
            rows = root.execute(
                "SELECT to_jsonb(d) - '{oid,datname,datacl,datfrozenxid,datminmxid}'::text[]"
                "  FROM pg_database d WHERE datname = ANY (%s)",
                [[f"{app}-{kind}", f"{app}-{kind}.new"]],
            ).fetchall()
            assert len(rows) == 2
            assert rows[0] == rows[1], kind


def test_nobody_else_may_log_in_to_one_that_is_new(cluster: Cluster) -> None:
    app, other = AppName(fresh_name("mine")), AppName(fresh_name("theirs"))
    cluster.provision(app, other)

    async def made() -> Seen:
        provider = cluster.provider()
        try:
            return await provider.whole().make(f"{app}.new", app)
        finally:
            await provider.close()

    fresh = asyncio.run(made())
    cluster.app(app, fresh.name).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        cluster.app(other, fresh.name)
