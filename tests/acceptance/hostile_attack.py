"""One run of norn over a folder full of hostile files beside one good app: what it printed, logged
and recorded, and what the servers held before and after."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.fleet_judge import Judge, Seen
from tests.acceptance.harness import spec
from tests.acceptance.hostile_specs import Case, Cases
from tests.acceptance.norn_here import Here
from tests.acceptance.services import Services

GOOD = "good"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the console format's own
COMMANDS_RUN = (
    ("plan",), ("plan", "-o", "json"), ("status",),
    ("status", "-o", "json"), ("events", "-n", "1000"), ("events", "-n", "1000", "-o", "json"),
    ("describe", GOOD), ("describe", GOOD, "-o", "json"),
)  # fmt: skip


@dataclass
class Attack:
    """What one run over all hostile files left behind. output: by command, what it printed."""

    norn: Here = field(repr=False)  # knows passwords
    cases: Mapping[str, Case]  # by file
    canary: Path
    before: Seen
    after: Seen
    output: Mapping[tuple[str, ...], str]
    log: str
    findings: list[dict[str, Any]]
    apps: Mapping[str, dict[str, Any]]  # norn status, by app
    trespassers: list[str]  # who may read the good app's keys, or listen to its channels

    @property
    def lines(self) -> list[str]:
        """What apply logged; after it come the command's own words."""
        return [line for line in self.log.split("\n") if line.startswith("{")]

    @property
    def refused(self) -> set[str]:
        return {f["file"] for f in self.findings if f["severity"] == "error"}

    @property
    def taken(self) -> dict[str, Case]:
        """By app."""
        return {a: self.cases[r["file"]] for a, r in self.apps.items() if r["file"] in self.cases}


def attacked(norn: Here, judge: Judge) -> Attack:
    canary = norn.folder / "canary"
    cases = {c.file: c for c in Cases(json.loads(norn.run("schema")), str(canary)).for_servers()}
    norn.write("good.yaml", spec(GOOD))
    norn.run("apply")
    before = judge.look("")
    output: dict[tuple[str, ...], str] = {}
    _drop(norn, [*cases.values()][::3])  # what a person reads is printed alike for any place
    output["validate",] = norn.run("validate", code=1)
    output["apply", "on a terminal"] = norn.run("apply", code=1, NORN_LOG_FORMAT="console")
    output["its log",] = _COLOUR.sub("", norn.errors)
    _drop(norn, cases.values())
    output["apply",] = norn.run("apply", code=1)
    log = norn.errors
    output["validate", "-o", "json"] = norn.run("validate", "-o", "json", code=1)
    findings = json.loads(output["validate", "-o", "json"])
    for finding in findings:
        finding["file"] = str(Path(finding["file"]).relative_to("specs"))
        if finding["severity"] == "error":  # said often enough: the rest goes without them
            (norn.specs / finding["file"]).unlink(missing_ok=True)
    for command in COMMANDS_RUN:
        output[command] = norn.run(*command)
    apps = {a["app"]: a for a in json.loads(output["status", "-o", "json"])["apps"]}
    after = judge.look("")
    users = [user for user in after.users if user not in {*before.users, GOOD}]
    bad = [user for user in users if _reaches_good(judge.services, user)]
    return Attack(norn, cases, canary, before, after, output, log, findings, apps, bad)


def _drop(norn: Here, cases: Iterable[Case]) -> None:
    for case in cases:
        path = norn.specs / case.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(case.raw)


def _reaches_good(services: Services, user: str) -> bool:
    """Asked of the server itself, whatever the rules look like."""
    tries = (
        ("GET", f"{GOOD}:x"),
        ("SET", f"{GOOD}:x", "1"),
        ("SUBSCRIBE", f"{GOOD}:x"),
        ("KEYS", "*"),
    )
    told = [services.valkey.execute_command("ACL", "DRYRUN", user, *words) for words in tries]
    return "OK" in told


def steers(char: str) -> bool:
    """Control and format characters, line and paragraph separators, lone surrogates."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def unplain(value: Any) -> list[str]:
    """Texts anywhere in `value` that are more than one plain line; the first few."""
    if isinstance(value, str):
        return [repr(value)[:200]] if any(map(steers, value)) else []
    inner = value.items() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found: list[str] = []
    for item in inner:
        for part in item if isinstance(item, tuple) else (item,):
            found += unplain(part)
    return sorted(set(found))[:20]
