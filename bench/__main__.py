"""`python -m bench [--apps 100,300] [--runs N]`: norn and its floor, side by side, on servers of
their own. Prints Markdown tables; everything measured is kept in bench/results/."""

from __future__ import annotations

import argparse
import json
import os
import py_compile
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import check, report
from bench.counters import counting
from bench.dropped import dropped
from bench.process import Run, run
from bench.servers import Servers, booted
from bench.workload import App, apps, write_specs

ROOT = Path(__file__).resolve().parent.parent
NORN = str(Path(sys.executable).with_name("norn"))
REPEATS = 5  # of what is cheap, within each run
COUNTED = 10  # apps of the fleet that the requests of a large one are held against


@dataclass
class Contestant:
    """norn or the floor, in a folder of its own, on servers of its own."""

    name: str
    folder: Path
    servers: Servers
    environment: dict[str, str]
    floor: str
    present: list[App] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peaks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    phases: list[dict[str, float]] = field(default_factory=list)

    def fresh(self) -> None:
        """A new working folder: no key, no records."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "secret").write_bytes(os.urandom(32))
        if self.name == "norn":
            run([NORN, "db", "upgrade"], self.folder, self.environment)  # `make db` does it

    def want(self, wanted: Sequence[App]) -> None:
        write_specs(self.folder / "specs", [app for app in wanted if app not in self.present])
        self.present = list(wanted)

    def converge(self) -> Run:
        return run(self.argv(), self.folder, self.environment)

    def argv(self, *more: str) -> list[str]:
        if self.name == "norn":
            return [NORN, "apply"]
        count = str(len(self.present))
        return [sys.executable, self.floor, "--apps", count, "--secret", "secret", *more]


class Bench:
    """servers: by contestant. Equal ones side by side, so that every step of one is followed by the
    same step of the other: what else the machine does falls on both."""

    def __init__(self, servers: Mapping[str, Servers], scratch: Path) -> None:
        self.servers = servers
        self.scratch = scratch
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("NORN_", "PYTHONDONT"))},
            # Both start from compiled modules, as installed programs do, wherever this runs.
            "PYTHONPYCACHEPREFIX": str(scratch / "compiled"),
        }
        self.floor = py_compile.compile(
            str(ROOT / "bench" / "floor.py"), str(scratch / "floor.pyc"), doraise=True
        )

    def contestants(self, count: int) -> list[Contestant]:
        return [
            Contestant(
                name,
                self.scratch / f"{name}-{count}",
                servers,
                {**self.environment, **servers.stack.environment()},
                str(self.floor),
            )
            for name, servers in self.servers.items()
        ]

    def scenario(self, who: Contestant, scenario: str) -> None:
        """One process, measured; then everything is looked at by somebody else."""
        done = who.converge()
        faults = check.wrong(who.servers, who.present)
        if faults:
            raise RuntimeError(
                f"{who.name}, scenario {scenario}: {len(faults)} faults\n" + "\n".join(faults[:10])
            )
        who.seconds[scenario].append(done.seconds)
        who.peaks[scenario].append(done.peak)
        who.cpu[scenario].append(done.cpu)
        if scenario == "a":
            who.phases.append(
                json.loads(done.output)["seconds"] if who.name == "floor" else _phases(done)
            )
        say(f"  {who.name:5} {scenario}: {done.seconds:6.2f} s, {done.peak:4.0f} MB")

    def session(self, both: Sequence[Contestant], count: int) -> None:
        """All scenarios from empty servers on, step by step in turn."""
        for who in both:
            who.fresh()
            who.present = []
            who.want(apps(count))
            # Role, database, ACL user, two topics, SCRAM user, ACLs: seven things an app.
            missing = check.wrong(who.servers, who.present)
            self.must_see(len(missing) == 7 * count, f"nothing was there, {len(missing)} seen")
        self.in_turn(both, "a")
        for _ in range(REPEATS):
            self.in_turn(both, "b")
        for extra in range(1, REPEATS + 1):
            for who in both:
                who.want(apps(count + extra))
            self.in_turn(both, "c")
        for turn in range(REPEATS):
            for who in both:
                who.servers.drift(*(App((3 * turn + i) % count) for i in range(3)))
                seen = check.wrong(who.servers, who.present)
                self.must_see(len(seen) == 3, f"three things were broken, {len(seen)} seen")
            self.in_turn(both, "d")

    def in_turn(self, both: Sequence[Contestant], scenario: str) -> None:
        for who in both:
            self.scenario(who, scenario)

    @staticmethod
    def must_see(seen: bool, words: str) -> None:
        if not seen:
            raise RuntimeError(f"the checker can't be trusted: {words}")

    def open_rounds(self, who: Contestant, count: int) -> dict[str, Any]:
        argv, environment = who.argv("--rounds", str(count)), who.environment
        if who.name == "norn":
            argv = [sys.executable, "-m", "bench.rounds", str(count)]
            path = f"{os.environ.get('PYTHONPATH', '')}:{ROOT}"
            environment = {**environment, "PYTHONPATH": path}
        found: dict[str, Any] = json.loads(run(argv, who.folder, environment).output)
        return found

    def counts(self, who: Contestant) -> dict[str, str]:
        with counting(who.servers) as (brokers, counted):
            through = {**who.environment, "NORN_REDPANDA_BROKERS": brokers}
            run(who.argv(), who.folder, through)  # the address is in what apps are told: settled
            return counted(lambda: run(who.argv(), who.folder, through))


def measure(bench: Bench, count: int, runs: int) -> dict[str, Any]:
    """Everything for fleets of `count` apps."""
    floor, norn = bench.contestants(count)
    found: dict[str, Any] = {"apps": count, "load": []}
    for turn in range(runs):
        say(f"{count} apps, run {turn + 1} of {runs}")
        for who in (floor, norn):
            who.servers.clean(apps(count + REPEATS))
        bench.session((floor, norn) if turn % 2 == 0 else (norn, floor), count)
        found["load"].append(os.getloadavg()[0])
    found["rounds"] = {who.name: bench.open_rounds(who, 7) for who in (floor, norn)}
    found["counts"] = bench.counts(norn)
    fresh = [App(count + 100 + i) for i in range(5)]
    found["dropped"], found["daemon_peak"] = dropped(
        [NORN, "run"], norn.folder, norn.environment, fresh
    )
    norn.servers.clean([*norn.present, *fresh])
    floor.servers.clean(floor.present)
    for who in (floor, norn):
        found[who.name] = {
            "seconds": who.seconds, "peaks": who.peaks, "cpu": who.cpu, "phases": who.phases,
        }  # fmt: skip
    return found


def _phases(done: Run) -> dict[str, float]:
    """norn's own words: when the last service had shown, and proven, what was written. Kafka's part
    waits until it shows; the others show what they acknowledge."""
    ends = {"visible": 0.0, "proven": 0.0}
    for text in done.errors.splitlines():
        if '"reconcile.finished"' in text:
            line = json.loads(text)
            end = datetime.fromisoformat(line["timestamp"]).timestamp() - done.began
            shown = end - (line["duration_ms"] - line["shown_ms"]) / 1000
            ends = {"visible": max(ends["visible"], shown), "proven": max(ends["proven"], end)}
    return ends


def few(bench: Bench) -> dict[str, str]:
    """What a clean run of a handful of apps asks for. Nobody's times: all modules are compiled."""
    floor, norn = bench.contestants(COUNTED)
    for who in (floor, norn):
        who.fresh()
        who.want(apps(COUNTED))
        who.converge()
    counts = bench.counts(norn)
    for who in (floor, norn):
        who.servers.clean(who.present)
    return counts


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--apps", default="100,300", help="sizes of the fleet")
    arguments.add_argument("--runs", type=int, default=3, help="of everything, medians are shown")
    given = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended: the servers are stopped"))
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="norn-bench-work-", dir="/var/tmp"))
    kept = results / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    found: dict[str, Any] = {"sizes": []}
    try:
        say("booting and warming the servers")
        with booted() as least, booted() as ours:
            bench = Bench({"floor": least, "norn": ours}, scratch)
            found["few"] = few(bench)
            for count in map(int, given.apps.split(",")):
                found["sizes"].append(measure(bench, count, given.runs))
                kept.write_text(json.dumps(found, indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = report.markdown(found)
    kept.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
