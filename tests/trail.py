"""What a whole test run leaves behind, kept until it has been searched for passwords at the end:
norn_db's rows and the servers' logs, which would otherwise go with their tests."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from infra.stack import Stack
from norn_reconciler.credentials import key as master_key
from norn_reconciler.credentials.derive import Derivation
from norn_reconciler.model.app import AppName

SERVICES = ("postgres", "kv", "events")
GENERATIONS = (1, 2, 3, 4)  # no test rotates an app more often
LENGTH = 43  # characters of a derived password
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{43,}")
_NAMES = re.compile(r'(?:"app": "|^app: )([a-z0-9][a-z0-9-]*)', re.MULTILINE)
CONTRACT = re.compile(rb"pw_[a-z0-9-]+-[0-9]+-Zz09")  # tests.integration.provider_contract's

_kept: list[Path] = []


def keep_in(folder: Path) -> None:
    """From now on what would go is copied to `folder`."""
    _kept[:] = [folder]


def keep_rows(url: str) -> None:
    """Every row of every table of a norn_db."""
    if not _kept:
        return
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url) as conn, (_kept[0] / f"{name}.rows").open("a") as out:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('public', 'reconciler')"
        ).fetchall()
        for (table,) in tables:
            for (row,) in conn.execute(f"SELECT t::text FROM {table} AS t"):
                out.write(f"{table} {row}\n")


def keep_names(url: str, work: Path) -> None:
    """Every app that a norn_db knows, for `passwords_of`: specs may have left the folder again."""
    with psycopg.connect(url) as conn, (work / "apps.log").open("w") as out:
        if conn.execute("SELECT to_regclass('reconciler.apps')").fetchone() != (None,):
            out.writelines(
                f"app: {app}\n" for (app,) in conn.execute("SELECT app FROM reconciler.apps")
            )


def keep_output(url: str, *texts: str) -> None:
    """What a command printed and logged that had this norn_db and ran inside this process."""
    if _kept:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with (_kept[0] / f"{name}.output").open("a") as out:
            out.writelines(texts)


def keep_logs(stack: Stack) -> None:
    """The servers' logs of a stack that is about to go."""
    if _kept:
        for log in stack.folder.glob("*.log"):
            shutil.copyfile(log, _kept[0] / f"{stack.folder.parent.name}-{log.name}")


def passwords_of(folders: list[Path]) -> set[bytes]:
    """Every password that any working folder below `folders` can have derived: from its master key,
    for each app that its specs, logs or delivered files name."""
    found: set[bytes] = set()
    for path in (p for folder in folders for p in folder.rglob("master.key")):
        try:
            source = Derivation(master_key.load(path))
        except master_key.KeyFileError:
            continue  # a test's own broken key
        work = path.parent.parent
        names = {p.stem for p in work.rglob("*.env")}
        for text in _texts(work):
            names |= set(_NAMES.findall(text))
        found |= {
            source.credential(AppName(name), service, generation).password.reveal().encode()
            for name in names
            for service in SERVICES
            for generation in GENERATIONS
        }
    return found


def _texts(work: Path) -> Iterator[str]:
    for path in work.rglob("*"):
        if path.suffix in {".yaml", ".yml", ".log"} and path.is_file():
            yield path.read_text(errors="replace")


def hits(path: Path, passwords: set[bytes]) -> int:
    """How many of the passwords stand in a file, however they are embedded."""
    content = path.read_bytes()
    windows = (
        token[start : start + LENGTH]
        for token in _TOKEN.findall(content)
        for start in range(len(token) - LENGTH + 1)
    )
    return sum(window in passwords for window in windows) + len(CONTRACT.findall(content))


def delivered(path: Path) -> bool:
    """Where passwords belong: the apps' own env files."""
    return path.suffix == ".env" and path.parent.stat().st_mode & 0o077 == 0


@dataclass(frozen=True, slots=True)
class Search:
    """size: bytes. found: file to how many passwords stand in it."""

    passwords: int
    files: int
    size: int
    found: dict[str, int]

    def __str__(self) -> str:
        return (
            f"{self.passwords} passwords, {self.files} files, {self.size >> 20} MiB: "
            f"{sum(self.found.values())} found"
        )


def search(folder: Path) -> Search:
    """Every file that the tests wrote below `folder`, for every password that they made there."""
    passwords = passwords_of([folder])
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    searched = [p for p in files if not delivered(p)]
    found = {str(p): count for p in searched if (count := hits(p, passwords))}
    return Search(len(passwords), len(searched), sum(p.stat().st_size for p in searched), found)
