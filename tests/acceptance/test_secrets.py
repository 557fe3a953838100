"""No password in clear in a process list; and the search of all that a test run leaves, which
tests/conftest.py makes at its end, finds what it looks for."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.harness import Norn, spec
from tests.trail import search


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
    assert secret.encode() not in shown


def test_the_search_finds_what_it_looks_for(norn: Norn, name, tmp_path: Path) -> None:
    app = name("seek")
    norn.write("seek.yaml", spec(app))
    norn.run("apply")
    env = norn.env(app)
    assert search(norn.folder).found == {}
    for number, secret in enumerate(["KAFKA_SASL_PASSWORD", "DATABASE_URL", "VALKEY_URL"]):
        leak = tmp_path / f"{number}.log"
        leak.write_text(f"xx{env[secret]}yy PASSWORD '{env['KAFKA_SASL_PASSWORD']}'")
        assert search(norn.folder).found == {str(leak): 2}
        leak.unlink()
