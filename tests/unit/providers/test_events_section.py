"""The events section: its checks, each at its place, and the names it claims."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.model.inventory import Held, HeldState
from norn_reconciler.providers.events.section import EventsSection, refused_app_name, variable


def parse(section: Any) -> EventsSection:
    return EventsSection.model_validate(section)


def findings(section: Any) -> list[tuple[str, tuple[int | str, ...]]]:
    with pytest.raises(ValidationError) as caught:
        parse(section)
    return [(error["type"], error["loc"]) for error in caught.value.errors()]


def test_names_and_maps_are_topics() -> None:
    section = parse(
        {
            "topics": [
                "mail.inbound",
                {
                    "name": "mail.processed",
                    "partitions": 3,
                    "replication": 1,
                    "config": {
                        "retention.ms": 1000,
                        "preallocate": True,
                        "min.cleanable.dirty.ratio": 0.25,
                        "cleanup.policy": "compact",
                    },
                },
            ]
        }
    )
    plain, full = section.topics
    assert (plain.name, plain.partitions, plain.replication, plain.config) == (
        "mail.inbound", None, None, {},
    )  # fmt: skip
    assert (full.partitions, full.replication) == (3, 1)
    assert full.config == {
        "retention.ms": "1000",
        "preallocate": "true",
        "min.cleanable.dirty.ratio": "0.25",
        "cleanup.policy": "compact",
    }


def test_an_empty_list_is_a_user_of_its_own() -> None:
    assert parse({"topics": []}).topics == ()


@pytest.mark.parametrize("section", [{}, {"topics": None}])
def test_no_list_says_what_to_write(section: Any) -> None:
    with pytest.raises(ValidationError, match=r"topics: \[\]") as caught:
        parse(section)
    assert [e["type"] for e in caught.value.errors()] == ["services.events.topics.required"]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"topics": "mail"}, [("services.events.topics.type", ("topics",))]),
        ({"topics": [7]}, [("services.events.topics.type", ("topics", 0))]),
        ({"topics": [], "topic": []}, [("extra_forbidden", ("topic",))]),
        ({"topics": [{"partitions": 1}]}, [("missing", ("topics", 0, "name"))]),
        (
            {"topics": [{"name": "a", "partition": 1}]},
            [("extra_forbidden", ("topics", 0, "partition"))],
        ),
        (
            {"topics": [{"name": "a", "partitions": 0}]},
            [("greater_than_equal", ("topics", 0, "partitions"))],
        ),
        (
            {"topics": [{"name": "a", "partitions": 1001}]},
            [("less_than_equal", ("topics", 0, "partitions"))],
        ),
        (
            {"topics": [{"name": f"t{i}", "partitions": 1000} for i in range(10)] + ["one"]},
            [("services.events.topics.partitions", ("topics",))],
        ),
        (
            {"topics": [{"name": "a", "replication": 40000}]},
            [("less_than_equal", ("topics", 0, "replication"))],
        ),
        (
            {"topics": [{"name": "a", "partitions": "3"}]},
            [("int_type", ("topics", 0, "partitions"))],
        ),
        (
            {"topics": [{"name": "a", "config": {"retention.ms": None}}]},
            [("services.events.topics.config", ("topics", 0, "config", "retention.ms"))],
        ),
        (
            {"topics": [{"name": "a", "config": {"retention.ms": "1\n2"}}]},
            [("services.events.topics.config", ("topics", 0, "config", "retention.ms"))],
        ),
        (
            {"topics": [{"name": "a", "config": {"Bad Key": 1}}]},
            [("services.events.topics.config", ("topics", 0, "config", "Bad Key", "[key]"))],
        ),
        (
            {"topics": ["ok", "a b", "ok"]},
            [
                ("services.events.topics.format", ("topics", 1, "name")),
                ("services.events.topics.duplicate", ("topics", 2)),
            ],
        ),
        (
            {"topics": ["mail.in", "mail_in", "mail-in"]},
            [
                ("services.events.topics.collision", ("topics", 1)),
                ("services.events.topics.variable", ("topics", 2)),
            ],
        ),
        ({"topics": ["Mail", "mail"]}, [("services.events.topics.variable", ("topics", 1))]),
    ],
)
def test_a_fault_is_found_at_its_place(section: Any, expected: Any) -> None:
    assert findings(section) == expected


@pytest.mark.parametrize("name", ["", "a\n", "a" * 250, "é", "a/b", "a*", 'a"b', "a,b", "\uff41"])
def test_a_name_with_another_character_is_refused(name: str) -> None:
    assert findings({"topics": [name]}) == [
        ("services.events.topics.format", ("topics", 0, "name"))
    ]


@pytest.mark.parametrize("name", [".", "..", "__consumer_offsets", "__x", "_schemas"])
def test_a_reserved_name_is_refused(name: str) -> None:
    assert findings({"topics": [name]}) == [
        ("services.events.topics.reserved", ("topics", 0, "name"))
    ]


@given(st.text())
def test_whatever_is_accepted_is_a_name_that_needs_no_quoting(name: str) -> None:
    try:
        section = parse({"topics": [name]})
    except ValidationError:
        return
    assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", section.topics[0].name)
    assert re.fullmatch(r"KAFKA_TOPIC_[A-Z0-9_]+", variable(name))


@given(st.lists(st.text("aAbB.-_", min_size=1, max_size=3), max_size=5))
def test_accepted_lists_have_unique_variables_and_spellings(names: list[str]) -> None:
    try:
        parse({"topics": names})
    except ValidationError:
        return
    assert len({variable(name) for name in names}) == len(names)
    assert len({name.replace(".", "_") for name in names}) == len(names)


def test_the_schema_takes_a_name_or_a_map_and_wants_topics() -> None:
    schema = EventsSection.model_json_schema()
    assert schema["required"] == ["topics"]
    assert "default" not in schema["properties"]["topics"]
    item = schema["properties"]["topics"]["items"]
    assert {"type": "string"} in item["anyOf"]


def collides(a: str, a_topics: list[str], b: str, b_topics: list[str]) -> bool:
    one = parse({"topics": a_topics}).claims(AppName(a))
    other = parse({"topics": b_topics}).claims(AppName(b))
    return any(x.collides(y) for x, y in product(one, other))


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (["mail.in"], ["mail.in"], True),
        (["mail.in"], ["mail_in"], True),
        (["mail.in"], ["mail.out"], False),
        (["other.in"], [], True),
        (["other"], [], False),
        (["otherwise.in"], [], False),
        (["mine.in"], ["other.in"], False),
    ],
)
def test_claims_of_two_apps(mine: list[str], theirs: list[str], expected: bool) -> None:
    assert collides("mine", mine, "other", theirs) is expected
    assert collides("other", theirs, "mine", mine) is expected


def test_rows_keep_their_names() -> None:
    app = AppName("mine")
    topic = Held("topic", "mail.in", HeldState.RETAINED)
    assert EventsSection.held(app, topic) == {
        Claim("events.topic", "mail_in"), Claim("events.name", "mail.in"),
    }  # fmt: skip
    assert EventsSection.held(app, Held("scram-user", "mine")) == {
        Claim("events.name", "mine.", prefix=True)
    }
    assert EventsSection.held(app, Held("something", "else")) == frozenset()


def test_names_that_no_app_may_have() -> None:
    reserved = frozenset({"admin"})
    assert refused_app_name("mail-agent", reserved) is None
    assert "settings" in (refused_app_name("admin", reserved) or "")
    assert refused_app_name("anonymous", reserved)
    assert refused_app_name("a" * 201, reserved)
    assert refused_app_name("a\n", reserved)
