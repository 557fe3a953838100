"""Hostile texts in every field, key, comment and file name: each file is refused with its place, or
taken as plain text; nothing of it becomes SQL, a rule, a log line, a variable or a command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.stack import Stack
from tests.acceptance.fleet_judge import Judge, Seen, acls_of, rules_in, rules_of
from tests.acceptance.fleet_logins import Variables
from tests.acceptance.hostile_attack import GOOD, Attack, attacked, steers, unplain
from tests.acceptance.hostile_specs import Case, Cases
from tests.acceptance.norn_here import folder_on
from tests.acceptance.services import Services

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole attack


@pytest.fixture(scope="module")
def attack(private_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attack]:
    """One folder with all of it, beside one good app, on servers that nobody else uses."""
    stack, folder = private_stack, tmp_path_factory.mktemp("attack") / "norn"
    services = Services(
        stack.postgres.url(), stack.valkey.url, stack.kafka.brokers, "norn-admin",
        stack.kafka.password,
    )  # fmt: skip
    settings = {**stack.environment(), "NORN_GRACE_SECONDS": "0.02", "NORN_LOG_FORMAT": "json"}
    norn_db = stack.postgres.url("norn", "norn", "norn_db")
    with (
        closing(services),
        folder_on(stack.postgres.url(), norn_db, folder, settings) as norn,
    ):
        yield attacked(norn, Judge(services))


def test_every_place_of_a_spec_is_refused_with_its_line_or_taken(
    attack: Attack, tmp_path: Path
) -> None:
    """Those that reach no server, too: a finding shows where, in one plain line."""
    schema = json.loads(attack.norn.run("schema"))
    cases = Cases(schema, str(attack.canary)).elsewhere()
    for case in cases:
        (tmp_path / case.file).write_bytes(case.raw)
    findings = json.loads(attack.norn.run("validate", str(tmp_path), "-o", "json", code=1))
    refused = {f["file"] for f in findings if f["severity"] == "error"}
    assert len(refused) > 5000 and len(cases) - len(refused) > 2000
    _check_findings(findings)


def test_every_file_is_refused_taken_or_no_spec(attack: Attack) -> None:
    taken = {case.file for case in attack.taken.values()}
    assert not taken & attack.refused
    neither = attack.cases.keys() - taken - attack.refused
    assert all(not file.isprintable() or file[0] in ".#~" for file in neither), sorted(neither)
    assert all(file.isprintable() for file in taken)
    assert all(re.fullmatch("[a-z0-9][a-z0-9-]*", app) for app in attack.apps)
    assert len(taken) > 300 and len(attack.refused) > 2000
    _check_findings(attack.findings)


def test_what_is_refused_is_said_in_the_log_too(attack: Attack) -> None:
    lines = [json.loads(line) for line in attack.lines]
    rejected = {line["file"] for line in lines if line["event"] == "spec.rejected"}
    assert rejected == attack.refused


def test_the_good_app_is_untouched_and_ready(attack: Attack) -> None:
    assert attack.apps[GOOD]["ready"]
    for kind, had in vars(attack.before).items():
        now = {name: getattr(attack.after, kind).get(name) for name in had}
        if kind == "roles":  # norn's admin is in each app's role, to act as it
            now["norn_admin"] |= {"member of": had["norn_admin"]["member of"]}
        assert now == had, kind


def test_what_is_taken_converges_or_names_the_server_that_refuses(attack: Attack) -> None:
    unready = {a: c for a, c in attack.taken.items() if not attack.apps[a]["ready"]}
    for app, case in unready.items():
        conditions = attack.apps[app]["conditions"]
        said = {c["type"] for c in conditions if c["status"] == "False"} - {"Ready"}
        # Which configs and extensions there are is the server's to know: it refuses, in its words.
        extended = "extensions" in case.services.get("postgres", {})
        assert said == {"DatabaseReady" if extended else "TopicsReady"}, (app, said)
    plan = json.loads(attack.output["plan", "-o", "json"])
    assert {app for app, actions in plan["apps"].items() if actions} == set(unready)


def test_servers_hold_only_what_taken_files_declare(attack: Attack) -> None:
    wanted = Seen()
    for app, case in attack.taken.items():
        _declare(wanted, app, case, ready=attack.apps[app]["ready"])
    for app, case in attack.taken.items():
        for reader, topic in _readers(case) if attack.apps[app]["ready"] else ():
            if f"User:{reader}" in wanted.acls:
                reads = {
                    f"ALLOW {do} ON TOPIC LITERAL {topic} FROM *" for do in ("READ", "DESCRIBE")
                }
                wanted.acls[f"User:{reader}"] |= reads
    new = {
        kind: {k: v for k, v in getattr(attack.after, kind).items() if k not in had}
        for kind, had in vars(attack.before).items()
    }
    assert new["roles"].keys() == wanted.roles.keys()
    assert new["databases"].keys() == wanted.databases.keys()
    assert {n: d["owner"] for n, d in new["databases"].items()} == wanted.databases
    for database in new["databases"].values():
        group = f"{database['owner']}.readers"
        others = {grant for grant in database["grants"] if group not in str(grant)}
        assert others == set(_own(database["owner"]))
    assert not any(r["powers"] for r in new["roles"].values())
    groups = {name for name in new["roles"] if name.endswith(".readers")}
    assert all(set(r["member of"]) <= groups for r in new["roles"].values())
    assert {user: rules_in(shown) for user, shown in new["users"].items()} == wanted.users
    assert new["topics"].keys() == wanted.topics.keys()
    assert new["acls"] == wanted.acls
    assert new["scram"].keys() == wanted.scram.keys()


def test_no_key_space_reaches_the_good_apps_keys(attack: Attack) -> None:
    assert len(attack.after.users) > 100
    assert not attack.trespassers


def _declare(wanted: Seen, app: str, case: Case, *, ready: bool) -> None:
    """What a taken file asks for. An app that is not ready was refused by the broker, and has
    nothing there."""
    services = case.services
    if "postgres" in services:
        wanted.roles[app] = None
        wanted.databases[str(services["postgres"]["database"])] = app
        if services["postgres"].get("readers"):
            wanted.roles[f"{app}.readers"] = None
    if "kv" in services:
        kv = services["kv"]
        wanted.users[app] = rules_of(str(kv["namespace"]), kv.get("channels", ()), info=False)
    if "events" in services and ready:
        wanted.scram[app] = None
        wanted.acls[f"User:{app}"] = acls_of(app, case.topics)
        wanted.topics.update(dict.fromkeys(case.topics))


def _own(owner: str) -> list[str]:
    return [f"{owner} {right}" for right in ("CONNECT", "CREATE", "TEMPORARY")]


def _readers(case: Case) -> list[tuple[str, str]]:
    topics = case.services.get("events", {}).get("topics", [])
    named = [topic for topic in topics if isinstance(topic, dict)]
    return [(reader, topic["name"]) for topic in named for reader in topic.get("readers", ())]


def test_nothing_that_steers_a_terminal_is_printed_or_logged(attack: Attack) -> None:
    for command, text in {**attack.output, ("log",): attack.log}.items():
        hostile = {c for c in text if c != "\n" and steers(c)}
        assert not hostile, (command, sorted(map(hex, map(ord, hostile))), _around(text, hostile))


def test_every_log_line_is_one_object_with_plain_texts(attack: Attack) -> None:
    assert len(attack.lines) > 2000
    for line in attack.lines:
        found = json.loads(line)
        assert isinstance(found, dict) and re.fullmatch(r"[a-z]+\.[a-z]+", found["event"])
        assert not (bad := unplain(found)), bad


def test_beside_its_log_a_command_says_one_line_per_app_and_finding(attack: Attack) -> None:
    said = [line for line in attack.log.split("\n") if line and not line.startswith("{")]
    unready = {app for app, record in attack.apps.items() if not record["ready"]}
    assert {line.partition(":")[0] for line in said[: len(unready)]} == unready
    for line in said[len(unready) :]:
        assert re.fullmatch(r".+:\d+:\d+: .+ \[[^\]]*[^\]].*\]", line), line


def test_records_shown_as_json_hold_plain_texts(attack: Attack) -> None:
    for command in (("status",), ("events", "-n", "1000"), ("plan",), ("validate",)):
        told = json.loads(attack.output[*command, "-o", "json"])
        assert not (bad := unplain(told)), (command, bad)


def test_console_markup_is_shown_as_it_stands(attack: Attack) -> None:
    assert "[red]x[/red] is not a field" in attack.output["validate",]


def test_env_files_hold_just_their_variables_for_systemd_and_for_shells(attack: Attack) -> None:
    folder = attack.norn.folder / ".norn" / "credentials"
    served = {a: c for a, c in attack.taken.items() if c.services and attack.apps[a]["ready"]}
    files = {path.name: path for path in folder.iterdir()}
    assert files.keys() == {f"{app}.env" for app in (*served, GOOD)}
    for app, case in served.items():
        as_systemd = _systemd(files[f"{app}.env"].read_bytes())
        as_shell = _shell(files[f"{app}.env"])
        assert as_systemd.keys() == as_shell.keys(), app
        assert not [k for k in as_systemd if as_systemd[k] != as_shell[k]], app
        _check_variables(app, case, as_systemd)


def _check_variables(app: str, case: Case, env: Variables) -> None:
    services = case.services
    assert ("DATABASE_URL" in env) == ("postgres" in services), app
    assert env.get("KV_NAMESPACE", "") == str(services.get("kv", {}).get("namespace", "")), app
    topics = {k: v for k, v in env.items() if k.startswith("KAFKA_TOPIC_")}
    assert sorted(topics.values()) == sorted(case.topics), app
    if "postgres" in services:
        path = urlsplit(env["DATABASE_URL"]).path
        assert path == f"/{services['postgres']['database']}", app


def test_no_command_ran_and_no_file_lies_outside(attack: Attack) -> None:
    assert not attack.canary.exists()
    assert {p.name for p in attack.norn.folder.iterdir()} == {"specs", ".norn"}
    assert {p.name for p in (attack.norn.folder / ".norn").iterdir()} == {
        "credentials", "master.key",
    }  # fmt: skip
    assert [p.name for p in attack.norn.folder.parent.iterdir()] == [attack.norn.folder.name]


def _check_findings(findings: list[dict[str, Any]]) -> None:
    for finding in findings:
        assert finding["line"] >= 1 and finding["column"] >= 1
        assert finding["check"] and finding["file"] and finding["message"]
    assert not (bad := unplain(findings)), bad


def _around(text: str, chars: set[str]) -> str:
    at = min((text.find(c) for c in chars), default=0)
    return repr(text[max(0, at - 80) : at + 80])


_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)=(?:([\w./:@%+,=?-]*)|"((?:[^"\\`$]|\\["\\`$])*)")')


def _systemd(content: bytes) -> Variables:
    """As systemd.exec(5) reads EnvironmentFile=, but nothing that it would let pass or drop."""
    found = Variables()
    lines = content.decode().split("\n")
    assert lines.pop() == ""
    for line in lines:
        match = _LINE.fullmatch(line)
        assert match is not None and not any(map(steers, line)), "a line is no assignment"
        name, bare, quoted = match.groups()
        assert name not in found
        found[name] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found


def _shell(file: Path) -> Variables:
    """What sourcing the file sets."""
    done = subprocess.run(
        ["sh", "-c", "set -a; . \"$1\"; env -0", "sh", str(file)],
        env={"PATH": os.environ["PATH"]}, cwd=file.parent, capture_output=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    told = (pair.partition("=") for pair in done.stdout.decode().split("\0") if pair)
    own = {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}
    return Variables({name: value for name, _, value in told if name not in own})
