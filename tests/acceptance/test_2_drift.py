"""2. Somebody changes what had converged: it is repaired, with expected and found on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import Services

Break = Callable[[Services, str], object]


def _topic_config(services: Services, app: str) -> object:
    resource = ConfigResource(ConfigResourceType.TOPIC, f"{app}.in", {"retention.ms": "1000"})
    return services.kafka.alter_configs([resource])


BREAKS: dict[str, tuple[str, Break]] = {
    "an ACL revoked": ("events", lambda s, a: s.delete_acls(a)),
    "CONNECT granted to PUBLIC": (
        "postgres",
        lambda s, a: s.sql(f'GRANT CONNECT ON DATABASE "{database(a)}" TO PUBLIC'),
    ),
    "a Valkey user widened": ("kv", lambda s, a: s.valkey.execute_command(
        "ACL", "SETUSER", a, "~*", "+@all")),
    "a role's attribute": ("postgres", lambda s, a: s.sql(f'ALTER ROLE "{a}" CREATEDB')),
    "a role's connection limit": (
        "postgres", lambda s, a: s.sql(f'ALTER ROLE "{a}" CONNECTION LIMIT 3'),
    ),
    "a topic's config": ("events", _topic_config),
    "a database's owner": (
        "postgres", lambda s, a: s.sql(f'ALTER DATABASE "{database(a)}" OWNER TO norn_admin'),
    ),
    "a Valkey user deleted": ("kv", lambda s, a: s.valkey.acl_deluser(a)),
}  # fmt: skip

SPEC = """\
app: {app}
role: worker
services:
  postgres: {{database: {database}}}
  kv: {{namespace: {app}}}
  events: {{topics: [{{name: {app}.in, config: {{retention.ms: 86400000}}}}]}}
"""


def test_each_kind_of_drift_is_repaired_and_recorded(norn: Norn, services: Services, name) -> None:
    app = name("drift")
    norn.write("drift.yaml", SPEC.format(app=app, database=database(app)))
    with norn.daemon(NORN_RESYNC_SECONDS="3600") as daemon:
        norn.until_ready(app)
        assert not daemon.events("drift.detected")
        for what, (service, break_it) in BREAKS.items():
            before = len(norn.events("drift.detected", app))
            break_it(services, app)
            norn.run("reconcile", app, "--wait")
            news = norn.events("drift.detected", app)[before:]
            assert news, what
            assert {n["service"] for n in news} == {service}, what
            assert all(n["fields"]["expected"] or n["fields"]["found"] for n in news), (what, news)
            assert norn.run("plan", app, "--check"), what


def test_the_resync_repairs_without_being_asked(norn: Norn, services: Services, name) -> None:
    app = name("resync")
    norn.write("resync.yaml", spec(app))
    with norn.daemon(NORN_RESYNC_SECONDS="1"):
        norn.until_ready(app)
        services.sql(f'GRANT CONNECT ON DATABASE "{database(app)}" TO PUBLIC')
        until(lambda: norn.events("drift.detected", app), told=norn.story)
        norn.run("plan", app, "--check")


def test_a_clean_resync_writes_no_row_per_app(norn: Norn, services: Services, name) -> None:
    apps = [name(f"clean{i}") for i in range(3)]
    for app in apps:
        norn.write(f"{app}.yaml", spec(app))
    with norn.daemon(NORN_RESYNC_SECONDS="0.3"):
        norn.until_ready(*apps)
        tables = [f"reconciler.{t}" for t in ("apps", "inventory", "services", "events")]
        tables += [f"public.{t}" for t in ("deployments", "forge_states", "health_checks")]

        def versions() -> object:
            return [
                norn.rows(f"SELECT array_agg(xmin::text ORDER BY ctid) v FROM {t}") for t in tables
            ]

        def looks() -> int:
            stats = services.valkey.info("commandstats")
            return int(stats.get("cmdstat_acl|list", {}).get("calls", 0))

        # One look first: the rounds that made the apps may still be finishing.
        seen = looks()
        until(lambda: looks() > seen + 1)
        before, seen = versions(), looks()
        until(lambda: looks() > seen + 3)
        assert versions() == before


def test_a_topic_that_vanished_is_made_again_with_an_error(norn, services, name) -> None:
    app = name("topic")
    norn.write("topic.yaml", spec(app, postgres=False, kv=False))
    with norn.daemon() as daemon:
        norn.until_ready(app)
        services.kafka.delete_topics([f"{app}.in"])
        until(lambda: f"{app}.in" not in services.topics())
        norn.run("reconcile", app, "--wait")
        assert f"{app}.in" in services.topics()
        lost = norn.events("data.missing", app)
        assert [e["severity"] for e in lost] == ["error"]
        assert daemon.events("data.missing", app=app)


def test_a_database_that_vanished_waits_for_a_person(norn, services, name) -> None:
    app = name("gone")
    norn.write("gone.yaml", spec(app))
    with norn.daemon():
        norn.until_ready(app)
        services.sql(f'DROP DATABASE "{database(app)}" WITH (FORCE)')
        norn.run("reconcile", app, "--wait", code=1)
        condition = norn.condition(app, "DatabaseReady")
        assert (condition["status"], condition["reason"]) == ("False", "DataMissing")
        assert services.owner(database(app)) is None
        assert norn.condition(app, "KeyspaceReady")["status"] == "True"
        digest = condition["message"].split("norn confirm ")[1].split()[0]
        norn.run("confirm", "0" * 12, code=1)
        norn.run("confirm", digest)
        until(lambda: services.owner(database(app)) == app, told=norn.story)
        norn.until_ready(app)


@pytest.mark.parametrize("service", ["postgres", "kv"])
def test_a_name_that_is_taken_is_a_conflict_and_left_alone(norn, services, name, service) -> None:
    app = name("taken")
    if service == "postgres":
        services.sql(f'CREATE ROLE "{app}" LOGIN')
    else:
        services.valkey.execute_command("ACL", "SETUSER", app, "on", "nopass", "~x:*", "+get")
    norn.write("taken.yaml", spec(app, events=False))
    norn.run("apply", code=1)
    kind = {"postgres": "DatabaseReady", "kv": "KeyspaceReady"}[service]
    condition = norn.condition(app, kind)
    assert condition["reason"] == "Conflict"
    assert f"norn adopt {app}" in condition["message"]
    if service == "kv":
        assert "~x:*" in str(services.acl_user(app)["keys"])


def test_what_norn_may_not_repair_says_what_a_superuser_types(norn, services, name) -> None:
    app = name("owner")
    norn.write("owner.yaml", spec(app, kv=False, events=False))
    norn.run("apply")
    services.sql(f'ALTER DATABASE "{database(app)}" OWNER TO postgres')
    norn.run("apply", code=1)
    condition = norn.condition(app, "DatabaseReady")
    assert condition["reason"] == "Denied"
    assert f"ALTER DATABASE {database(app)} OWNER TO" in condition["message"].replace('"', "")
