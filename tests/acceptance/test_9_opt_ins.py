"""What a spec may ask for besides: extensions, INFO, channel patterns. Each is held to the app."""

from __future__ import annotations

import psycopg
import pytest
import valkey

from tests.acceptance.harness import Norn, database
from tests.acceptance.services import Services
from tests.servers import Servers


def opted(app: str, *, extensions: str = "", kv: str = "") -> str:
    return (
        f"app: {app}\nrole: worker\nservices:\n  postgres:\n    database: {database(app)}\n"
        f"{extensions}  kv:\n    namespace: {app}\n{kv}"
    )


@pytest.fixture
def with_contrib(norn: Norn, servers: Servers) -> Norn:
    """norn on a PostgreSQL that has the extensions of contrib; the wheel's has none."""
    fifteen = servers.postgres("15")
    if fifteen is None:
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql)")
    norn.settings = {**norn.settings, "NORN_POSTGRES_URL": fifteen.admin_url}
    return norn


def test_trusted_extensions_are_made_as_the_app(with_contrib: Norn, name) -> None:
    norn, app = with_contrib, name("ext")
    norn.write("ext.yaml", opted(app, extensions="    extensions: [citext, uuid-ossp]\n"))
    norn.run("apply")
    with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
        rows = conn.execute(
            "SELECT extname, pg_get_userbyid(extowner) FROM pg_extension WHERE extname <> 'plpgsql'"
        ).fetchall()
        assert sorted(rows) == [("citext", app), ("uuid-ossp", app)]
        assert conn.execute("SELECT 'A'::citext = 'a'").fetchone() == (True,)
    norn.run("plan", "--check")
    norn.write("ext.yaml", opted(app, extensions="    extensions: [citext, pgcrypto]\n"))
    out = norn.run("plan", app)
    assert "CREATE EXTENSION IF NOT EXISTS pgcrypto" in out
    norn.run("apply")
    with psycopg.connect(norn.env(app)["DATABASE_URL"]) as conn:
        found = {row[0] for row in conn.execute("SELECT extname FROM pg_extension")}
        assert found >= {"citext", "pgcrypto", "uuid-ossp"}, "what the list dropped stays"


def test_an_extension_that_takes_a_superuser_is_named_with_what_to_type(
    with_contrib: Norn, name
) -> None:
    norn, app, other = with_contrib, name("ext"), name("fine")
    norn.write("ext.yaml", opted(app, extensions="    extensions: [file_fdw]\n"))
    norn.write("fine.yaml", opted(other))
    norn.run("apply", code=1)
    shown = norn.condition(app, "DatabaseReady")
    assert shown["status"] == "False"
    assert "file_fdw" in shown["message"]
    assert "superuser" in shown["message"]
    assert norn.is_ready(other)


def client(norn: Norn, app: str) -> valkey.Valkey:
    return valkey.Valkey.from_url(norn.env(app)["REDIS_URL"], decode_responses=True)


def test_info_and_channels_only_where_the_spec_asks(norn: Norn, services: Services, name) -> None:
    app, plain = name("queue"), name("plain")
    wish = '    info: true\n    channels: ["jobs.*", "__keyspace@0__:*"]\n'
    norn.write("queue.yaml", opted(app, kv=wish))
    norn.write("plain.yaml", opted(plain))
    norn.run("apply")
    mine, theirs = client(norn, app), client(norn, plain)
    assert mine.info("server")["valkey_version"]
    with pytest.raises(valkey.exceptions.NoPermissionError):
        theirs.info("server")
    own, foreign = mine.pubsub(), theirs.pubsub()
    own.psubscribe(f"{app}:jobs.*", f"__keyspace@0__:{app}:*")
    assert own.get_message(timeout=2)["type"] == "psubscribe"
    assert own.get_message(timeout=2)["type"] == "psubscribe"
    mine.publish(f"{app}:jobs.one", "done")
    assert own.get_message(timeout=2)["data"] == "done"
    for pattern in (f"{app}:jobs.*", f"__keyspace@0__:{app}:*", "__keyspace@0__:*"):
        with pytest.raises(valkey.exceptions.NoPermissionError):
            foreign.psubscribe(pattern)
            foreign.get_message(timeout=2)
    for pattern in (f"{plain}:jobs.*", "__keyspace@0__:*", "__keyevent@0__:*", "*"):
        with pytest.raises(valkey.exceptions.NoPermissionError):
            other = mine.pubsub()
            other.psubscribe(pattern)
            other.get_message(timeout=2)
    for each in (own, foreign, mine, theirs):
        each.close()
    assert set(services.acl_user(app)["channels"]) >= {f"&{app}:jobs.*"}
    assert norn.run("plan", "--check")


@pytest.mark.parametrize(
    ("kv", "check"),
    [
        ('    channels: ["__keyevent@0__:*"]\n', "services.kv.channels.reserved"),
        ('    channels: [""]\n', "services.kv.channels.format"),
        ('    channels: ["a b"]\n', "services.kv.channels.format"),
        ("    info: 1\n", "services.kv.info"),
    ],
)
def test_what_cannot_be_held_to_the_namespace_is_refused(
    norn: Norn, name, kv: str, check: str
) -> None:
    app = name("bad")
    norn.write("bad.yaml", opted(app, kv=kv))
    (found,) = norn.json("validate", code=1)
    assert found["check"].startswith(check), found
    assert found["line"]
