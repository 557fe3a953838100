from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.spec.claims import contest

A, B, C = AppName("a"), AppName("b"), AppName("c")


def name(value: str) -> Claim:
    return Claim("db", value)


def below(value: str) -> Claim:
    return Claim("db", value, prefix=True)


def losers(wanted: dict[AppName, set[Claim]], held: dict[AppName, set[Claim]]) -> set[AppName]:
    return set(
        contest(
            {k: frozenset(v) for k, v in wanted.items()},
            {k: frozenset(v) for k, v in held.items()},
        )
    )


def test_who_only_asks_loses_to_who_asks_too() -> None:
    assert losers({A: {name("x")}, B: {name("x")}, C: {name("y")}}, {}) == {A, B}


def test_who_holds_keeps() -> None:
    assert losers({A: {name("x")}, B: {name("x")}}, {A: {name("x")}}) == {B}


def test_a_holder_that_asks_for_nothing_keeps_too() -> None:
    assert losers({B: {name("x")}}, {A: {name("x")}}) == {B}


def test_a_prefix_collides_with_what_is_below_it() -> None:
    assert losers({A: {below("b.")}, B: {name("b.x")}, C: {name("bx")}}, {}) == {A, B}
    assert losers({A: {below("b.")}, B: {name("b.x")}}, {B: {name("b.x")}}) == {A}
    assert losers({A: {below("b.")}, B: {below("b.c.")}}, {A: {below("b.")}}) == {B}


def test_holding_a_name_is_not_holding_the_prefix() -> None:
    assert losers({A: {below("x")}, B: {name("xy")}}, {A: {name("x")}, B: set()}) == {A, B}


def test_spaces_are_apart() -> None:
    assert losers({A: {Claim("db", "x")}, B: {Claim("topic", "x")}}, {}) == set()


CLAIMS = st.frozensets(
    st.builds(
        Claim, st.sampled_from(["s", "t"]), st.text("ab\U0010ffff", max_size=3), st.booleans()
    ),
    max_size=3,
)
FLEETS = st.dictionaries(st.sampled_from([A, B, C, AppName("d")]), CLAIMS, max_size=4)


def _covered(claim: Claim, holding: frozenset[Claim]) -> bool:
    return any(
        h.collides(claim) and h.value <= claim.value and (h.prefix or not claim.prefix)
        for h in holding
        if h.prefix or h.value == claim.value
    )


@given(FLEETS, FLEETS)
def test_equals_the_rule_read_pair_by_pair(
    wanted: dict[AppName, frozenset[Claim]], held: dict[AppName, frozenset[Claim]]
) -> None:
    expected = {
        (app, claim, rival, other, is_held or _covered(other, held.get(rival, frozenset())))
        for app, claims in wanted.items()
        for claim in claims
        if not _covered(claim, held.get(app, frozenset()))
        for others, is_held in ((wanted, False), (held, True))
        for rival, theirs in others.items()
        for other in theirs
        if rival != app and claim.collides(other)
    }
    found = {
        (app, loss.claim, loss.rival, loss.other, loss.held)
        for app, losses in contest(wanted, held).items()
        for loss in losses
    }
    assert found == expected
