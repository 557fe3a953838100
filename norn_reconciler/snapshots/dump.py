"""Making a dump, reading one's table of contents, and bringing one into a database."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.snapshots import Source
from norn_reconciler.snapshots.clients import Client, bare
from norn_reconciler.snapshots.folder import Part
from norn_reconciler.snapshots.process import Child, ClientFault, passfile

LOCK_WAIT = 60.0  # seconds that a table may be locked by somebody else
STALLED = 900.0  # seconds without a byte after which nobody waits any longer
_LOOK = 1.0  # seconds between two looks at how far it is
_TELL = 3.0  # seconds between two words of it
_LIST = 300.0  # seconds for a table of contents
_TABLE = re.compile(rb"[0-9]+; [0-9]+ [0-9]+ TABLE (?!DATA |ATTACH )")


async def dump(
    client: Client,
    source: Source,
    part: Part,
    tell: Callable[[int], Awaitable[None]],
    only: Sequence[str] = (),
) -> None:
    """Everything that is in the database goes to `part`. tell: is given the bytes so far, every few
    seconds. only: options that choose from it. Raises NornError with the client's words.
    Cancelled, the client is ended."""
    command = [
        client.dump,
        "--format=custom",
        "--no-password",
        f"--encoding={source.encoding}",
        f"--lock-wait-timeout={int(LOCK_WAIT * 1000)}",
        *only,
    ]
    with passfile(source.password) as (descriptor, path):
        environment = {**bare(), **source.environment, "PGPASSFILE": path}
        child = await Child.start(command, environment, out=part.descriptor, handed=(descriptor,))
        try:
            await _followed(child, part, tell)
        except ClientFault as fault:
            raise NornError(f"the dump failed: {fault}") from fault
        finally:
            await child.close()


async def _followed(child: Child, part: Part, tell: Callable[[int], Awaitable[None]]) -> None:
    clock = asyncio.get_running_loop().time
    size, moved, told = 0, clock(), clock()
    while not await child.ended(_LOOK):
        if part.size != size:
            size, moved = part.size, clock()
        if clock() - moved > STALLED:
            raise NornError(f"the dump failed: nothing came for {STALLED:g} s")
        if clock() - told >= _TELL:
            told = clock()
            await tell(size)


async def listed(client: Client, path: Path, out: int = asyncio.subprocess.DEVNULL) -> None:
    """Raises NornError unless pg_restore can read what is in it. out: where the list goes."""
    child = await Child.start([client.restore, "--list", str(path)], bare(), out=out)
    try:
        if not await child.ended(_LIST):
            raise NornError(f"{path} can't be read: pg_restore took more than {_LIST:g} s")
    except ClientFault as fault:
        raise NornError(f"{path} is no whole dump: {fault}") from fault
    finally:
        await child.close()


async def tables(client: Client, path: Path) -> int:
    """How many tables are in it. Raises NornError when it can't be read."""
    with tempfile.TemporaryFile() as file:
        await listed(client, path, file.fileno())
        file.seek(0)
        found = [_TABLE.match(line) for line in file]
    return sum(match is not None for match in found)


async def restore(
    client: Client,
    source: Source,
    path: Path,
    options: Sequence[str],
    tell: Callable[[], Awaitable[None]],
) -> None:
    """Bring what is in the file into that database, as its app; the first error ends it. tell: is
    called every few seconds. Raises NornError with the client's words. Cancelled, the client is
    ended."""
    database = source.environment["PGDATABASE"]
    command = [
        client.restore,
        "--no-password",
        "--no-owner",
        "--exit-on-error",
        *options,
        f"--dbname={database}",
        str(path),
    ]
    with passfile(source.password) as (descriptor, file):
        environment = {**bare(), **source.environment, "PGPASSFILE": file}
        child = await Child.start(command, environment, handed=(descriptor,))
        try:
            while not await child.ended(_TELL):
                await tell()
        except ClientFault as fault:
            raise NornError(f"it can't be restored: {fault}") from fault
        finally:
            await child.close()
