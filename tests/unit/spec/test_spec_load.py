from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from norn_reconciler.spec.document import Spec
from norn_reconciler.spec.findings import Severity
from norn_reconciler.spec.load import restore
from norn_reconciler.spec.rules import CHECKS, Rules
from tests.unit.spec.fakes import RULES, document, loaded, places

HEAD = "app: a\nrole: worker\n"


@pytest.mark.parametrize(
    ("text", "check", "field", "line", "column"),
    [
        ("role: worker", "spec.app.required", "app", 1, 1),
        ("app: ''\nrole: worker", "spec.app.required", "app", 1, 1),
        ("app: A_b\nrole: worker", "spec.app.format", "app", 1, 1),
        ('role: worker\napp: "ab\\n"', "spec.app.format", "app", 2, 1),
        ("app: [a]\nrole: worker", "spec.app.type", "app", 1, 1),
        ("app: a", "spec.role.required", "role", 1, 1),
        ("app: a\nrole: server", "spec.role.invalid", "role", 2, 1),
        ("app: a\nrole: webserver\nhealthcheck: /", "webserver.port.required", "port", 1, 1),
        (
            "app: a\nrole: webserver\nport: 0\nhealthcheck: /",
            "webserver.port.required",
            "port",
            3,
            1,
        ),
        (
            "app: a\nrole: webserver\nport: 80",
            "webserver.healthcheck.recommended",
            "healthcheck",
            1,
            1,
        ),
        (HEAD + "port: 65536", "port.range", "port", 3, 1),
        (HEAD + "port: true", "port.type", "port", 3, 1),
        (HEAD + "port: [1]", "port.type", "port", 3, 1),
        ("app: a\nrole: cron\ncommand: x", "cron.schedule.required", "schedule", 1, 1),
        (
            "app: a\nrole: cron\ncommand: x\nschedule: 0 25 * * *",
            "cron.schedule.format",
            "schedule",
            4,
            1,
        ),
        ("app: a\nrole: cron\nschedule: 0 3 * * *", "cron.command.required", "command", 1, 1),
        ("app: a\nrole: function", "function.trigger.recommended", "function.trigger", 1, 1),
        (HEAD + "build:\n  test: x", "build.dockerfile.required", "build.dockerfile", 3, 1),
        (HEAD + "repo: {branch: x}", "repo.url.required", "repo.url", 3, 1),
        (
            HEAD + "migrations: {database: x}",
            "migrations.command.required",
            "migrations.command",
            3,
            1,
        ),
        (
            HEAD + "migrations: {command: x, database: y, timeout: 0}",
            "migrations.timeout.positive",
            "migrations.timeout",
            3,
            39,
        ),
        (
            HEAD + "migrations: {command: x}",
            "migrations.database.required",
            "migrations.database",
            3,
            1,
        ),
        (HEAD + "volumes:\n  - {mountPath: x}", "volumes.name.required", "volumes.name", 4, 5),
        (
            HEAD + "volumes:\n  - {name: x, mountPath: y}\n  - name: z",
            "volumes.mountPath.required",
            "volumes.mountPath",
            5,
            5,
        ),
        (HEAD + "alerts:\n  window: 5", "alerts.window.invalid", "alerts.window", 4, 3),
        (HEAD + "alerts:\n  window: soon", "alerts.window.invalid", "alerts.window", 4, 3),
        (HEAD + "alerts: {threshold: 0}", "alerts.threshold.positive", "alerts.threshold", 3, 10),
        (HEAD + "runtime: podman", "runtime.invalid", "runtime", 3, 1),
        (HEAD + "replicas: many", "replicas.type", "replicas", 3, 1),
        (HEAD + "secrets: A", "secrets.type", "secrets", 3, 1),
        (HEAD + "env: {A: [1]}", "env.A.type", "env.A", 3, 7),
        (HEAD + "env: 1", "env.type", "env", 3, 1),
        (HEAD + "services: [db]", "services.type", "services", 3, 1),
        (HEAD + "services:", "services.empty", "services", 3, 1),
        (
            HEAD + "services:\n  storage: {bucket: b}",
            "services.storage.unprovisioned",
            "services.storage",
            4,
            3,
        ),
        (HEAD + "services:\n  db:\n", "services.db.name.required", "services.db.name", 4, 3),
        (HEAD + "services:\n  db: {name: 1}", "services.db.name.type", "services.db.name", 4, 8),
        (HEAD + "services:\n  db: x", "services.db.type", "services.db", 4, 3),
        (
            HEAD + "services:\n  db: {name: norn_db}",
            "services.db.name.reserved",
            "services.db.name",
            4,
            8,
        ),
        (
            HEAD + "services:\n  db: {name: odd}",
            "services.db.name.invalid",
            "services.db.name",
            4,
            8,
        ),
        (
            HEAD + "services:\n  db: {name: x, nam: y}",
            "services.db.nam.unknown",
            "services.db.nam",
            4,
            17,
        ),
        (HEAD + "services:\n  redis: {}", "services.redis.unknown", "services.redis", 4, 3),
        ("app: root\nrole: worker\nservices: {db: {name: x}}", "spec.app.reserved", "app", 1, 1),
        (HEAD + "app: b", "spec.yaml.duplicate", "app", 3, 1),
        ("", "spec.empty", "", 1, 1),
        ("- a", "spec.type", "", 1, 1),
        (b"app: a\nrole: \xff", "spec.file.encoding", "", 2, 7),
        ("app: a\nrole: w\n  x: 1", "spec.yaml.syntax", "", 3, 4),
    ],
)
def test_one_finding(text: str | bytes, check: str, field: str, line: int, column: int) -> None:
    found = loaded(text)
    assert [(f.check, f.field, f.line, f.column) for f in found.findings] == [
        (check, field, line, column)
    ]
    if check in CHECKS:
        assert found.findings[0].severity is CHECKS[check]
    assert (found.document is None) == (found.findings[0].severity is Severity.ERROR)


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("service: {}", "services"),
        ("Services: {}", "services"),
        ("servces: {}", "services"),
        ("ports: 1", "port"),
        ("schedul: x", "schedule"),
        ("db: {name: x}", "services.db"),
        ("backing: {db: {name: x}}", "services"),
        ("repo:\n  url: x\n  services: {}", "services"),
        ("repo:\n  url: x\n  webhooksecret: x", "webhookSecret"),
        ("services: {dbs: {}}", "db"),
        ("services: {db: {name: x, sise: 1}}", "size"),
    ],
)
def test_a_typo_is_an_error_that_says_what_was_meant(line: str, near: str) -> None:
    found = loaded(HEAD + line)
    (finding,) = found.findings
    assert finding.severity is Severity.ERROR
    assert f"did you mean {near}" in finding.message
    assert found.document is None


def test_a_typo_of_services_is_not_sent_to_the_margin_where_it_stands() -> None:
    (finding,) = loaded(HEAD + "service:\n  kv:\n    namespace: a").findings
    assert finding.message.endswith("did you mean services?")
    inside = loaded(HEAD + "build:\n  dockerfile: d\n  services:\n    kv:\n      namespace: a")
    assert any(f.message.endswith("services (at the left margin)?") for f in inside.findings)


def test_a_key_near_to_nothing_is_a_warning_and_x_keys_are_silent() -> None:
    found = loaded(HEAD + "owner: me\nx-team: core\n$schema: y")
    assert [(f.check, f.severity) for f in found.findings] == [("owner.unknown", Severity.WARNING)]
    assert found.document is not None


def test_storage_is_checked_though_not_provisioned() -> None:
    found = loaded(HEAD + "services:\n  storage: {provider: ftp, buckt: b}")
    assert [(f.check, f.line, f.column) for f in found.findings] == [
        ("services.storage.unprovisioned", 4, 3),
        ("services.storage.provider.invalid", 4, 13),
    ]
    (_, finding) = loaded(HEAD + "services:\n  storage: {buckt: b}").findings
    assert (finding.check, finding.severity) == ("services.storage.buckt.unknown", Severity.ERROR)
    kept = json.loads(document(HEAD + "services: {storage: {bucket: b}}").record.canonical)
    assert kept["services"] == {"storage": {"bucket": "b"}}


def test_all_findings_at_once_in_the_files_order() -> None:
    found = loaded(
        "app: A\nrole: server\nport: x\nservice: {}\nservices:\n  db: {nme: x}\n  what: {}\n"
        "alerts: {window: x, threshold: -1}\nvolumes: [{}]\n"
    )
    assert [f.check for f in found.findings] == [
        "spec.app.format",
        "spec.role.invalid",
        "port.type",
        "service.unknown",
        "services.db.name.required",
        "services.db.nme.unknown",
        "services.what.unknown",
        "alerts.window.invalid",
        "alerts.threshold.positive",
        "volumes.mountPath.required",
        "volumes.name.required",
    ]
    assert places(found)["services.db.nme.unknown"] == (6, 8)
    assert list(found.findings) == sorted(found.findings)


def test_defaults_are_the_references() -> None:
    spec = document(HEAD).spec
    assert spec.model_dump(exclude={"app", "role"}) == {
        "core": False,
        "renamedFrom": "",
        "deletionPolicy": "retain",
        "port": None,
        "healthcheck": "",
        "hosts": None,
        "build": None,
        "repo": None,
        "services": {},
        "secrets": (),
        "migrations": None,
        "artifacts": {"retain": 5},
        "volumes": (),
        "replicas": 1,
        "env": {},
        "alerts": {"window": "5m", "threshold": 3},
        "schedule": "",
        "command": "",
        "timeout": 300,
        "runtime": "docker",
        "function": {"timeout": 30, "trigger": "http", "memory": "256m"},
        "target": None,
        "deploy": False,
    }


def test_values_as_norn_reads_them() -> None:
    spec = document(
        HEAD + "replicas: -3\ncore: yes\nrepo: {url: u, branch: 1.10}\nhealthcheck:\n"
        "alerts: {window: 90s}\ntarget: {capabilities: [gpu, 2]}"
    ).spec
    assert (spec.replicas, spec.core, spec.healthcheck, spec.alerts.window) == (
        1,
        True,
        "",
        "1m30s",
    )
    assert spec.repo is not None
    assert spec.repo.branch == "1.10"
    assert spec.target is not None
    assert spec.target.capabilities == ("gpu", "2")


def test_secrets_are_digests_everywhere() -> None:
    found = document(
        HEAD + "repo: {url: u, webhookSecret: hunter2}\nenv: {TOKEN: hunter3, N: 0x10, E: }"
    )
    assert "hunter" not in repr(found)
    assert "hunter" not in found.record.canonical
    digest = "sha256:" + hashlib.sha256(b"0x10").hexdigest()
    assert json.loads(found.record.canonical)["env"]["N"] == digest


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://bob:hunter2@git.example/a", "https://***@git.example/a"),
        ("https://hunter2@git.example/a@v1", "https://***@git.example/a@v1"),
        ("https://bob:hunter2@x@git.example", "https://***@git.example"),
        ("URL=postgres://a:hunter2@h/d ./migrate", "URL=postgres://***@h/d ./migrate"),
        ("git@git.example:a/b", "git@git.example:a/b"),
        ("https://git.example/@bob?to=a@b", "https://git.example/@bob?to=a@b"),
    ],
)
def test_who_logs_in_by_a_url_is_not_kept(written: str, kept: str) -> None:
    found = document(HEAD + f"command: '{written}'\nrepo: {{url: '{written}'}}")
    assert found.spec.repo is not None
    assert (found.spec.command, found.spec.repo.url) == (kept, kept)
    assert "hunter2" not in repr(found) + found.record.canonical
    # A record of an earlier version still has it, until it is next looked at.
    old = replace(found.record, canonical=found.record.canonical.replace(kept, written))
    assert restore(old, RULES) == replace(found, findings=())


@pytest.mark.parametrize(
    "text", [HEAD + "env: {TOKEN: [hunter2]}", HEAD + "repo: {webhookSecret: {a: hunter2}}"]
)
def test_no_finding_shows_a_secret(text: str) -> None:
    found = loaded(text)
    assert found.findings
    assert all("hunter2" not in str(f) + repr(f.as_json()) for f in found.findings)


def test_a_changed_secret_moves_the_canonical_form() -> None:
    one, two = (document(HEAD + f"env: {{A: {v}}}").record.canonical for v in ("x", "y"))
    assert one != two


def test_a_secret_that_looks_like_a_digest_is_digested_too() -> None:
    looks = "sha256:" + "0" * 64
    assert looks not in document(HEAD + f"env: {{A: '{looks}'}}").record.canonical


def test_core_keeps_reserved_names_without_a_section() -> None:
    found = loaded("app: root\nrole: worker\ncore: true\nservices: {db: {name: norn_db}}")
    assert [(f.check, f.severity) for f in found.findings] == [
        ("services.db.name.reserved", Severity.INFO)
    ]
    assert found.document is not None
    assert found.document.app.sections == {}
    assert restore(found.document.record, RULES) == replace(found.document, findings=())


def test_reserved_names_are_refused_to_everybody_else() -> None:
    found = loaded(HEAD + "services: {db: {name: norn_db}}")
    assert [(f.check, f.severity) for f in found.findings] == [
        ("services.db.name.reserved", Severity.ERROR)
    ]
    assert found.document is None


def test_core_excuses_nothing_else() -> None:
    found = loaded("app: a\nrole: worker\ncore: true\nservices: {db: {name: 1}}")
    assert [f.check for f in found.findings] == ["services.db.name.type"]
    assert found.document is None


def test_json_form() -> None:
    (finding,) = loaded("app: a").findings
    assert list(finding.as_json().items()) == [
        ("check", "spec.role.required"),
        ("severity", "error"),
        ("message", "role is required: one of webserver, worker, cron, function"),
        ("field", "role"),
        ("file", "a.yaml"),
        ("line", 1),
        ("column", 1),
    ]


def test_a_record_that_todays_checks_refuse_is_not_restored() -> None:
    record = document(HEAD + "services: {db: {name: x}}").record
    assert restore(record, RULES) is not None
    assert restore(record, Rules(RULES.sections, {"db": lambda app: "now the admin's"})) is None
    assert restore(replace(record, canonical='{"app":"a","services":{"db":{}}}'), RULES) is None
    assert restore(replace(record, canonical="{"), RULES) is None


# Properties

TEXTS = st.text("abc-_./ é:#{}[]'\"\n,&*!|>%@`", min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
FILLED = TEXTS.filter(str.strip)
VOLUMES = st.fixed_dictionaries({"name": FILLED, "mountPath": FILLED})
REPOS = st.fixed_dictionaries(
    {"url": FILLED}, optional={"webhookSecret": TEXTS, "autoDeploy": st.booleans()}
)
ALERTS = st.fixed_dictionaries(
    {}, optional={"window": st.sampled_from(["5m", "300s"]), "threshold": st.integers(1, 9)}
)
SPECS = st.fixed_dictionaries(
    {"app": NAMES.filter(lambda n: n != "root"), "role": st.just("worker")},
    optional={
        "port": st.integers(1, 65535),
        "healthcheck": TEXTS,
        "hosts": st.fixed_dictionaries({}, optional={"external": TEXTS, "internal": TEXTS}),
        "repo": REPOS,
        "services": st.fixed_dictionaries(
            {},
            optional={
                "db": st.fixed_dictionaries(
                    {"name": TEXTS.filter(lambda n: n not in {"norn_db", "odd"})},
                    optional={"size": st.integers(-5, 5), "also": st.lists(TEXTS, max_size=2)},
                ),
                "space": st.fixed_dictionaries({"prefix": TEXTS}),
                "storage": st.fixed_dictionaries({}, optional={"bucket": TEXTS}),
            },
        ),
        "secrets": st.lists(TEXTS, max_size=3),
        "env": st.dictionaries(TEXTS, TEXTS, max_size=3),
        "volumes": st.lists(VOLUMES, max_size=2),
        "replicas": st.integers(-3, 9),
        "alerts": ALERTS,
        "deploy": st.booleans(),
    },
)


def _shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(k, _shuffled(v, rng)) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [_shuffled(v, rng) for v in value] if isinstance(value, list) else value


@settings(max_examples=100, deadline=None)
@given(SPECS, st.randoms(use_true_random=False))
def test_canonical_moves_with_content_only_and_restores(
    spec: dict[str, Any], rng: random.Random
) -> None:
    # JSON is YAML: one text is compact, the other indented, with comments and another order.
    one = document(json.dumps(spec))
    laid_out = json.dumps(_shuffled(spec, rng), indent=3, ensure_ascii=False)
    two = document("# a comment\n" + laid_out + "\n\n# the end\n")
    assert one.record.canonical == two.record.canonical
    again = restore(one.record, RULES)
    assert again is not None
    assert (again.app, again.spec) == (one.app, one.spec)
    assert again.spec.canonical() == one.record.canonical
    assert Spec.from_canonical(one.record.canonical) == one.spec


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*Spec.model_fields, "db", "storage", "name", "url", "window", "é\u202e"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
@example({"app": "a", "role": ["x"], "port": {}, "alerts": [], "volumes": {"name": 1}})
@example({"services": {"db": {"name": {"a": 1}}, "storage": [1]}})
@example({"app": "a", "role": "worker", "alerts": {"window": {}}, "function": [], "core": {}})
def test_any_data_is_a_document_or_findings(data: object) -> None:
    found = loaded(json.dumps(data))
    failed = any(f.severity is Severity.ERROR for f in found.findings)
    assert (found.document is None) == failed
    for finding in found.findings:
        assert finding.message.isprintable()
        assert finding.line >= 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_findings(raw: bytes) -> None:
    found = loaded(raw)
    assert (found.document is None) == any(f.severity is Severity.ERROR for f in found.findings)


@pytest.mark.parametrize("app", ["-1", "1.5", "0x1F", "1e3", "-0", ".5", "1_0", '"1.5"'])
def test_a_number_is_an_app_name_only_where_its_text_is_one(app: str) -> None:
    """A dot in a name would put one app's topics inside another's prefix: 1. begins 1.5."""
    found = [f.check for f in loaded(f"app: {app}\nrole: worker\n").findings]
    good = re.fullmatch(r"[a-z0-9][a-z0-9-]*", app.strip('"')) is not None
    assert ("spec.app.format" in found) != good, found
