"""The three servers together, their passwords and ports kept in one file."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.accounts import reachable, unprivileged
from infra.bootstrap import bootstrap
from infra.kafka_server import ADMIN as KAFKA_ADMIN
from infra.kafka_server import Kafka, cached
from infra.ports import free_port
from infra.postgres import Postgres
from infra.process import StackError
from infra.server import Server
from infra.valkey_server import Valkey

NAMES = ("postgres", "valkey", "kafka")
Progress = Callable[[str], None]


class Stack:
    """Servers under `folder`, started one by one or together; a second start finds them running.

    ports: by server name; one that is missing or 0 is chosen, and kept for later starts. A server
    that runs keeps its port. pg_bin: folder of another PostgreSQL's programs, kept as well.
    """

    def __init__(
        self, folder: Path, ports: Mapping[str, int] | None = None, pg_bin: Path | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if unprivileged() is not None:
            self.folder.chmod(0o711)  # the servers' user passes through; each closes its own folder
        values = self._kept()
        for name in ("superuser", "norn_admin", "norn_keeper", "valkey", "kafka"):
            values.setdefault(f"{name}_password", secrets.token_urlsafe(24))
        for name in (*NAMES, "controller"):
            if f"{name}_port" not in values:
                taken = [v for k, v in values.items() if k.endswith("_port")]
                values[f"{name}_port"] = (ports or {}).get(name) or free_port(taken)
        if pg_bin is not None:
            values["pg_bin"] = str(pg_bin)
        self.values: dict[str, Any] = values
        binaries = Path(values["pg_bin"]) if "pg_bin" in values else None
        self.postgres = Postgres(
            self.folder, "postgres", values["postgres_port"], values["superuser_password"], binaries
        )
        self.valkey = Valkey(
            self.folder, "valkey", values["valkey_port"], values["valkey_password"]
        )
        self.kafka = Kafka(
            self.folder, "kafka", values["kafka_port"], values["kafka_password"],
            values["controller_port"],
        )  # fmt: skip
        for name, port in (ports or {}).items():
            server = self.server(name)
            if port and server.process.pid is None:
                server.port = values[f"{name}_port"] = port
        self._keep(values)

    def server(self, name: str) -> Server:
        """postgres, valkey or kafka. Raises StackError for another name."""
        if name not in NAMES:
            raise StackError(f"{name!r} is none of {', '.join(NAMES)}")
        server: Server = getattr(self, name)
        return server

    def start(self, only: Iterable[str] = NAMES, progress: Progress = lambda text: None) -> None:
        """Bring `only` up, all at once. Raises StackError with the log's tail of each that failed;
        the others go on running."""
        names = list(only)
        servers = [self.server(name) for name in names]

        def one(server: Server) -> StackError | None:
            where = f"on 127.0.0.1:{server.port}"
            if server.process.pid is not None:
                progress(f"{server.title} runs already {where}")
            elif server is self.kafka and not cached().exists():
                progress(
                    f"starting {server.title} {where}; its jars are fetched first, 43 MB, once"
                )
            else:
                progress(f"starting {server.title} {where}")
            try:
                server.start()
                if server is self.postgres:
                    bootstrap(
                        self.postgres.url(),
                        self.values["norn_admin_password"],
                        self.values["norn_keeper_password"],
                    )
            except StackError as fault:
                return fault
            progress(f"{server.title} is ready")
            return None

        with ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
            faults = [fault for fault in pool.map(one, servers) if fault is not None]
        if faults:
            raise StackError("\n".join(str(fault) for fault in faults)) from faults[0]

    def stop(self) -> None:
        """All that run, at once; data and ports stay."""
        with ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
            list(pool.map(lambda name: self.server(name).stop(), NAMES))

    def running(self) -> Mapping[str, int | None]:
        """Server name → pid, None when it does not run."""
        return {name: self.server(name).process.pid for name in NAMES}

    @property
    def admin_url(self) -> str:
        return self.postgres.url("norn_admin", self.values["norn_admin_password"])

    @property
    def norn_db_url(self) -> str:
        return self.postgres.url("norn_keeper", self.values["norn_keeper_password"], "norn_db")

    def settings(self, only: Iterable[str] = NAMES) -> Mapping[str, str]:
        """norn's settings for these servers, as fields of norn.toml."""
        parts = {
            "postgres": {"database_url": self.norn_db_url, "postgres_url": self.admin_url},
            "valkey": {"valkey_url": self.valkey.url},
            "kafka": {
                "redpanda_brokers": self.kafka.brokers,
                "redpanda_username": KAFKA_ADMIN,
                "redpanda_password": self.kafka.password,
            },
        }
        return {key: value for name in only for key, value in parts[name].items()}

    def environment(self) -> Mapping[str, str]:
        """The same as environment variables."""
        return {f"NORN_{key.upper()}": value for key, value in self.settings().items()}

    def _kept(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def _keep(self, values: Mapping[str, object]) -> None:
        fresh = self.folder / "stack.json.new"
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            json.dump(values, out, indent=2)
        fresh.rename(self.folder / "stack.json")


def suitable(folder: Path, name: str) -> Path:
    """`folder`, or /var/lib/norn-infra-<name> where root's servers could not get at it: below
    /root, that is."""
    if unprivileged() is None:
        return folder
    above = next(p for p in folder.resolve().parents if p.exists())
    return folder if reachable(above) else Path(f"/var/lib/norn-infra-{name}")
