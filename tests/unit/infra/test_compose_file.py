"""infra/compose.yaml: valid by the compose specification, and closed to strangers."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

INFRA = Path(__file__).parents[3] / "infra"
# The specification's schema as check-jsonschema carries it, with its licence (Apache-2.0).
SCHEMA = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@pytest.fixture(scope="module")
def compose() -> Any:
    return load(INFRA / "compose.yaml")


def validator() -> jsonschema.protocols.Validator:
    schema = json.loads(Path(str(distribution("check-jsonschema").locate_file(SCHEMA))).read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def test_it_is_valid_by_the_compose_specification(compose) -> None:
    assert [error.message for error in validator().iter_errors(compose)] == []


def test_a_fault_in_it_would_be_found(compose) -> None:
    broken = {**compose, "services": {"valkey": {"image": "valkey", "healthchek": {}}}}
    assert list(validator().iter_errors(broken))


def test_the_services_are_on_the_ports_that_norn_expects(compose) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items()}
    assert published == {
        "valkey": ["127.0.0.1:6379:6379"],
        "redpanda": ["127.0.0.1:19092:19092"],
        "console": ["127.0.0.1:8090:8080"],
    }


def test_ports_are_published_on_loopback_only(compose) -> None:
    for service in compose["services"].values():
        assert service.get("network_mode") != "host"
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def test_each_image_is_pinned(compose) -> None:
    for service in compose["services"].values():
        assert re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])


def test_redpanda_is_new_enough_for_users_by_the_kafka_api(compose) -> None:
    image = compose["services"]["redpanda"]["image"]
    major, minor = re.search(r":v(\d+)\.(\d+)\.", image).groups()
    assert (int(major), int(minor)) >= (25, 2)


def test_each_service_has_a_health_check(compose) -> None:
    for service in compose["services"].values():
        check = service["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert check["retries"] * int(check["interval"].removesuffix("s")) >= 60


def test_data_is_in_named_volumes(compose) -> None:
    mounted = {
        name: [entry.split(":") for entry in service.get("volumes", [])]
        for name, service in compose["services"].items()
    }
    named = {entry[0]: entry[1] for entries in mounted.values() for entry in entries}
    assert named["valkey-data"] == "/data"
    assert named["valkey-acl"] == "/acl"
    assert named["redpanda-data"] == "/var/lib/redpanda/data"
    assert set(compose["volumes"]) == {"valkey-data", "valkey-acl", "redpanda-data"}
    # Anything else is a file of this folder, read-only.
    for source, *rest in (e for entries in mounted.values() for e in entries):
        if source not in compose["volumes"]:
            assert rest[-1] == "ro"
            assert (INFRA / source).is_file()


def test_passwords_come_from_the_generated_file_and_are_required(compose) -> None:
    text = (INFRA / "compose.yaml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used == {"VALKEY_PASSWORD", "VALKEY_PASSWORD_SHA256", "REDPANDA_PASSWORD"}
    # Without the file compose refuses to start, where an empty password would do harm.
    assert len(re.findall(r"(?<!\$)\$\{\w+:\?", text)) == len(re.findall(r"(?<!\$)\$\{", text))
    secret = re.compile("PASS|AUTH|BOOTSTRAP_USER|SECRET")
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not secret.search(name) or "${" in value, name


def test_valkeys_default_user_is_locked(compose) -> None:
    script = compose["services"]["valkey"]["command"][0]
    assert "user default reset off\\n" in script
    assert "--aclfile /acl/users.acl" in script


def test_redpanda_asks_everybody_for_a_password_and_an_acl() -> None:
    assert load(INFRA / "redpanda-bootstrap.yaml") == {
        "superusers": ["norn-admin"],
        "enable_sasl": True,
        "kafka_enable_authorization": True,
        "sasl_mechanisms": ["SCRAM"],
        "auto_create_topics_enabled": False,
    }
