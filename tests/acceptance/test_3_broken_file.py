"""3. A broken file changes nothing: the last good version stays in force, across restarts too."""

from __future__ import annotations

from tests.acceptance.harness import Norn, database, spec, until
from tests.acceptance.services import Services


def test_a_broken_file_changes_nothing_even_across_a_restart(norn, services, name) -> None:
    app, other = name("good"), name("other")
    norn.write("good.yaml", spec(app))
    norn.write("other.yaml", spec(other, events=False))
    with norn.daemon() as daemon:
        norn.until_ready(app, other)
        norn.write("good.yaml", f"app: {app}\nrole: worker\nservices:\n  postgres: [\n")
        rejected = until(lambda: daemon.events("spec.rejected"))[0]
        assert rejected["file"] == "good.yaml"
        assert rejected["line"] >= 4 and rejected["column"] >= 1
        assert rejected["check"].startswith("spec.yaml") and rejected["message"]
    with norn.daemon(NORN_RESYNC_SECONDS="1", NORN_GRACE_SECONDS="0.1") as daemon:
        until(lambda: daemon.events("spec.rejected"))
        services.sql(f'GRANT CONNECT ON DATABASE "{database(app)}" TO PUBLIC')
        until(lambda: norn.events("drift.detected", app), told=norn.story)
        assert services.can_login(app) is True
        assert services.acl_user(app) is not None
        assert not norn.events("removal.scheduled")
        row = norn.app(app)
        assert row is not None and row["generation"] == 1
    assert norn.run("validate", code=1)


def test_status_alone_tells_of_files_that_can_not_be_used(norn: Norn, name) -> None:
    app = name("good")
    norn.write("good.yaml", spec(app, events=False))
    with norn.daemon():
        norn.until_ready(app)
        norn.write("good.yaml", f"app: {app}\nrole: nobody\n")
        norn.write("new.yaml", "role: worker\n")
        until(lambda: norn.condition(app, "SpecAccepted").get("status") == "False")
        assert "good.yaml:2:" in norn.condition(app, "SpecAccepted")["message"]
        assert norn.is_ready(app), "the last good version is in force"
        refused = norn.json("status")["refused"]
        assert [text.split(":")[0] for text in refused] == ["good.yaml", "new.yaml"]
        shown = norn.run("status")
        assert "new.yaml:1:1" in shown and "spec.app.required" in shown
        assert "good.yaml:2:" in norn.run("describe", app)
        events = norn.events("spec.rejected")
        assert sorted(e["app"] for e in events) == ["", app]
    with norn.daemon() as daemon:
        until(lambda: daemon.events("spec.rejected"))
        norn.write("good.yaml", spec(app, events=False))
        (norn.specs / "new.yaml").unlink()
        until(lambda: norn.json("status")["refused"] == [])
        until(lambda: not norn.condition(app, "SpecAccepted"))
        assert len(norn.events("spec.rejected")) == 2, "told once, though another looked, too"


def test_one_apps_fault_leaves_every_other_app_converged(norn: Norn, name) -> None:
    good = [name(f"fine{i}") for i in range(4)]
    for app in good:
        norn.write(f"{app}.yaml", spec(app))
    norn.write("bad.yaml", "app: Bad_Name\nrole: worker\nservice: {}\n")
    out = norn.run("apply", code=1)
    assert "4 of 4 apps converged" in out
    findings = norn.json("validate", code=1)
    assert {f["file"].split("/")[-1] for f in findings} == {"bad.yaml"}
    assert any("services" in f["message"] for f in findings), "did you mean"


def test_a_truncated_write_is_never_taken_for_a_wish(norn, services: Services, name) -> None:
    """A file that is written slowly, in place: each state on the way is valid YAML or nearly."""
    app = name("slow")
    text = spec(app)
    norn.write("slow.yaml", text)
    with norn.daemon(NORN_GRACE_SECONDS="0.1") as daemon:
        norn.until_ready(app)
        path = norn.specs / "slow.yaml"
        with path.open("w") as out:
            for line in text.splitlines(keepends=True):
                out.write(line)
                out.flush()
                until(lambda: daemon.process.poll() is None)
        until(lambda: path.read_text() == text)
        norn.until_ready(app)
        assert services.acl_user(app) is not None
        assert not norn.events("object.retained", app)
