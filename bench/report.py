"""What was measured, as Markdown. `python -m bench.report FILE.json` shows a kept result again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

GOALS = {"a": 1.25, "b": 1.5, "c": 1.5, "d": 1.5}  # norn / floor
NAMES = {
    "a": "a create from empty",
    "b": "b no-op",
    "c": "c one app added",
    "d": "d three drifts repaired",
}
SETTLE, SLACK = 0.25, 0.15  # seconds: a file must stay as it is; what c' may take besides


def markdown(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for size in found["sizes"]:
        lines += [*_scenarios(size), "", *_daemon(size), ""]
    lines += _requests(found)
    return "\n".join(lines) + "\n"


def _scenarios(size: dict[str, Any]) -> Iterator[str]:
    load = size["load"]
    yield f"### {size['apps']} apps (load average {min(load):.1f} to {max(load):.1f})"
    yield ""
    yield "| scenario | norn s | floor s | ratio | goal | ranges | CPU s | CPU ratio | MB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    norn, floor = size["norn"], size["floor"]
    for key, name in NAMES.items():
        ours, least = norn["seconds"][key], floor["seconds"][key]
        ratio = median(ours) / median(least)
        work, little = median(norn["cpu"][key]), median(floor["cpu"][key])
        met = "met" if ratio <= GOALS[key] else "**missed**"
        yield (
            f"| {name} | {median(ours):.2f} | {median(least):.2f} | {ratio:.2f} "
            f"| ≤ {GOALS[key]} {met} | {_range(ours)}, {_range(least)} "
            f"| {work:.2f}, {little:.2f} | {work / little:.2f} "
            f"| {max(norn['peaks'][key]):.0f}, {max(floor['peaks'][key]):.0f} |"
        )
    yield ""
    yield f"Create, seconds to: floor {_shown(floor['phases'])}; norn {_shown(norn['phases'])}."


def _shown(phases: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {median(p[name] for p in phases):.2f}" for name in phases[0])


def _daemon(size: dict[str, Any]) -> Iterator[str]:
    ours, least = size["rounds"]["norn"], size["rounds"]["floor"]
    clean, lowest = median(ours["rounds"]), median(least["rounds"])
    lanes = ", ".join(f"{k} {median(v) * 1000:.0f}" for k, v in ours["lanes"].items())
    drop = median(size["dropped"])
    goal = clean + SLACK + SETTLE
    yield "| in the daemon | norn ms | held against ms | ratio | goal |"
    yield "|---|---|---|---|---|"
    yield (
        f"| b' one clean round, open connections ({lanes} by themselves) | {clean * 1000:.0f} "
        f"| floor {lowest * 1000:.0f} | {clean / lowest:.2f} "
        f"| ≤ 1.5 {'met' if clean / lowest <= 1.5 else '**missed**'} |"
    )
    yield (
        f"| c' dropped file → Ready | {drop * 1000:.0f} | round + 400 = {goal * 1000:.0f} "
        f"| {drop / goal:.2f} | ≤ 1 {'met' if drop <= goal else '**missed**'} |"
    )
    yield ""
    yield (
        f"Daemon's peak memory {size['daemon_peak']:.0f} MB. One look at all unchanged files "
        f"{ours['look'] * 1000:.0f} ms, a process's first {ours['first_look'] * 1000:.0f} ms."
    )


def _requests(found: dict[str, Any]) -> Iterator[str]:
    sizes = found["sizes"]
    yield "### Requests of one clean `norn apply`, by the servers' count"
    yield ""
    yield "| | 10 apps | " + " | ".join(f"{s['apps']} apps" for s in sizes) + " |"
    yield "|---|---|" + "---|" * len(sizes)
    for name, few in found["few"].items():
        yield f"| {name} | {few} | " + " | ".join(s["counts"][name] for s in sizes) + " |"


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
