"""What the administrator sees of the server, in a form that is equal as long as nobody but A has
felt anything."""

from __future__ import annotations

import re

from tests.isolation.kv_stage import A, B, Stage
from tests.isolation.kv_wire import encoded

# All keys of all databases that aren't A's: type, time to live and content, in one value each.
KEYS = f"""
local out = {{}}
for db = 0, 15 do
  redis.call('select', db)
  for _, key in ipairs(redis.call('keys', '*')) do
    if string.sub(key, 1, {len(A) + 1}) ~= '{A}:' then
      out[#out + 1] = db .. ' ' .. key .. ' ' .. redis.call('type', key).ok .. ' ' ..
        redis.call('pexpiretime', key) .. ' ' .. redis.sha1hex(redis.call('dump', key))
    end
  end
end
table.sort(out)
return table.concat(out, '\\n')
"""
_INFO = re.compile(
    rb"^(?:role|connected_slaves|paused_reason|loading|master_failover_state|number_of_libraries"
    rb"|number_of_functions|cluster_enabled):.*?$",
    re.MULTILINE,
)
_COUNTERS = re.compile(
    rb"^(?:rdb_saves|aof_rewrites|total_forks|sync_full|sync_partial_err):.*?$", re.MULTILINE
)
_STARTED = re.compile(rb"^total_connections_received:([0-9]+)", re.MULTILINE)
_CLIENT = re.compile(rb" (name|flags|db|sub|psub|ssub|multi|watch|user|lib-name|resp)=(\S*)")
_END = b"$5\r\n--##-\r\n"
_SECTION = ("ECHO", "--##-")

# Aspect → what to ask for it.
ASKED = {
    "keys": ("EVAL", KEYS, "0"),
    "users": ("ACL", "LIST"),
    "settings": ("CONFIG", "GET", "*"),
    "functions": ("FUNCTION", "LIST", "WITHCODE"),
    "channels": ("PUBSUB", "CHANNELS", f"{B}:*"),
    "slow log": ("SLOWLOG", "LEN"),
    "log of large requests": ("COMMANDLOG", "LEN", "large-request"),
    "log of large replies": ("COMMANDLOG", "LEN", "large-reply"),
    "latency history": ("LATENCY", "LATEST"),
    "log of refusals": ("ACL", "LOG", "1"),
    "info": ("INFO", "clients", "persistence", "stats", "replication", "memory"),
}
# Their content moves with time; that they hold something is what must stay.
FILLED = ("slow log", "log of large requests", "log of large replies", "latency history",
          "log of refusals")  # fmt: skip
EMPTY = (b"*0\r\n", b":0\r\n")
# Cannot be taken back, only noticed.
LASTING = ("users file", "copies")
ASPECTS = (*ASKED, "statistics", "connections of B", "script of B", *LASTING)


class Witness:
    """Looks in one round trip, and gives A its own keys back in the same."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sections = [part for asked in ASKED.values() for part in (asked, _SECTION)]
        self.renew()

    def renew(self) -> None:
        """After B's connections are others."""
        self._clients = [str(number) for number in self._stage.ids]
        request = [*self._sections, ("CLIENT", "LIST", "ID", *self._clients), _SECTION]
        reset = self._stage.own_reset
        self._request = encoded(*request, ("SCRIPT", "EXISTS", self._stage.live["script"]),
                                _SECTION, *reset, ("ECHO", "the end"))  # fmt: skip

    def seen(self) -> dict[str, object]:
        answer = self._stage.admin.until(self._request, b"$7\r\nthe end\r\n")
        parts = answer.split(_END)
        seen: dict[str, object] = dict(zip(ASKED, parts, strict=False))
        clients, script = parts[len(ASKED) : len(ASKED) + 2]
        info = parts[len(ASKED) - 1]
        seen["info"] = _INFO.findall(info)
        started = _STARTED.search(info)
        seen["statistics"] = started is not None and int(started[1]) >= len(self._clients)
        for aspect in FILLED:
            seen[aspect] = seen[aspect] not in EMPTY
        seen["connections of B"] = sorted(  # the server turns its list round now and then
            _CLIENT.findall(line) for line in clients.splitlines() if line.startswith(b"id=")
        )
        seen["script of B"] = script
        seen["users file"] = self._stage.server.users_file.stat().st_mtime_ns
        seen["copies"] = _COUNTERS.findall(info)
        return seen
