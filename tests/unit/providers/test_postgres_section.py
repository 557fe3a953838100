"""`services.postgres`: its checks, claims and schema; names that no app may have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from norn_reconciler.model.app import AppName, Claim, Section
from norn_reconciler.model.inventory import Held
from norn_reconciler.providers.postgres.section import (
    PostgresSection,
    refused_app_name,
    refused_database,
)

APP = AppName("mail-agent")


def findings(section: Any) -> list[tuple[str, tuple[Any, ...]]]:
    with pytest.raises(ValidationError) as caught:
        PostgresSection.model_validate(section)
    return [(e["type"], e["loc"]) for e in caught.value.errors()]


def test_defaults() -> None:
    section = PostgresSection.model_validate({"database": "mailagent_db"})
    assert (section.connections, section.migrations) == (50, None)
    assert isinstance(section, Section)


@pytest.mark.parametrize(
    ("database", "check"),
    [
        (None, "required"),
        ("", "format"),
        ("a b", "format"),
        ("a;b", "format"),
        ('a"b', "format"),
        ("-a", "format"),
        ("ä", "format"),
        ("a\n", "format"),
        ("x" * 64, "length"),
        ("postgres", "reserved"),
        ("Template0", "reserved"),
        ("template1", "reserved"),
        ("norn_db", "reserved"),
        ("pg_x", "reserved"),
    ],
)
def test_a_bad_database_has_its_check_and_place(database: str | None, check: str) -> None:
    expected = [(f"services.postgres.database.{check}", ("database",))]
    assert findings({"database": database}) == expected


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "postgres", "pg_x", "norn_db"])
def test_what_no_database_of_an_app_can_have_been_called(name: str) -> None:
    expected = [("services.postgres.renamedFrom.format", ("renamedFrom",))]
    assert findings({"database": "mail_db", "renamedFrom": name}) == expected


@pytest.mark.parametrize("reader", ["Shop", "a.b", "", "-a", "a_b"])
def test_a_reader_is_an_apps_name(reader: str) -> None:
    found = findings({"database": "x", "readers": ["shop", reader]})
    assert found == [("services.postgres.readers.format", ("readers",))]


def test_a_name_that_leaves_no_room_for_a_group() -> None:
    def section(app: str) -> PostgresSection:
        context = {"app": app, "core": False}
        return PostgresSection.model_validate({"database": "x", "readers": ["b"]}, context=context)

    assert section("a" * 55).readers == ("b",)
    with pytest.raises(ValidationError, match="at most 55"):
        section("a" * 56)
    assert PostgresSection.model_validate(
        {"database": "x", "readers": []}, context={"app": "a" * 63}
    )


def test_readers_are_each_given_the_database() -> None:
    section = PostgresSection(database="x", readers=("b", "a", "b"))
    assert section.readers == ("a", "b")
    assert section.shares() == {"a": {("database", "x")}, "b": {("database", "x")}}
    dumped = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert PostgresSection.model_validate(dumped) == section


def test_a_missing_database_does_not_hide_other_findings() -> None:
    assert findings({"connections": 0, "datbase": "x"}) == [
        ("services.postgres.database.required", ("database",)),
        ("greater_than_equal", ("connections",)),
        ("extra_forbidden", ("datbase",)),
    ]


@pytest.mark.parametrize("value", ["50", 1.5, True, None, 10**9])
def test_connections_is_a_number_that_the_server_takes(value: object) -> None:
    assert [loc for _, loc in findings({"database": "d", "connections": value})] == [
        ("connections",)
    ]


@pytest.mark.parametrize("name", ["mailagent_db", "Mail-Agent", "0", "_x", "x" * 63, "pgx"])
def test_names_that_postgresql_users_have(name: str) -> None:
    assert PostgresSection(database=name).database == name


@given(st.text())
def test_what_passes_is_a_plain_name(name: str) -> None:
    try:
        PostgresSection(database=name)
    except ValidationError:
        return
    assert name.isascii()
    assert name.replace("_", "").replace("-", "").isalnum() or set(name) <= set("_-")
    assert 0 < len(name) <= 63


def test_claims_and_held() -> None:
    claim = Claim("postgres.database", "mailagent_db")
    assert PostgresSection(database="mailagent_db").claims(APP) == {claim}
    assert PostgresSection.held(APP, Held("database", "mailagent_db")) == {claim}
    assert PostgresSection.held(APP, Held("role", "mail-agent")) == frozenset()


def test_the_schema_requires_a_database() -> None:
    schema = PostgresSection.model_json_schema()
    assert schema["required"] == ["database"]
    assert "default" not in schema["properties"]["database"]


@pytest.mark.parametrize(
    "app",
    ["postgres", "public", "norn", "norn_admin", "none", "pg_monitor", "admin1", "user", "x" * 64],
)
def test_apps_that_cannot_be_roles(app: str) -> None:
    assert refused_app_name(app, frozenset({"admin1"}))


@pytest.mark.parametrize("app", ["mail-agent", "pgbouncer", "norns", "x" * 63])
def test_apps_that_can(app: str) -> None:
    assert refused_app_name(app, frozenset({"admin1"})) is None


def test_databases_that_the_settings_name_are_refused() -> None:
    assert refused_database("records", frozenset({"records"}))
    assert refused_database("records") is None
