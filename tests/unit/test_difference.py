from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.difference import ABSENT, Difference, differences

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 1, 2)]),
        ({"a": 1}, {"a": 1, "b": None}, [("b", ABSENT, None)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
        ({"a": True}, {"a": 1}, [("a", True, 1)]),
        ({"a": [True]}, {"a": [1]}, [("a", [True], [1])]),
        (
            {"t": [{"name": "x", "n": 1}, {"name": "y"}]},
            {"t": [{"name": "y"}, {"name": "x", "n": 2}]},
            [("t[x].n", 1, 2)],
        ),
        (
            {"t": [{"name": "x"}]},
            {"t": [{"name": "x"}, {"name": "z"}]},
            [("t[z]", ABSENT, {"name": "z"})],
        ),
        (
            {"t": [{"name": "x"}, {"name": "x"}]},
            {"t": [{"name": "x"}]},
            [("t", [{"name": "x"}, {"name": "x"}], [{"name": "x"}])],
        ),
        ({"t": [{"name": "x"}]}, {"t": []}, [("t", [{"name": "x"}], [])]),
    ],
)
def test_fields_that_differ_are_named_and_no_other(
    before: object, after: object, found: list[tuple[str, object, object]]
) -> None:
    assert list(differences(before, after)) == [Difference(*each) for each in found]


@given(JSON, JSON)
def test_it_is_told_whenever_two_differ_and_never_of_equal_ones(one: object, other: object) -> None:
    assert not list(differences(one, one))
    found = list(differences(one, other))
    assert bool(found) == (repr(_sorted(one)) != repr(_sorted(other)))
    back = [Difference(d.field, d.after, d.before) for d in found]
    assert list(differences(other, one)) == back


def _sorted(value: object) -> object:
    """Keys in order, so that what it is written as says whether it is the same."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
