"""How many keys an app has, and about how much memory they take. Not more than some of them are
looked at: nobody else waits for long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from valkey.exceptions import ResponseError

from norn_reconciler.model.stakes import Fact, Stake
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.destroy import below, databases_of, in_database
from norn_reconciler.providers.kv.session import Command, Reply
from norn_reconciler.providers.kv.state import NAMESPACE

_LOOKS = 200  # requests at most for the keys of one namespace, each of some 1000 keys of the server
_SAMPLE = 50  # keys that are asked how large they are


async def weigh(client: KvClient, namespace: str) -> Stake:
    """Raises ServiceError."""
    count, looks = 0, 0
    sizes: list[int] = []
    idle: list[int] = []
    refused = ""
    for database in range(await databases_of(client)):
        cursor = "0"
        while looks < _LOOKS:
            looks += 1
            found = await in_database(client, database, ("SCAN", cursor, *below(namespace)))
            cursor, keys = str(found[0]), [str(key) for key in found[1]]
            count += len(keys)
            wanted = keys[: _SAMPLE - len(sizes)] if not refused else []
            for size, quiet in await _sampled(client, database, wanted):
                if isinstance(size, ResponseError):
                    refused = str(size)
                    break
                sizes += [int(size)] if size is not None else []  # gone meanwhile
                idle += [int(quiet)] if isinstance(quiet, int) else []
            if cursor == "0":
                break
    facts: dict[str, Fact] = {"keys": count}
    unread: dict[str, str] = {}
    if looks >= _LOOKS:
        unread["keys"] = "there are more: not all of the server's keys were looked at"
    if refused:
        unread["bytes"] = refused
    else:
        # Of all that were found, by what some of them take.
        facts["bytes"] = round(count * sum(sizes) / len(sizes)) if sizes else 0
    if idle:
        facts["sampled"] = len(sizes)
        facts["seconds_unused"] = min(idle)  # by the least of those that were sampled
    else:
        unread["last_use"] = "the server does not tell"
    return Stake(NAMESPACE, namespace, facts, unread)


async def _sampled(
    client: KvClient, database: int, keys: Sequence[str]
) -> Iterable[tuple[Reply, Reply]]:
    """What each takes, and how many seconds it was not used; errors too. One request."""
    if not keys:
        return ()
    inside: list[Command] = [("SELECT", str(database))]
    for key in keys:
        inside += [("MEMORY", "USAGE", key), ("OBJECT", "IDLETIME", key)]
    replies = (await client.ask([*inside, ("SELECT", "0")]))[1:-1]
    return zip(replies[::2], replies[1::2], strict=True)
