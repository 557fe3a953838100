import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.errors import LeaseLost
from norn_reconciler.model.records import Lease
from norn_reconciler.store.fence import LeaseFence


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_fence(seconds=10.0):
    clock = Clock()
    return LeaseFence(Lease("one", 1, seconds), clock=clock), clock


def is_open(fence) -> bool:
    try:
        fence.check()
    except LeaseLost:
        return False
    return True


def test_it_is_closed_before_a_first_renewal():
    fence, _ = a_fence()
    assert not is_open(fence)
    assert fence.remaining == 0.0


def test_it_closes_before_the_lease_ends_counted_from_before_the_request():
    fence, clock = a_fence(10.0)
    sent = fence.now()
    clock.now += 3.0  # the answer took its time
    fence.extend(sent)
    clock.now = sent + 8.9
    assert is_open(fence)
    clock.now = sent + 9.0
    assert not is_open(fence)


def test_a_stopped_process_finds_it_closed_and_a_granted_renewal_opens_it():
    fence, clock = a_fence()
    fence.extend(fence.now())
    clock.now += 3600
    assert not is_open(fence)
    fence.extend(fence.now())
    assert is_open(fence)


def test_nothing_opens_a_revoked_one():
    fence, _ = a_fence()
    fence.extend(fence.now())
    fence.revoke()
    fence.extend(fence.now())
    with pytest.raises(LeaseLost, match="given up"):
        fence.check()


@given(st.lists(st.floats(0, 1000), max_size=10), st.floats(0, 2000))
def test_open_means_that_some_granted_renewal_is_young_enough(renewals, now):
    """Late answers arrive in any order; an old one never shortens a newer one."""
    fence, clock = a_fence(10.0)
    for sent in renewals:
        fence.extend(sent)
    clock.now = now
    assert is_open(fence) == any(now < sent + 9.0 for sent in renewals)
