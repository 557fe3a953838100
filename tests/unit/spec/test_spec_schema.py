"""The schema that editors get, and the examples that every user starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from norn_reconciler.providers import REGISTRY
from norn_reconciler.spec.load import restore
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.schema import schema
from norn_reconciler.spec.tree import parse
from tests.unit.spec.fakes import loaded

RULES = Rules({key: r.section() for key, r in REGISTRY.items()})
SPECS = Path(__file__).parents[3] / "specs"
EXAMPLES = sorted(SPECS.glob("*.yaml"))


def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema(RULES))
    return Draft202012Validator(schema(RULES))


def test_the_committed_schema_is_what_norn_schema_prints() -> None:
    committed = json.loads((SPECS / "infraspec.schema.json").read_text())
    assert committed == schema(RULES), "run: norn schema > specs/infraspec.schema.json"


def test_there_are_examples() -> None:
    assert {"mail-agent.yaml", "thumbnailer.yaml", "nightly-report.yaml"} <= {
        path.name for path in EXAMPLES
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid_and_lead_editors_to_the_schema(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=./infraspec.schema.json\n")
    found = loaded(text, path.name, RULES)
    assert found.findings == ()
    assert found.document is not None
    assert found.document.app.name == path.stem
    assert list(validator().iter_errors(parse(text).data)) == []
    again = restore(found.document.record, RULES)
    assert again is not None
    assert again.app == found.document.app


def test_the_example_of_the_reference() -> None:
    assert parse((SPECS / "mail-agent.yaml").read_text()).data == {
        "app": "mail-agent",
        "role": "webserver",
        "port": 80,
        "healthcheck": "/health",
        "services": {
            "postgres": {"database": "mailagent_db"},
            "kv": {"namespace": "mail-agent"},
            "events": {"topics": ["mail.inbound", "mail.processed"]},
        },
        "secrets": ["DATABASE_URL", "SMTP_API_KEY"],
        "migrations": {"command": "npm run db:migrate", "database": "mailagent_db"},
        "artifacts": {"retain": 5},
        "alerts": {"window": "5m", "threshold": 3},
    }


BASE: dict[str, Any] = {"app": "a", "role": "worker"}


@pytest.mark.parametrize(
    "change",
    [
        {"app": "A"},
        {"role": "server"},
        {"role": "webserver"},
        {"role": "cron", "command": "x"},
        {"port": 65536},
        {"servces": {}},
        {"services": {"redis": {}}},
        {"services": {"kv": {}}},
        {"services": {"kv": {"namespace": "a*"}}},
        {"services": {"postgres": {"database": "a", "conections": 1}}},
        {"services": {"events": {"topics": [{"name": "a", "partitions": 0}]}}},
        {"services": {"storage": {"provider": "ftp"}}},
        {"repo": {"branch": "main"}},
        {"volumes": [{"name": "x"}]},
        {"alerts": {"threshold": 0}},
        {"env": {"A": [1]}},
    ],
)
def test_an_editor_marks_what_the_checks_refuse(change: dict[str, Any]) -> None:
    data = {**BASE, **change}
    assert list(validator().iter_errors(BASE)) == []
    assert list(validator().iter_errors(data))
    assert loaded(json.dumps(data), "a.yaml", RULES).document is None


@pytest.mark.parametrize(
    "change",
    [
        {"x-team": {"a": 1}},
        {"services": {"events": {"topics": []}}},
        {"env": {"A": 1, "B": True, "C": None}},
        {"role": "cron", "schedule": "* * * * *", "command": "x"},
        {"repo": {"url": "u", "autoDeploy": True, "webhookSecret": "s"}},
    ],
)
def test_an_editor_lets_pass_what_the_checks_do(change: dict[str, Any]) -> None:
    data = {**BASE, **change}
    assert list(validator().iter_errors(data)) == []
    assert loaded(json.dumps(data), "a.yaml", RULES).document is not None


def test_sections_refuse_unknown_keys() -> None:
    """A section that ignored them would read a typo as "not asked for"."""
    for key in RULES.sections:
        found = loaded(json.dumps({**BASE, "services": {key: {"zzz": 1}}}), "a.yaml", RULES)
        assert f"services.{key}.zzz.unknown" in {f.check for f in found.findings}
