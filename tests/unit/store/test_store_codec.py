import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import Held, HeldState, Origin
from norn_reconciler.model.migrations import Migrated, MigrationState
from norn_reconciler.model.plan import Step
from norn_reconciler.model.records import (
    AppRecord,
    AppState,
    Deployment,
    Generation,
    ServiceRecord,
    SpecRecord,
)
from norn_reconciler.model.secret import CredentialMark
from norn_reconciler.model.status import Condition
from norn_reconciler.store import codec

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
instants = st.datetimes(timezones=st.just(UTC))
conditions = st.builds(
    Condition, text, st.sampled_from(["True", "False", "Unknown"]), text, text, instants
)
apps = st.builds(
    AppRecord,
    st.builds(AppName, text),
    st.builds(SpecRecord, text, text, st.integers(0), st.integers(0), text),
    st.integers(1),
    st.integers(0),
    st.sampled_from(AppState),
    st.booleans(),
    st.none() | text,
    st.none() | st.builds(Generation, st.integers(1), text),
    st.lists(conditions).map(lambda cs: {c.type: c for c in cs}),
)


def through_json(row):
    return json.loads(codec.dumps(row))


@given(apps)
def test_an_app_survives_its_row(record):
    row = through_json(codec.app_row(record))
    joined = record.pinned.canonical if record.pinned else None  # from its own table
    assert codec.app_record({**row, "pinned_canonical": joined}) == record


@given(
    st.builds(
        Held,
        text,
        text,
        st.sampled_from(HeldState),
        st.sampled_from(Origin),
        st.none() | text,
        st.dictionaries(text, text),
    )
)
def test_a_held_object_survives_its_row(held):
    row = through_json(codec.held_row("kv", AppName("a"), held))
    assert codec.held_value(row) == held


@given(
    st.builds(
        ServiceRecord, st.none() | text, st.none() | st.builds(CredentialMark, text, st.integers(1))
    )
)
def test_a_service_survives_its_row(record):
    row = through_json(codec.service_row("kv", AppName("a"), record))
    assert codec.service_record(row) == record


@given(
    st.builds(
        Migrated,
        st.builds(AppName, text),
        text,
        st.sampled_from(MigrationState),
        instants,
        st.none() | text,
        text,
        text,
    )
)
def test_a_migration_survives_its_row(migrated):
    row = through_json(codec.migrated_row(migrated))
    assert codec.migrated({**row, "at": datetime.fromisoformat(row["at"])}) == migrated


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values | st.text(st.characters(categories=["Cs", "Cc"])))
def test_whatever_is_given_becomes_json_that_jsonb_takes(value):
    def refuse(constant):
        raise AssertionError(constant)  # NaN and its kin are no JSON

    written = codec.dumps({"value": value})
    written.encode()
    back = json.dumps(json.loads(written, parse_constant=refuse))
    assert "\\u0000" not in back.replace("\\\\", "")


@given(text)
def test_a_harmless_text_is_written_as_it_is(value):
    assert json.loads(codec.dumps([value])) == [value]


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [("a\0b", "a\ufffdb"), ("\\u0000", "\\u0000"), ("a\udc80", "a?"), ("é☃😀", "é☃😀")],
)
def test_only_what_jsonb_refuses_is_replaced(given_text, kept):
    assert json.loads(codec.dumps([given_text])) == [kept]


@pytest.mark.parametrize(
    ("status", "finished"), [("deploying", None), ("deployed", NOW.isoformat())]
)
def test_a_deployment_in_flight_has_no_end(status, finished):
    row = codec.deployment_row(Deployment("i", AppName("a"), status, (), None, NOW, NOW), 3)
    assert (row["finished_at"], row["error"], row["reconciler_epoch"]) == (finished, "", 3)


@pytest.mark.parametrize(
    ("held", "steps"),
    [
        (
            [{"step": "s", "status": "ok", "durationMs": 4, "output": "o", "x": 1}],
            (Step("s", "ok", 4, "o"),),
        ),
        ('[{"step": "s", "status": "ok"}]', (Step("s", "ok", 0),)),
        ("not json", ()),
        (None, ()),
        ([1, "two"], ()),
    ],
)
def test_steps_of_other_tools_are_borne(held, steps):
    assert codec.steps_of(held) == steps
