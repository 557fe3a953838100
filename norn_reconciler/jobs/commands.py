"""An app's command as a process of its own: whose it is, where it runs, with what, and how long."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from norn_reconciler.jobs import keeper
from norn_reconciler.jobs.output import Output
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError

PATIENCE = 10  # seconds between being asked to end and being ended
_CLOSING = 5.0  # seconds that the keeper may take to end everything
_LOOK = 1.0  # seconds between two looks at whether it has ended
_TELL = 3.0  # seconds between two words of what it says
_SURROUNDINGS = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_LOADER = "LD_LIBRARY_PATH"  # where norn's own Python may need its libraries from


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine, as the kernel knows it."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account(user: str | None) -> Account | None:
    """Whose commands are; None: norn's own user's. user: as the setting names it. Raises NornError
    where none may be run."""
    me = os.geteuid()
    if user is None:
        if me == 0:
            raise NornError(
                "norn runs as root, and runs no app's command so: NORN_COMMANDS_USER names the "
                "user that they run as"
            )
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise NornError(f"this machine has no user {user}, as NORN_COMMANDS_USER says") from None
    if entry.pw_uid == me:
        return None
    if me != 0:
        raise NornError(
            f"only a norn that runs as root can run commands as {user}, as NORN_COMMANDS_USER says"
        )
    groups = os.getgrouplist(user, entry.pw_gid)
    return Account(entry.pw_uid, entry.pw_gid, tuple(groups))


@dataclass(frozen=True, slots=True)
class Ended:
    """code: 128 + N for a signal. late: its time was over."""

    code: int
    late: bool


class Commands:
    """user: see `account`. folders: has the working folder of each app that has one; else it is a
    new one, gone afterwards."""

    def __init__(self, user: str | None, folders: Path) -> None:
        self._user = user
        self._folders = folders

    def check(self) -> None:
        """Raises NornError where none may be run."""
        account(self._user)

    async def run(
        self,
        app: AppName,
        text: str,
        given: Mapping[str, str],
        seconds: float,
        output: Output,
        tell: Callable[[], Awaitable[None]],
    ) -> Ended:
        """given: its environment, but for where it runs. tell: called every few seconds. When this
        returns, also by being cancelled, nothing runs any more of what the command started."""
        who = account(self._user)
        own = (self._folders / app).resolve()
        scratch = not own.is_dir()
        folder = _made(app, who) if scratch else own
        order = {
            "command": text,
            "environment": {"HOME": str(folder), **_SURROUNDINGS, **given},
            "folder": str(folder),
            "scratch": scratch,
            "account": asdict(who) if who is not None else None,
            "patience": PATIENCE,
        }
        try:
            process = await self._begun(order)
            said = asyncio.ensure_future(_read(process.stdout, output))
            try:
                late = await self._followed(process, seconds, tell)
            finally:
                await _close(process, said)
        finally:
            if scratch:  # also where nobody was there to take it away
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        assert process.returncode is not None
        return Ended(process.returncode, late)

    async def _begun(self, order: Mapping[str, object]) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", keeper.__file__, str(os.getpid())),
            env={name: os.environ[name] for name in (_LOADER,) if name in os.environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        return process

    async def _followed(
        self,
        process: asyncio.subprocess.Process,
        seconds: float,
        tell: Callable[[], Awaitable[None]],
    ) -> bool:
        """Whether its time was over."""
        clock = asyncio.get_running_loop().time
        until, told, late = clock() + seconds, clock(), False
        while not await _ended(process, _LOOK if late else min(_LOOK, max(0, until - clock()))):
            if clock() >= until and not late:
                late = True
                with suppress(ProcessLookupError):
                    process.terminate()
            if late and clock() >= until + PATIENCE + _CLOSING:
                break
            if clock() - told >= _TELL:
                told = clock()
                await tell()
        return late


def _made(app: AppName, who: Account | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"norn-{app}-"))
    if who is not None:
        os.chown(folder, who.uid, who.gid)
    return folder


async def _read(stream: asyncio.StreamReader | None, output: Output) -> None:
    while stream is not None and (data := await stream.read(1 << 16)):
        output.feed(data)
    output.feed(b"", last=True)


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether it has ended, after `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()
    return process.returncode is not None


async def _close(process: asyncio.subprocess.Process, said: asyncio.Future[None]) -> None:
    """Nothing of it runs any more, and what it said is read."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGHUP)
        if not await _ended(process, _CLOSING):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    await asyncio.wait({said}, timeout=_CLOSING)
    said.cancel()
    await asyncio.gather(said, return_exceptions=True)
