"""Who the servers run as. PostgreSQL refuses root, and the others need no root either."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

CACHE = Path("/var/cache/norn-reconciler")
OWN = "norn-infra"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def take(self, path: Path) -> None:
        """Make it the owner of `path`."""
        os.chown(path, self.uid, self.gid)


def unprivileged() -> Account | None:
    """The user for servers that root starts: `postgres` where it exists, else one of our own, made
    here. None when we are not root: the servers run as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", OWN):
        if (found := _account(name)) is not None:
            return found
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWN],
        check=True,
    )
    made = _account(OWN)
    assert made is not None
    return made


def reachable(path: Path) -> bool:
    """Whether others may pass through `path` and every folder above it."""
    real = path.resolve()
    return all(p.stat().st_mode & 0o001 for p in (real, *real.parents))


def within_reach(source: Path, name: str) -> Path:
    """`source` (programs, libraries), or where the servers' user can't get at it a copy of it.

    name: the copy's, with its version: /var/cache/norn-reconciler/<name>.
    """
    if unprivileged() is None or reachable(source):
        return source
    copy = CACHE / name
    if not copy.exists():
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE)) / name
        shutil.copytree(source, fresh, symlinks=True)
        open_up(fresh)
        try:
            fresh.rename(copy)
        except OSError:  # somebody else was faster
            if not copy.exists():
                raise
        finally:
            shutil.rmtree(fresh.parent)
    return copy


def open_up(folder: Path) -> None:
    """Let everybody read what is below `folder`, whatever our umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))


class Identity(TypedDict, total=False):
    """What subprocess wants to know about a user."""

    user: int
    group: int
    extra_groups: list[int]


def identity(account: Account | None) -> Identity:
    """None: as ourselves."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def run_as(account: Account | None, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it says."""
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd="/", **identity(account)
    )


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
