"""What was done is taken back: shown first, done when a person agrees."""

from __future__ import annotations

import getpass
import json
from typing import Any

import psycopg
from kafka.admin import ConfigResource, ConfigResourceType

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import Services


def wish(app: str, *, connections: int, retention: int, more: str = "", readers: str = "") -> str:
    """more: of Valkey and of Kafka, a line each."""
    info, topic = more.split() if more else ("", "")
    return f"""\
app: {app}  # a comment of somebody's
role: worker
services:
  postgres:
    database: {database(app)}
    connections: {connections}
    readers: [{readers}]
  kv:
    namespace: {app}
    info: {info or "false"}
  events:
    topics:
      - name: {app}.in
        config: {{retention.ms: {retention}}}
{f"      - {topic}" if topic else ""}
"""


def held(services: Services, app: str, reader: str) -> tuple[Any, ...]:
    """What the two versions differ in, as the servers have it: attribute, membership, command,
    config, rights on a topic."""
    ((limit,),) = services.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", app)
    ((member,),) = services.sql(
        "SELECT count(*) FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member"
        " WHERE m.roleid = to_regrole(%s)::oid AND r.rolname = %s",
        f'"{app}.readers"',
        reader,
    )
    rules = " ".join(services.acl_user(app)["commands"])
    found = services.kafka.describe_configs([ConfigResource(ConfigResourceType.TOPIC, f"{app}.in")])
    config = str(found)
    acls = [str(acl) for acl in services.acls(app)]
    return (
        limit,
        bool(member),
        "+info" in rules,
        "'120000'" in config or '"120000"' in config,
        any("more.topic" in acl for acl in acls),
    )


def test_a_change_of_a_spec_is_undone_until_the_file_says_something_else(
    norn: Norn, services: Services, name
) -> None:
    app, reader = name("undo"), name("reader")
    topic = f"{name('more.topic')}"
    first = wish(app, connections=7, retention=60000)
    norn.write(
        "reader.yaml",
        f"app: {reader}\nrole: worker\nservices:\n  postgres: {{database: {database(reader)}}}\n",
    )
    norn.write("undo.yaml", first)
    with norn.daemon(NORN_GRACE_SECONDS="0.5") as daemon:
        norn.until_ready(app, reader)
        before = held(services, app, reader)
        assert before == (7, False, False, False, False)
        second = wish(app, connections=9, retention=120000, more=f"true {topic}", readers=reader)
        norn.write("undo.yaml", second)
        norn.until_ready(app, generation=2)
        until(lambda: held(services, app, reader) == (9, True, True, True, True), told=norn.story)
        rollouts = norn.rows(
            "SELECT id FROM deployments WHERE app = %s AND reconciler_generation = 2"
            " ORDER BY started_at",
            app,
        )
        id = rollouts[0]["id"][:10]

        shown = json.loads(norn.run("undo", id, "--output", "json"))
        assert "generation 1" in shown["undo"]
        told = json.dumps(shown["apps"][app])
        assert "CONNECTION LIMIT 7" in told
        assert topic in told
        assert held(services, app, reader) == (9, True, True, True, True), "only shown"

        out = norn.run("undo", id, "--yes")
        assert "until undo.yaml says something else" in out
        until(lambda: held(services, app, reader) == before, told=norn.story)
        until(lambda: norn.condition(app, "SpecAccepted").get("reason") == "Undone")
        norn.until_ready(app, generation=2)
        assert topic in services.topics(), "its data stays"
        assert norn.events("spec.undone", app)
        again = norn.ended("undo", id)
        assert again.returncode == 1
        assert "generation 1" in again.stderr
        daemon.kill()

    with norn.daemon(NORN_GRACE_SECONDS="0.5"):
        norn.until_ready(app, generation=2)
        assert norn.condition(app, "SpecAccepted")["reason"] == "Undone"
        assert held(services, app, reader) == before, "a restart forgets nothing"
        number = norn.rows("SELECT max(id) AS id FROM reconciler.operations")[0]["id"]
        norn.run("undo", str(number), "--yes")
        until(lambda: held(services, app, reader) == (9, True, True, True, True), told=norn.story)
        until(lambda: not norn.condition(app, "SpecAccepted"))
        norn.run("undo", id, "--yes")
        until(lambda: held(services, app, reader) == before, told=norn.story)
        norn.write("undo.yaml", second.replace("connections: 9", "connections: 11"))
        norn.until_ready(app, generation=3)
        until(lambda: held(services, app, reader)[0] == 11, told=norn.story)
        assert not norn.condition(app, "SpecAccepted")
        late = norn.ended("undo", id)
        assert late.returncode == 1
        assert "undo the later change first" in late.stderr


def test_what_can_not_be_undone_says_what_to_do_instead(norn_on_postgres: Norn, name) -> None:
    norn, app = norn_on_postgres, name("first")
    norn.write(
        "a.yaml",
        f"app: {app}\nrole: worker\nservices:\n  postgres: {{database: {database(app)}}}\n",
    )
    norn.run("apply")
    (row,) = norn.rows("SELECT id FROM deployments WHERE app = %s", app)
    for change, told in (
        (row["id"], "remove a.yaml"),
        ("999", "no operation 999"),
        ("nothing", "no change begins with nothing"),
        ("abcdef", "no change begins with abcdef"),
    ):
        done = norn.ended("undo", change)
        assert done.returncode == 1, change
        assert told in done.stderr, change
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], autocommit=True) as conn:
        conn.execute(f'ALTER ROLE "{app}" CONNECTION LIMIT 3')
    norn.run("apply")
    (repair,) = norn.rows("SELECT id FROM deployments WHERE id <> %s", row["id"])
    assert "write into a.yaml what is to stay" in norn.ended("undo", repair["id"]).stderr
    norn.run("pause", app)
    norn.run("apply")
    (asked,) = norn.rows("SELECT id FROM reconciler.operations")
    assert f"norn resume {app}" in norn.ended("undo", str(asked["id"])).stderr


def test_who_did_what_and_when_is_in_one_list(norn_on_postgres: Norn, name) -> None:
    norn, app, other = norn_on_postgres, name("seen"), name("unseen")
    text = (
        "app: {app}\nrole: worker\nenv: {{WORD: {word}}}\n"
        "services:\n  postgres: {{database: {database}, connections: {limit}}}\n"
    )

    def write(word: str, limit: int) -> None:
        made = text.format(app=app, word=word, database=database(app), limit=limit)
        norn.write("seen.yaml", made)

    def seen(*more: str) -> list[dict[str, Any]]:
        return norn.json("history", app, *more)["history"]  # type: ignore[no-any-return]

    write("first-w0rd", 3)
    norn.write("unseen.yaml", text.format(app=other, word="x", database=database(other), limit=1))
    norn.run("apply")
    write("second-w0rd", 4)
    norn.run("apply")
    with psycopg.connect(norn.settings["NORN_POSTGRES_URL"], autocommit=True) as conn:
        conn.execute(f'ALTER ROLE "{app}" CONNECTION LIMIT 7')
    norn.run("apply")
    norn.run("pause", app)
    norn.run("apply")

    rows = seen()
    assert {r["app"] for r in rows} == {app}
    assert [r["at"] for r in rows] == sorted((r["at"] for r in rows), reverse=True)
    assert (rows[0]["what"], rows[0]["by"], rows[0]["state"]) == (
        "pause",
        getpass.getuser(),
        "done",
    )
    rollouts = [r for r in rows if r["source"] == "rollout"]
    assert [r["generation"] for r in rollouts] == [2, 2, 1]
    assert all(r["state"] == "deployed" and r["steps"] for r in rollouts)
    assert {"spec.accepted", "drift.detected"} <= {r["what"] for r in rows}
    listed = norn.run("history", app)
    assert rollouts[0]["id"][:8] in listed
    assert rollouts[0]["what"] in listed
    assert "drift.detected" in listed
    assert len(seen("-n", "2")) == 2
    assert seen("--since", "1h") == rows
    assert seen("--since", "2999-01-01") == []
    assert {r["app"] for r in norn.json("history", "-n", "999")["history"]} >= {app, other}

    compared = norn.json("history", app, "--generation", "2")
    fields = {c["field"]: (c["before"], c["after"]) for c in compared["changes"]}
    assert compared["before"] == 1
    assert fields.pop("services.postgres.connections") == (3, 4)
    ((field, (before, after)),) = fields.items()
    assert field == "env.WORD"
    assert "w0rd" not in f"{before}{after}", "a digest"
    assert "connections" in norn.run("history", app, "--generation", "2")
    for call, told in (
        ((app, "--generation", "9"), "1 to 2 are kept"),
        (("--generation", "1"), "norn history APP"),
        (("nobody",), "no app nobody is known"),
        (("--since", "soon"), "no time is known"),
    ):
        done = norn.ended("history", *call)
        assert done.returncode == 1, call
        assert told in done.stderr, call


def test_a_restore_and_what_went_with_its_data_are_undone(norn_on_postgres: Norn, name) -> None:
    norn, app, other = norn_on_postgres, name("data"), name("other")
    norn.write("other.yaml", spec(other, kv=False, events=False))
    text = "deletionPolicy: delete\n" + spec(app, kv=False, events=False)
    norn.write("data.yaml", text)
    norn.run("apply")
    url = norn.env(app)["DATABASE_URL"]

    def value() -> list[tuple[int]]:
        with psycopg.connect(url) as conn:
            return conn.execute("SELECT n FROM precious").fetchall()

    def number() -> str:
        return str(norn.rows("SELECT max(id) AS id FROM reconciler.operations")[0]["id"])

    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE precious AS SELECT 1 AS n")
    copy = norn.json("snapshot", "create", app)["snapshot"]
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE precious SET n = 2")
    norn.run("restore", copy, "--yes")
    assert value() == [(1,)]
    restored = number()
    shown = norn.json("undo", restored)
    assert f"{database(app)}.trash." in shown["undo"]
    assert value() == [(1,)], "only shown"
    norn.run("undo", restored, "--yes")
    assert value() == [(2,)]
    norn.run("undo", number(), "--yes")
    assert value() == [(1,)], "and the undoing, too"
    assert norn.ended("undo", restored).returncode == 1, "what it put aside is live again"
    norn.run("apply")
    assert norn.is_ready(app)
    norn.run("plan", "--check")

    (norn.specs / "data.yaml").unlink()
    norn.run("apply", NORN_GRACE_SECONDS="0.1")
    gone = number()
    assert norn.events("object.destroyed", app)
    refused = norn.ended("undo", gone)
    assert refused.returncode == 1
    assert f"no file asks for {app}" in refused.stderr
    norn.write("data.yaml", text)
    norn.run("apply")
    url = norn.env(app)["DATABASE_URL"]
    norn.run("undo", gone, "--yes")
    assert value() == [(1,)]
