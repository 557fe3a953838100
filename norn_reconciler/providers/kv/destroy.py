"""The end of an app's keys: all below its namespace, in every database of the server. As the admin,
a bounded number in a request: nobody else waits for long."""

from __future__ import annotations

from collections.abc import Sequence

from valkey.exceptions import ResponseError

from norn_reconciler.model.errors import Rejected
from norn_reconciler.providers.kv.client import KvClient
from norn_reconciler.providers.kv.session import Command, Reply
from norn_reconciler.providers.kv.state import SERVICE

_AT_ONCE = 1000  # keys that are looked at in a request


async def delete_keys(client: KvClient, namespace: str) -> int:
    """How many there were. Raises ServiceError."""
    count = 0
    for database in range(await databases_of(client)):
        cursor = "0"
        while True:
            found = await in_database(client, database, ("SCAN", cursor, *below(namespace)))
            cursor, keys = str(found[0]), [str(key) for key in found[1]]
            if keys:
                count += int(await in_database(client, database, ("UNLINK", *keys)))
            if cursor == "0":
                break
    return count


def below(namespace: str) -> Sequence[str]:
    """No namespace holds a character that a pattern gives a meaning to."""
    return ("MATCH", f"{namespace}:*", "COUNT", str(_AT_ONCE))


async def databases_of(client: KvClient) -> int:
    """How many the server has; 1 where it does not say: a cluster, or a service that hides it."""
    (reply,) = await client.ask([("CONFIG", "GET", "databases")])
    if isinstance(reply, dict):
        return int(reply.get("databases", 1))
    pairs = reply if isinstance(reply, list) else []
    return int(pairs[1]) if len(pairs) > 1 else 1


async def in_database(client: KvClient, database: int, command: Command) -> Reply:
    """Its reply, asked in that database; the connection is back in the first one afterwards."""
    if database == 0:
        replies = await client.ask([command])
    else:
        replies = await client.ask([("SELECT", str(database)), command, ("SELECT", "0")])
        if isinstance(replies[0], ResponseError):
            raise Rejected(SERVICE, f"database {database} can't be entered: {replies[0]}")
        replies = replies[1:]
    if isinstance(replies[0], ResponseError):
        raise client.fault(replies[0], f"keys in database {database}")
    return replies[0]
