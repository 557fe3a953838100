"""PostgreSQL's client programs as child processes that end when norn does, however that is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.secret import Secret
from norn_reconciler.model.text import printable

_MOST_SAID = 8192  # bytes of standard error that are kept: its end says why
_MOST_TOLD = 500  # characters of them that a person is told
# The kernel ends it with its parent, also one that was killed. In a program of its own: no Python
# may run between fork and exec in a process that has threads. Without the call it merely lives on
# until it has written its file, which stays locked as long.
_BOUND = """
import os, signal, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except Exception:
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("norn has ended")
os.execve(sys.argv[2], sys.argv[2:], os.environ)
"""


class ClientFault(NornError):
    """A client program ended badly; the message is what it said last."""


@contextmanager
def passfile(password: Secret) -> Iterator[tuple[int, str]]:
    """A descriptor to hand on, and what PGPASSFILE has to say then: a file of mode 0600 that is on
    no disk, and gone with whoever has it open."""
    descriptor = os.memfd_create("pgpass")
    try:
        os.fchmod(descriptor, 0o600)  # libpq reads no other
        quoted = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{quoted}\n".encode())
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class Child:
    """One running client program. `ended` waits for it; whoever leaves the block ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said = asyncio.ensure_future(_tail(process.stderr))

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        out: int = asyncio.subprocess.DEVNULL,
        handed: Sequence[int] = (),
    ) -> Child:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid())),
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=handed,
            start_new_session=True,
        )
        return cls(process)

    async def ended(self, seconds: float) -> bool:
        """Whether it has ended, after `seconds` at most. Raises ClientFault if badly."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        code = self._process.returncode
        if code is None:
            return False
        if code != 0:
            said = await self._said
            raise ClientFault(said or f"it ended with {_ending(code)}")
        return True

    async def close(self) -> None:
        """It runs no more."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._said.cancel()
        await asyncio.gather(self._said, return_exceptions=True)


async def _tail(stream: asyncio.StreamReader | None) -> str:
    """Its last words, as one line of what can be shown."""
    said = b""
    while stream is not None and (more := await stream.read(_MOST_SAID)):
        said = (said + more)[-_MOST_SAID:]
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if ": error: " in line or ": detail: " in line] or lines[-3:]
    return printable("; ".join(told))[:_MOST_TOLD]


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
