"""Clean rounds of the daemon's engine over open connections: `python -m bench.rounds K` in a folder
whose apps have converged. Prints one JSON object of seconds a round, and a lane."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

from norn_reconciler import compose, logs
from norn_reconciler.settings import Settings
from norn_reconciler.specs_folder import Specs
from norn_reconciler.store import lease as leases


async def measure(count: int) -> dict[str, object]:
    settings = Settings()
    async with AsyncExitStack() as stack:
        store = compose.store_of(settings, "bench")
        stack.push_async_callback(store.close)
        providers = await stack.enter_async_context(compose.open_providers(settings, "bench"))
        lease, fence = await leases.acquire(store, settings.lease_seconds)
        stack.push_async_callback(leases.release, store, lease, fence)
        specs = Specs(settings)
        work = await compose.parts(settings, providers, store, lease.epoch, fence, specs)
        engine, book = work.engine, work.book
        began = time.perf_counter()
        fleet = work.specs.look(book.records, book.inventory())
        first_look = time.perf_counter() - began
        while (wait := work.specs.next_look()) is not None:
            await asyncio.sleep(wait)
            fleet = work.specs.look(book.records, book.inventory())
        began = time.perf_counter()
        work.specs.look(book.records, book.inventory())
        look = time.perf_counter() - began
        await engine.accept(fleet)
        names = sorted(book.entries)
        await engine.settle(names)  # connections are open from here on
        before = book.actions
        whole: list[float] = []
        lanes: dict[str, list[float]] = {key: [] for key in engine.lanes}
        for _ in range(count):
            began = time.perf_counter()
            await engine.settle(names)
            whole.append(time.perf_counter() - began)
        for key, lane in engine.lanes.items():
            for _ in range(count):
                began = time.perf_counter()
                await lane.round(names)
                lanes[key].append(time.perf_counter() - began)
        if book.actions != before:
            raise RuntimeError("a round of converged apps changed something")
    return {"rounds": whole, "lanes": lanes, "first_look": first_look, "look": look}


if __name__ == "__main__":
    logs.configure("json")
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
