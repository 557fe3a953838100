"""6. What was there before norn is taken over after showing the diff, and never dropped."""

from __future__ import annotations

import psycopg
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
)

from tests.acceptance.harness import Norn, spec, until
from tests.acceptance.services import Services


def test_a_user_and_a_topic_are_adopted_and_outlive_their_file(norn, services, name) -> None:
    app, other = name("old"), name("other")
    services.valkey.execute_command("ACL", "SETUSER", app, "on", ">secret", "~x:*", "+get")
    services.kafka.create_topics([NewTopic(f"{app}.in", 1, 1)])
    norn.write("old.yaml", spec(app, postgres=False))
    norn.write("other.yaml", spec(other, postgres=False, events=False))
    with norn.daemon(NORN_GRACE_SECONDS="0.3") as daemon:
        norn.until_ready(other)
        for kind in ("KeyspaceReady", "TopicsReady"):
            until(lambda kind=kind: norn.condition(app, kind).get("reason") == "Conflict")
        shown = norn.run("adopt", app, "--yes")
        assert "adopted" in shown and f"{app}.in" in shown
        until(lambda: norn.condition(app, "KeyspaceReady").get("reason") == "PasswordKept")
        old = services.client(app, "secret")
        assert old.ping(), "its clients go on with the password they have"
        old.close()
        assert norn.condition(app, "Ready")["status"] != "True"
        until(lambda: "norn rotate" in norn.run("status", app), told=norn.story)
        norn.run("rotate", app)
        norn.until_ready(app)
        origins = {
            r["kind"]: r["origin"]
            for r in norn.rows("SELECT * FROM reconciler.inventory WHERE app = %s", app)
        }
        assert origins["acl-user"] == "adopted" and origins["topic"] == "adopted"
        (norn.specs / "old.yaml").unlink()
        until(lambda: daemon.events("app.removed", app=app), told=norn.story)
        assert "off" in services.acl_user(app)["flags"], (
            "an adopted user is switched off, not deleted"
        )
        assert f"{app}.in" in services.topics()


def test_nothing_is_adopted_that_changed_since_it_was_shown(norn: Norn, services: Services, name):
    app = name("changed")
    services.valkey.execute_command("ACL", "SETUSER", app, "on", ">secret", "~x:*", "+get")
    norn.write("changed.yaml", spec(app, postgres=False, events=False))
    with norn.daemon():
        until(lambda: norn.condition(app, "KeyspaceReady").get("reason") == "Conflict")
        with psycopg.connect(norn.norn_db, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO reconciler.operations (kind, app, digest) VALUES ('adopt', %s, %s)",
                (app, "0" * 12),
            )
            conn.execute("NOTIFY norn_operations")
        until(lambda: norn.rows(
            "SELECT 1 FROM reconciler.operations"
                " WHERE state = 'failed' AND result LIKE '%%changed%%'"
        ))  # fmt: skip
        assert "~x:*" in str(services.acl_user(app)["keys"])


def test_the_rights_of_a_principal_without_a_user_are_nobodys_to_delete(
    norn: Norn, services: Services, name
) -> None:
    """Clients with a certificate, PLAIN or OAuth have a principal and no SCRAM user."""
    app = name("gateway")
    theirs = ACL(
        principal=f"User:{app}",
        host="*",
        operation=ACLOperation.READ,
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(ResourceType.TOPIC, f"ledger-{app}"),
    )
    services.kafka.create_acls([theirs])
    norn.write("gateway.yaml", spec(app, postgres=False, kv=False))
    norn.run("apply", code=1)
    shown = norn.condition(app, "TopicsReady")
    assert shown["reason"] == "Conflict"
    assert f"norn adopt {app}" in shown["message"]
    assert [a.resource_pattern.resource_name for a in services.acls(app)] == [f"ledger-{app}"]
    assert app not in services.scram_users()
    with norn.daemon():
        norn.run("adopt", app, "--yes")
        norn.until_ready(app)
    assert f"ledger-{app}" not in {a.resource_pattern.resource_name for a in services.acls(app)}
    (norn.specs / "gateway.yaml").unlink()
    norn.write("other.yaml", spec(name("other"), postgres=False, kv=False, events=False))
    norn.run("apply")
    assert services.acls(app) == []
    assert app not in services.scram_users()


def test_what_others_have_below_an_apps_names_is_not_given_unasked(
    norn: Norn, services: Services, name
) -> None:
    app, bystander, user = name("billing"), name("by"), name("shopd")
    services.kafka.create_topics([NewTopic(f"{app}.cards", 1, 1)])
    services.valkey.execute_command(
        "ACL", "SETUSER", user, "on", ">secret", f"~{app}:*", "+get", "+set"
    )
    norn.write("billing.yaml", spec(app, postgres=False))
    norn.write("by.yaml", spec(bystander, postgres=False))
    try:
        norn.run("apply", code=1)
        norn.until_ready(bystander)
        for kind, named in (("KeyspaceReady", user), ("TopicsReady", f"{app}.cards")):
            shown = norn.condition(app, kind)
            assert shown["reason"] == "Conflict", shown
            assert named in shown["message"] and f"norn adopt {app}" in shown["message"]
        assert app not in services.valkey.acl_users()
        assert services.acls(app) == []
        assert app not in services.scram_users()
        with norn.daemon():
            norn.run("adopt", app, "--yes")
            norn.until_ready(app)
        assert norn.run("plan", "--check")
        assert f"~{app}:*" in str(services.valkey.acl_list())
        # Whoever comes later claims nothing: the prefix is the app's.
        services.kafka.create_topics([NewTopic(f"{bystander}.late", 1, 1)])
        assert norn.run("plan", "--check")
    finally:
        services.valkey.execute_command("ACL", "DELUSER", user)
