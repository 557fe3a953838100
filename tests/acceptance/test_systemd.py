"""systemd/norn-reconciler.service under a real systemd, installed by what `make install` runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from norn_reconciler.snapshots import clients
from tests.acceptance.harness import MAIL_AGENT, Norn, database, spec, until
from tests.acceptance.services import Services
from tests.acceptance.systemd_namespace import CHECKOUT, Machine, obstacle

UNIT = "norn-reconciler"
PREFIX = "/opt/norn-reconciler"
ETC = "/etc/norn-reconciler"
CREDENTIALS = "/var/lib/norn-reconciler/credentials"
# systemd's own measure, 0 (closed) to 10 (wide open); the unit's is well below what it calls OK.
EXPOSURE_LIMIT = 2.0


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Booted, with norn installed and not yet configured."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(f"this machine does not allow a systemd in namespaces: {reason}")
    with Machine() as found:
        said = found.run(f"{CHECKOUT}/infra/install")
        assert "systemctl enable --now norn-reconciler" in said
        yield found


@pytest.fixture
def service(machine: Machine, norn: Norn) -> Iterator[Machine]:
    """Enabled and started as the installer's last line says, with this test's connections."""
    assert '"' not in str(norn.settings) and "$" not in str(norn.settings)
    lines = [f"{k}={v}" for k, v in {**norn.settings, "NORN_DATABASE_URL": norn.norn_db}.items()]
    machine.put(f"{ETC}/norn.env", "\n".join(lines) + "\n", "0600")
    machine.run("systemctl", "enable", "--now", UNIT)
    yield machine
    machine.run("systemctl", "disable", "--now", UNIT)


def drop(machine: Machine, name: str, text: str) -> None:
    machine.put(f"{ETC}/specs/{name}", text)


def delivered(machine: Machine, app: str) -> Mapping[str, str]:
    lines = machine.run("cat", f"{CREDENTIALS}/{app}.env").splitlines()
    return dict(line.split("=", 1) for line in lines)


def journal_tells(machine: Machine, event: str, app: str) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [
        entry
        for entry in machine.journal(UNIT)
        if entry["line"].get("event") == event and entry["line"].get("app") == app
    ]


def until_ready(machine: Machine, norn: Norn, app: str) -> None:
    until(
        lambda: norn.is_ready(app),
        30.0,
        told=lambda: machine.run("journalctl", "-u", UNIT, "--no-pager", "-n", "60"),
    )


def test_installing_makes_a_key_a_user_and_folders_and_keeps_them(machine: Machine) -> None:
    looked = machine.run(
        "stat", "-c", "%n %a %U", ETC, f"{ETC}/specs", f"{ETC}/master.key", f"{ETC}/norn.env"
    )
    assert looked.splitlines() == [
        f"{ETC} 755 root",
        f"{ETC}/specs 755 root",
        f"{ETC}/master.key 600 root",
        f"{ETC}/norn.env 600 root",
    ]
    assert machine.run("getent", "passwd", UNIT).rstrip().endswith("/usr/sbin/nologin")

    before = machine.run("sha256sum", f"{ETC}/master.key")
    machine.run(f"{CHECKOUT}/infra/install")
    create = (
        "env",
        f"NORN_MASTER_KEY_FILE={ETC}/master.key",
        f"{PREFIX}/bin/norn",
        "key",
        "create",
    )
    assert "never replaced" in machine.run("bash", "-c", '"$@" 2>&1', "bash", *create, code=1)
    assert machine.run("sha256sum", f"{ETC}/master.key") == before


def test_systemd_finds_no_fault_in_the_unit(machine: Machine) -> None:
    done = machine.run("bash", "-c", f"systemd-analyze verify {UNIT}.service 2>&1")
    assert UNIT not in done, done


def test_the_unit_leaves_little_exposed(machine: Machine) -> None:
    said = machine.run("systemd-analyze", "security", "--no-pager", f"{UNIT}.service")
    level = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert level is not None, said
    assert float(level[1]) <= EXPOSURE_LIMIT, said


def test_a_dropped_file_converges_under_systemd(
    service: Machine, norn: Norn, services: Services, name: Callable[[str], str]
) -> None:
    # `enable --now` returned: with Type=notify that is after the daemon said READY=1.
    assert service.run("systemctl", "is-active", UNIT).strip() == "active"
    assert service.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert service.show(UNIT, "Type") == "notify"
    pid = service.show(UNIT, "MainPID")
    assert service.run("stat", "-c", "%U", f"/proc/{pid}").strip() == UNIT

    app = name("mail")
    drop(service, "mail.yaml", MAIL_AGENT.format(app=app, database=database(app)))
    until_ready(service, norn, app)

    assert services.owner(database(app)) == app
    assert app in services.scram_users()
    assert services.acl_user(app)
    ours = until(journal_tells(service, "app.ready", app))[0]
    assert ours["_SYSTEMD_UNIT"] == f"{UNIT}.service"
    assert set(ours["line"]["changes"]) == {"postgres", "kv", "events"}
    assert service.run("stat", "-c", "%a %U", f"{CREDENTIALS}/{app}.env").split() == ["600", UNIT]
    assert delivered(service, app)["DATABASE_URL"].startswith(f"postgres://{app}:")
    # The key came by LoadCredential=: the daemon made none of its own.
    assert "master.key" not in service.run("ls", "-A", "/var/lib/norn-reconciler")
    journal = service.run("journalctl", "-u", UNIT, "--no-pager")
    assert delivered(service, app)["KAFKA_SASL_PASSWORD"] not in journal


def test_the_journal_knows_errors_from_news(
    service: Machine, norn: Norn, name: Callable[[str], str]
) -> None:
    app = name("good")
    drop(service, "broken.yaml", "app: broken\nrole: nonsense\n")
    drop(service, "good.yaml", spec(app, kv=False, events=False))
    until_ready(service, norn, app)

    def errors() -> list[dict[str, Any]]:
        return [e for e in service.journal(UNIT, "-p", "err") if e["_COMM"].startswith("norn")]

    until(lambda: [e for e in errors() if e["line"].get("event") == "spec.rejected"])
    assert {e["line"]["level"] for e in errors()} == {"error"}
    assert {e["PRIORITY"] for e in errors()} == {"3"}
    (ready,) = journal_tells(service, "app.ready", app)()
    assert ready["PRIORITY"] == "6"
    service.run("rm", f"{ETC}/specs/broken.yaml")


def test_a_killed_daemon_is_started_again_and_converges(
    service: Machine, norn: Norn, services: Services, name: Callable[[str], str]
) -> None:
    first, second = name("first"), name("second")
    drop(service, "first.yaml", spec(first))
    until_ready(service, norn, first)
    credentials = delivered(service, first)
    pid = service.show(UNIT, "MainPID")
    restarts = int(service.show(UNIT, "NRestarts"))

    service.run("kill", "-9", pid)
    drop(service, "second.yaml", spec(second))
    until_ready(service, norn, second)

    assert int(service.show(UNIT, "NRestarts")) == restarts + 1
    successor = service.show(UNIT, "MainPID")
    assert successor not in {pid, "0"}
    told = [e["line"].get("event") for e in service.journal(UNIT) if e.get("_PID") == successor]
    assert "lease.acquired" in told
    assert "lease.waited" not in told  # it saw that its predecessor is dead
    assert service.run("systemctl", "is-active", UNIT).strip() == "active"
    assert services.owner(database(second)) == second
    assert delivered(service, first) == credentials


def test_a_frozen_daemon_is_ended_by_its_watchdog(
    service: Machine, norn: Norn, name: Callable[[str], str]
) -> None:
    assert service.show(UNIT, "WatchdogUSec") == "30s"
    # The same mechanism, sooner: the daemon learns the interval from systemd.
    folder = f"/run/systemd/system/{UNIT}.service.d"
    service.run("mkdir", "-p", folder)
    service.put(f"{folder}/sooner.conf", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", UNIT)
    app = name("frozen")
    drop(service, "frozen.yaml", spec(app, kv=False, events=False))
    until_ready(service, norn, app)
    fed = service.show(UNIT, "WatchdogTimestampMonotonic")
    until(lambda: service.show(UNIT, "WatchdogTimestampMonotonic") != fed)
    assert service.show(UNIT, "NRestarts") == "0"

    service.run("kill", "-STOP", service.show(UNIT, "MainPID"))

    until(lambda: service.show(UNIT, "NRestarts") == "1")
    until(lambda: service.run("systemctl", "is-active", UNIT, code=None).strip() == "active")
    journal = service.run("journalctl", "-u", UNIT, "--no-pager")
    assert "Failed with result 'watchdog'" in journal
    service.run("rm", "-r", folder)
    service.run("systemctl", "daemon-reload")


def test_the_installed_command_has_the_services_settings(
    service: Machine, norn: Norn, name: Callable[[str], str]
) -> None:
    app = name("asked")
    drop(service, "asked.yaml", spec(app, kv=False, events=False))
    until_ready(service, norn, app)

    status = json.loads(service.run("norn", "status", app, "--output", "json"))
    variables = json.loads(service.run("norn", "env", app, "--reveal", "--output", "json"))

    assert [(row["app"], row["ready"]) for row in status["apps"]] == [(app, True)]
    assert variables == delivered(service, app)


def test_a_migration_runs_as_the_units_user_and_within_its_limits(
    service: Machine, norn: Norn, name: Callable[[str], str]
) -> None:
    client = clients.newest().folder.resolve().parent  # the tests' own, for the machine to have
    service.run("ln", "-sfn", str(client), "/usr/lib/postgresql/99")
    service.run("bash", "-c", f"echo NORN_MIGRATIONS=on >> {ETC}/norn.env")
    service.run("systemctl", "restart", UNIT)
    app = name("migrates")
    command = (
        "id -un; touch /opt/x 2>/dev/null || echo shut; pwd; env | grep -c NORN_.*_URL || true"
    )
    migrations = (
        f"migrations:\n  database: {database(app)}\n  command: {command!r}\n  revision: 1\n"
    )
    drop(service, "migrates.yaml", spec(app, kv=False, events=False) + migrations)

    def ended() -> list[dict[str, Any]]:
        query = "SELECT status, error, steps FROM deployments WHERE app = %s ORDER BY started_at"
        rows = norn.rows(query, app)
        return [r for r in rows if len(r["steps"]) == 2 and r["status"] != "migrating"]

    (row,) = until(ended, 30.0, told=lambda: service.run("journalctl", "-u", UNIT, "--no-pager"))
    assert row["status"] == "deployed", row
    user, shut, folder, urls = row["steps"][1]["output"].splitlines()
    assert (user, shut, urls) == (UNIT, "shut", "0")
    assert folder.startswith("/tmp/norn-")


def test_it_leaves_nothing_behind(machine: Machine, tmp_path: Path) -> None:
    """The proof is worth nothing if running it changes the machine it runs on."""
    old = tmp_path / "kept"
    old.write_text("systemd's boot cleans /tmp; not this one")
    os.utime(old, (0, 0))
    listed = {path: _names(path) for path in ("/etc", "/dev", "/var/lib")}

    with Machine() as other:
        other.run("systemd-tmpfiles", "--create", "--clean", code=None)
        other.put("/etc/norn-was-here", "")
        other.run("ls", "/etc/norn-was-here")
        inside, cgroup = other.pid, other.cgroup
        assert cgroup.exists()

    assert {path: _names(path) for path in listed} == listed
    assert old.exists()
    assert not cgroup.exists()
    assert not Path(f"/proc/{inside}").exists()
    assert str(other.base) not in Path("/proc/mounts").read_text()
    assert not other.base.exists()


def _names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}
