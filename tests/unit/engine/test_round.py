"""The round: what is written, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from norn_reconciler import logs
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import Rejected
from norn_reconciler.model.fleet import Refusal
from norn_reconciler.model.outcome import Blocked, Converged, Failed, RequeueAfter
from tests.unit.engine.fakes import OpenFence
from tests.unit.engine.world import World, fleet, member


async def test_a_new_app_converges_and_a_second_round_writes_nothing() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert world.service.server == {"one": "whole"}
    assert isinstance(world.outcome("a"), Converged)
    record = world.book.records[AppName("a")]
    assert (record.generation, record.observed_generation) == (1, 1)
    assert record.conditions["Ready"].status == "True"
    assert world.delivery.delivered == {"a"}
    writes, rows = len(world.service.writes), len(world.store.changes)
    await world.round()
    assert (len(world.service.writes), len(world.store.changes)) == (writes, rows)


async def test_the_claim_is_written_before_the_object() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    world.store.away = True
    await world.round()
    assert world.service.server == {}, "made without a claim"
    world.store.away = False
    await world.round("a")
    assert world.store.claims == ["a:one"]
    assert world.service.server == {"one": "whole"}


async def test_drift_is_repaired_and_recorded_with_expected_and_found() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert logs.DRIFT_DETECTED not in world.store.events()
    world.service.server["one"] = "bent"
    await world.round()
    assert world.service.server == {"one": "whole"}
    drift = [e for e in world.store.found if e.event == logs.DRIFT_DETECTED]
    assert [(e.fields["expected"], e.fields["found"]) for e in drift] == [("whole", "bent")]


async def test_drift_is_on_record_before_it_is_repaired_and_told_once_however_often_tried() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.server["one"] = "bent"
    world.service.poisoned = {"a": Rejected("box", "not now")}
    for _ in range(3):
        await world.round()
    assert world.store.events().count(logs.DRIFT_DETECTED) == 1
    world.service.poisoned = {}
    await world.round()
    assert world.service.server["one"] == "whole"
    world.service.server["one"] = "bent"
    await world.round()
    assert world.store.events().count(logs.DRIFT_DETECTED) == 2, "somebody did it again"


async def test_no_drift_is_repaired_that_could_not_be_recorded() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    world.service.server["one"] = "bent"
    world.store.away = True
    assert await world.round() == ()
    assert world.service.server == {"one": "bent"}
    world.store.away = False
    await world.round()
    assert world.service.server == {"one": "whole"}
    assert world.store.events().count(logs.DRIFT_DETECTED) == 1


async def test_lost_data_blocks_until_its_digest_is_confirmed() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    del world.service.server["one"]
    await world.round()
    blocked = world.outcome("a")
    assert isinstance(blocked, Blocked)
    assert world.service.server == {}
    digest = blocked.problem.remedy.split("norn confirm ")[1].split()[0]
    with pytest.raises(ValueError, match="nothing waits"):
        await world.engine.confirm("0" * 12)
    await world.engine.confirm(digest)
    await world.round()
    assert world.service.server == {"one": "whole"}


async def test_a_login_that_fails_is_never_ready_and_its_mark_is_not_recorded() -> None:
    world = World()
    world.service.proof = False
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert isinstance(world.outcome("a"), Failed)
    assert world.book.service("box", AppName("a")).mark is None
    assert world.delivery.delivered == set()


async def test_without_the_lease_nothing_is_written_and_the_app_says_so() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    world.fence.lost = True
    await world.round()
    assert world.service.server == {}
    outcome = world.outcome("a")
    assert isinstance(outcome, RequeueAfter) and outcome.reason == "NotLeader"


async def test_generation_moves_with_the_spec_and_one_rollout_is_one_deployment() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    await world.engine.accept(fleet(member("a", "one", "two")))
    await world.round()
    assert world.book.records[AppName("a")].generation == 2
    deployments = {d.id: d for c in world.store.changes for d in c.deployments}
    assert [d.status for d in deployments.values()] == ["deployed", "deployed"]


async def test_apps_are_written_in_chunks_and_all_converge() -> None:
    world = World()
    await world.engine.accept(fleet(*(member(f"a{i:03}", f"box{i:03}") for i in range(250))))
    await world.engine.settle(sorted(world.book.entries))
    assert len(world.service.server) == 250
    assert all(isinstance(o, Converged) for o in (h.outcome for h in world.book.heard.values()))


async def test_a_generation_is_not_overwritten_by_a_report_in_flight() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    observe = world.service.observe

    async def moves(wanted):
        seen = await observe(wanted)
        world.service.observe = observe  # type: ignore[method-assign]
        await world.engine.accept(fleet(member("a", "one", "two")))
        return seen

    world.service.observe = moves  # type: ignore[method-assign]
    await world.round()
    record = world.book.records[AppName("a")]
    assert (record.generation, record.observed_generation) == (2, 0)
    await world.round()
    assert world.book.records[AppName("a")].observed_generation == 2


async def test_a_rejected_file_is_shown_on_its_app_and_told_once() -> None:
    world = World()
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    words = "a.yaml:3:1: no such thing [x]"
    refused = (Refusal("new.yaml:1:1: no app [y]"), Refusal(words, "a"))
    broken = replace(fleet(member("a", "one", rejected=words)), refused=refused)
    for _ in range(2):
        await world.engine.accept(broken)
        await world.round()
    shown = world.book.records[AppName("a")].conditions
    assert shown["SpecAccepted"].status == "False" and words in shown["SpecAccepted"].message
    assert shown["Ready"].status == "True", "the last good version is in force"
    told = [(e.app, e.message) for c in world.store.changes for e in c.events
            if e.event == logs.SPEC_REJECTED]  # fmt: skip
    assert told == [(None, refused[0].text), ("a", words)]
    world = world.restarted()
    await world.engine.accept(broken)
    assert world.store.events().count(logs.SPEC_REJECTED) == 2, "a restart is no news"
    await world.engine.accept(fleet(member("a", "one")))
    await world.round()
    assert "SpecAccepted" not in world.book.records[AppName("a")].conditions
    assert world.store.changes[-1].refused is None or world.store.changes[-1].refused == ()


def test_the_open_fence_is_a_fence() -> None:
    OpenFence().check()
