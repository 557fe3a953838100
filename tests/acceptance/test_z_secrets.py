"""No password in clear: not in any file that the whole test run wrote, not in a process list. Runs
last (tests/conftest.py sees to it), over what every test before it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.harness import Norn, spec
from tests.servers import Servers
from tests.trail import hits, keep_rows, passwords_of


def delivered(path: Path) -> bool:
    """Where passwords belong: the apps' own env files."""
    return path.suffix == ".env" and path.parent.stat().st_mode & 0o077 == 0


def test_no_process_shows_a_password(norn: Norn, name) -> None:
    app = name("ps")
    norn.write("ps.yaml", spec(app))
    with norn.daemon() as daemon:
        norn.until_ready(app)
        secret = norn.env(app)["KAFKA_SASL_PASSWORD"]
        norn.run("env", app, "--reveal")
        shown = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
        shown += Path(f"/proc/{daemon.process.pid}/environ").read_bytes()
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                shown += each.read_bytes()
            except OSError:
                continue  # it has ended
    assert app.encode() not in shown or secret.encode() not in shown
    assert secret.encode() not in shown


def test_the_search_finds_what_it_looks_for(norn: Norn, name, tmp_path: Path) -> None:
    app = name("seek")
    norn.write("seek.yaml", spec(app))
    norn.run("apply")
    env = norn.env(app)
    known = passwords_of([norn.folder])
    assert env["KAFKA_SASL_PASSWORD"].encode() in known
    assert env["DATABASE_URL"].split(":")[2].split("@")[0].encode() in known
    leak = tmp_path / "a.log"
    leak.write_text(f"xx{env['VALKEY_URL']}yy PASSWORD '{env['KAFKA_SASL_PASSWORD']}'")
    assert hits(leak, known) == 2
    leak.unlink()


def test_nothing_that_the_run_wrote_holds_a_password(
    servers: Servers,
    fresh_norn_db: str,
    tmp_path_factory: pytest.TempPathFactory,
    record_property,
) -> None:
    keep_rows(fresh_norn_db)
    base = tmp_path_factory.getbasetemp()
    passwords = passwords_of([base])
    files = [p for p in base.rglob("*") if p.is_file() and not p.is_symlink()]
    files += servers.logs()
    searched = [p for p in files if not delivered(p)]
    found = {str(p): count for p in searched if (count := hits(p, passwords))}
    size = sum(p.stat().st_size for p in searched)
    line = (
        f"{len(passwords)} passwords, {len(searched)} files, {size >> 20} MiB: "
        f"{sum(found.values())} found"
    )
    record_property("secrets", line)
    print(line)
    assert passwords
    assert found == {}
