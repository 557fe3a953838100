"""Making a dump, and reading one's table of contents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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


async def dump(
    client: Client, source: Source, part: Part, tell: Callable[[int], Awaitable[None]]
) -> None:
    """Everything that is in the database goes to `part`. tell: is given the bytes so far, every few
    seconds. Raises NornError with the client's words. Cancelled, the client is ended."""
    command = [
        client.dump,
        "--format=custom",
        "--no-password",
        f"--encoding={source.encoding}",
        f"--lock-wait-timeout={int(LOCK_WAIT * 1000)}",
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


async def listed(client: Client, path: Path) -> None:
    """Raises NornError unless pg_restore can read what is in it."""
    child = await Child.start([client.restore, "--list", str(path)], bare())
    try:
        if not await child.ended(_LIST):
            raise NornError(f"{path} can't be read: pg_restore took more than {_LIST:g} s")
    except ClientFault as fault:
        raise NornError(f"{path} is no whole dump: {fault}") from fault
    finally:
        await child.close()
