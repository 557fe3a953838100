"""The clients that apps use, as they come from their makers, held to an app's own user."""

from __future__ import annotations

from collections.abc import Iterator

import celery
import pytest
import redis
from celery.contrib.testing.worker import start_worker

from norn_reconciler.providers.kv.rules import app_rules, modifiers
from norn_reconciler.providers.kv.state import sha256_of
from tests.integration.kv_servers import OwnServer
from tests.integration.provider_contract import credential
from tests.isolation.kv_stage import OPTIONS, A, B, Stage

PASSWORD = credential(A).password
CELERY_CHANNELS = ("/0.celery.pidbox",)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(OwnServer(tmp_path_factory.mktemp("clients"), OPTIONS)) as made:
        yield made


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_works_in_its_own_place_and_is_refused_elsewhere(
    stage: Stage, protocol: int
) -> None:
    host, port = str(stage.live["server"]).rsplit(":", 1)
    with redis.Redis(
        host, int(port), username=A, password=PASSWORD.reveal(), protocol=protocol,
        decode_responses=True, client_name="worker",
    ) as client:  # fmt: skip
        assert client.ping()
        assert client.set(f"{A}:redis-py", "1") and client.get(f"{A}:redis-py") == "1"
        with client.pipeline(transaction=True) as pipe:
            assert pipe.incr(f"{A}:redis-py").expire(f"{A}:redis-py", 60).execute() == [2, True]
        assert client.register_script("return redis.call('get', KEYS[1])")(
            keys=[f"{A}:redis-py"]
        ) == "2"  # fmt: skip
        with client.pubsub() as heard:
            heard.subscribe(f"{A}:news")
            assert heard.get_message(timeout=5)["type"] == "subscribe"
            client.publish(f"{A}:news", "hello")
            assert heard.get_message(timeout=5)["data"] == "hello"
        client.xadd(f"{A}:stream", {"a": "1"})
        client.xgroup_create(f"{A}:stream", f"group{protocol}", id="0")
        assert client.xreadgroup(f"group{protocol}", "me", {f"{A}:stream": ">"})
        client.delete(f"{A}:stream")
        for forbidden in (
            lambda: client.get(f"{B}:str"),
            lambda: client.publish(f"{B}:news", "x"),
            lambda: client.keys("*"),
            lambda: client.config_get("*"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # celery's, to redis-py
def test_celery_does_its_work_below_the_prefix(stage: Stage) -> None:
    """As docs/security.md says: a global_keyprefix, and the channel of its mailbox opted into."""
    opted = app_rules(A, A, sha256_of(credential(A)), frozenset(), channels=CELERY_CHANNELS)
    stage.admin.must("ACL", "SETUSER", A, *modifiers(opted))
    url = f"redis://{A}:{PASSWORD.reveal()}@{stage.live['server']}/0"
    app = celery.Celery("work", broker=url, backend=url)
    prefix = {"global_keyprefix": f"{A}:"}
    app.conf.update(
        broker_transport_options=prefix,
        result_backend_transport_options=prefix,
        broker_connection_retry_on_startup=False,
        worker_enable_remote_control=True,
    )

    @app.task(name="celery.ping")
    def ping() -> str:
        return "pong"

    @app.task(name="add")
    def add(one: int, other: int) -> int:
        return one + other

    stage.admin.must("ACL", "LOG", "RESET")
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        assert add.delay(40, 2).get(timeout=20) == 42
    app.close()
    assert stage.admin.must("ACL", "LOG") == [], "nothing that it wanted was refused"
