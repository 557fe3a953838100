"""What every provider owes the engine, tried against its real server.

A service's test class inherits `ProviderContract`, gives it a `provider` fixture and fills in the
methods of `Subject`. Nothing here knows a service. `World` plays the engine's round with the
inventory in memory: observe, plan, claim, apply, observe, confirm.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from norn_reconciler.model.app import App, AppName, Section
from norn_reconciler.model.errors import LeaseLost, ServiceError
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.outcome import Applied
from norn_reconciler.model.plan import Action, Effect, Plan, Wanted
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import Credential, CredentialMark, Secret

TESTS = Path(__file__).parent.parent
ROUNDS = 8  # a service whose reads lag behind its writes may need more than one look


class OpenFence:
    """Counts the writes it let pass; raises from the moment `limit` is reached."""

    def __init__(self, limit: int | None = None) -> None:
        self.passed = 0
        self.limit = limit

    def check(self) -> None:
        if self.limit is not None and self.passed >= self.limit:
            raise LeaseLost("the lease is gone")
        self.passed += 1


@dataclass(frozen=True)
class Mutation:
    """Something a person or the app itself changes at the server, behind norn's back.

    act: does it, for an app that has converged. named: what the words of exactly one planned
    action or problem must contain, `{app}` filled in. mended: whether norn repairs it by itself.
    """

    act: Callable[[Any, App], Awaitable[None]]
    named: str
    mended: bool = True


def credential(app: str, generation: int = 1) -> Credential:
    """A password in the product's alphabet, unlike any other app's."""
    text = f"pw_{app}-{generation}-Zz09".ljust(43, "x")
    return Credential(Secret(text), CredentialMark("contract", generation))


def fresh_name(stem: str = "app") -> AppName:
    return AppName(f"{stem}-{uuid.uuid4().hex[:10]}")


@dataclass
class World:
    """The engine's part, in memory: what is owned and which password was applied."""

    provider: AnyProvider
    owned: dict[AppName, Owned] = field(default_factory=dict)
    marks: dict[AppName, CredentialMark] = field(default_factory=dict)

    def wanted(self, app: App) -> Wanted[Any]:
        return Wanted(
            app.name,
            self.provider.desired(app, credential(app.name)),
            self.owned.get(app.name, {}),
            self.marks.get(app.name),
        )

    async def observe(self, apps: Iterable[App]) -> Mapping[AppName, Any]:
        seen = await self.provider.observe({a.name: self.wanted(a) for a in apps})
        for found in seen.values():
            if isinstance(found, ServiceError):
                raise found
        return seen

    async def plans(self, apps: Sequence[App]) -> dict[AppName, Plan[Action]]:
        seen = await self.observe(apps)
        return {a.name: self.provider.plan(self.wanted(a), seen[a.name]) for a in apps}

    def claim(self, plans: Mapping[AppName, Plan[Action]]) -> None:
        for name, plan in plans.items():
            fresh = {
                action.key: Held(action.kind, action.name, HeldState.CLAIMED)
                for action in plan.actions
                if action.effect is Effect.CREATE and action.key not in self.owned.get(name, {})
            }
            self.owned[name] = {**self.owned.get(name, {}), **fresh}

    async def apply(
        self, plans: Mapping[AppName, Plan[Action]], fence: OpenFence | None = None
    ) -> Mapping[AppName, Applied]:
        self.claim(plans)
        acting = {name: plan.actions for name, plan in plans.items() if plan.actions}
        return await self.provider.apply(acting, fence or OpenFence()) if acting else {}

    async def confirm(self, apps: Sequence[App], applied: Mapping[AppName, Applied]) -> None:
        seen = await self.observe(apps)
        for app in apps:
            done = applied[app.name].done if app.name in applied else ()
            if any(action.sets_credential for action in done):
                self.marks[app.name] = credential(app.name).mark
            self.owned[app.name] = self.provider.confirm(self.wanted(app), seen[app.name], done)

    async def converge(self, *apps: App) -> list[Action]:
        """Rounds until every plan is empty and unblocked. Returns what was done."""
        done: list[Action] = []
        for _ in range(ROUNDS):
            plans = await self.plans(apps)
            blocked = [p.blocked for p in plans.values() if p.blocked]
            assert not blocked, blocked
            if not any(plan.actions for plan in plans.values()):
                await self.confirm(apps, {})
                return done
            applied = await self.apply(plans)
            errors = [a.error for a in applied.values() if a.error]
            if errors:
                raise errors[0]
            done += [action for a in applied.values() for action in a.done]
            await self.confirm(apps, applied)
        raise AssertionError(f"not converged after {ROUNDS} rounds: {plans}")


def _fields(kind: Any) -> tuple[str, ...]:
    """Of a dataclass or a named tuple."""
    return getattr(kind, "_fields", None) or tuple(f.name for f in fields(kind))


class Subject:
    """What a service's tests fill in. `self` is the pytest test object.

    observed: the types that hold what the provider has seen. compared: each field of theirs that a
    plan looks at → the mutation that changes it. elsewhere: every other field → the test that
    changes it (a path below tests/, and its name), or why there is none.
    """

    mutations: ClassVar[Mapping[str, Mutation]] = {}
    observed: ClassVar[tuple[type, ...]] = ()
    compared: ClassVar[Mapping[str, str]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    async def provider(self) -> AnyProvider:
        """The provider under test, closed afterwards."""
        raise NotImplementedError

    def section(self, app: AppName) -> Section:
        """A valid section for this app; names in it are the app's own."""
        raise NotImplementedError

    def changed_section(self, app: AppName) -> Section:
        """Another valid one for the same app, whose plan differs."""
        raise NotImplementedError

    async def requests(self, provider: AnyProvider) -> int:
        """How many requests this provider has sent so far."""
        raise NotImplementedError

    async def make_foreign(self, app: App) -> None:
        """Make, as somebody else, an object that bears a name `app` asks for."""
        raise NotImplementedError

    async def foreign_state(self, app: App) -> object:
        """The whole state of what `make_foreign` made, to compare."""
        raise NotImplementedError

    async def can_log_in(self, app: App) -> bool:
        """Whether the app's credential is accepted by the server."""
        raise NotImplementedError

    async def put_data(self, app: App) -> None:
        """As the app: store something in what it was given."""
        raise NotImplementedError

    async def has_data(self, app: App) -> bool:
        """As the server's superuser, whether or not the app has access: is it still there?"""
        raise NotImplementedError


class ProviderContract(Subject):
    """Inherit as `class TestXContract(ProviderContract)`."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "mutation" in metafunc.fixturenames:
            metafunc.parametrize(
                "mutation", list(self.mutations.values()), ids=list(self.mutations)
            )

    def app(self, name: AppName | None = None) -> App:
        name = name or fresh_name()
        return App(name, {self.key: self.section(name)})

    def empty(self, app: App) -> App:
        return replace(app, sections={})

    key: ClassVar[str] = ""

    async def test_a_second_plan_is_empty(self, provider: AnyProvider) -> None:
        world, apps = World(provider), (self.app(), self.app())
        first = await world.plans(apps)
        assert all(plan.actions for plan in first.values())
        await world.confirm(apps, await world.apply(first))
        await world.converge(*apps)
        for app in apps:
            assert (await provider.prove(app, credential(app.name))).ok
        again = await world.plans(apps)
        assert [plan.actions for plan in again.values()] == [(), ()]
        assert not any(plan.blocked for plan in again.values())

    async def test_a_changed_section_converges_and_rests(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        await world.converge(app)
        changed = App(app.name, {self.key: self.changed_section(app.name)})
        assert await world.converge(changed)
        assert (await world.plans([changed]))[app.name].actions == ()

    async def test_planning_writes_nothing(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        before = await world.plans([app])
        assert await world.plans([app]) == before

    async def test_every_action_may_be_applied_twice(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        for wanted in (app, self.empty(app), app):
            plans = await world.plans([wanted])
            for _ in range(2):
                applied = await world.apply(plans)
                assert not applied[app.name].error
                assert applied[app.name].done == plans[app.name].actions
            await world.confirm([wanted], applied)
            await world.converge(wanted)

    async def test_the_plan_does_not_depend_on_the_order_of_input(
        self, provider: AnyProvider
    ) -> None:
        world, apps = World(provider), [self.app() for _ in range(3)]
        first = await world.plans(apps)
        for order in itertools.permutations(apps):
            assert await world.plans(order) == first
        alone = {a.name: (await world.plans([a]))[a.name] for a in apps}
        assert alone == first

    async def test_observing_costs_the_same_for_one_app_and_for_twenty(
        self, provider: AnyProvider
    ) -> None:
        world, apps = World(provider), [self.app() for _ in range(20)]
        await world.observe(apps[:1])  # opens connections
        counts = []
        for batch in (apps[:1], apps, apps[:1], apps):
            before = await self.requests(provider)
            await world.observe(batch)
            counts.append(await self.requests(provider) - before)
        assert counts[0] > 0
        assert len(set(counts)) == 1

    async def test_an_empty_section_takes_access_keeps_data_and_comes_back(
        self, provider: AnyProvider
    ) -> None:
        world, app = World(provider), self.app()
        await world.converge(app)
        await self.put_data(app)
        assert await self.can_log_in(app)

        removed = await world.converge(self.empty(app))
        assert removed
        assert all(action.effect is Effect.REMOVAL for action in removed)
        assert not await self.can_log_in(app)
        assert await self.has_data(app)
        assert all(row.state is HeldState.RETAINED for row in world.owned[app.name].values())
        assert (await world.plans([self.empty(app)]))[app.name].actions == ()

        await world.converge(app)
        assert await self.can_log_in(app)
        assert await self.has_data(app)
        assert all(row.state is HeldState.OWNED for row in world.owned[app.name].values())

    async def test_a_mutation_is_named_once_and_repaired(
        self, provider: AnyProvider, mutation: Mutation
    ) -> None:
        world, app = World(provider), self.app()
        await world.converge(app)
        await mutation.act(self, app)
        plan = (await world.plans([app]))[app.name]
        named = mutation.named.format(app=app.name)
        words = [a.summary() for a in plan.actions] + [p.message for p in plan.problems]
        assert len([text for text in words if named in text]) == 1, words
        if not mutation.mended:
            return
        await world.converge(app)
        assert (await provider.prove(app, credential(app.name))).ok
        assert (await world.plans([app]))[app.name].actions == ()

    def test_each_field_that_is_compared_has_its_mutation(self) -> None:
        seen = {f"{kind.__name__}.{name}" for kind in self.observed for name in _fields(kind)}
        assert seen
        assert seen == self.compared.keys() | self.elsewhere.keys()
        assert not self.compared.keys() & self.elsewhere.keys()
        assert set(self.compared.values()) <= self.mutations.keys()
        for place in (p for p in self.elsewhere.values() if "::" in p):
            file, _, test = place.partition("::")
            assert f"def {test}(" in (TESTS / file).read_text(), place

    async def test_a_foreign_object_of_the_same_name_is_a_conflict_and_not_touched(
        self, provider: AnyProvider
    ) -> None:
        world, app = World(provider), self.app()
        await self.make_foreign(app)
        before = await self.foreign_state(app)
        plans = await world.plans([app])
        problem = plans[app.name].blocked
        assert problem is not None
        assert problem.reason == "Conflict"
        assert problem.remedy
        await world.apply(plans)
        assert await self.foreign_state(app) == before
        assert (await world.plans([app]))[app.name].blocked is not None
        # Nor does its going away with the section touch it.
        leaving = await world.plans([self.empty(app)])
        await world.apply(leaving)
        assert await self.foreign_state(app) == before

    async def test_what_norn_db_has_lost_is_found_again(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        await world.converge(app)
        await self.put_data(app)
        rows = world.owned.pop(app.name)
        del world.marks[app.name]
        problem = (await world.plans([app]))[app.name].blocked
        assert problem is not None
        assert (problem.reason, problem.remedy.split(":")[0]) == (
            "Conflict",
            f"norn recover {app.name}",
        )
        seen = (await world.observe([app]))[app.name]
        unproven = provider.recoverable(world.wanted(app), seen, False)
        assert {row.origin for row in unproven.values()} == {Origin.ADOPTED}
        proven = provider.recoverable(world.wanted(app), seen, True)
        assert proven.keys() == unproven.keys()
        assert proven.keys() <= rows.keys()
        assert any(row.origin is Origin.MADE for row in proven.values())
        assert {k: r.server_id for k, r in proven.items()} == {
            k: r.server_id for k, r in rows.items() if k in proven
        }
        assert proven.keys() <= (await provider.marked())[app.name]

        world.owned[app.name], world.marks[app.name] = proven, credential(app.name).mark
        assert not any(action.sets_credential for action in await world.converge(app))
        assert world.owned[app.name].keys() == rows.keys()
        assert (await provider.prove(app, credential(app.name))).ok
        assert await self.has_data(app)

    async def test_which_password_is_set_is_told(self, provider: AnyProvider) -> None:
        world, app, absent = World(provider), self.app(), self.app()
        await world.converge(app)
        seen = await world.observe([app, absent])
        known = credential(app.name)
        others = [credential(app.name, n) for n in (2, 3)]
        for tried in ([known, *others], [*others, known]):
            assert await provider.fits(app, seen[app.name], tried) == known
        assert await provider.fits(app, seen[app.name], others) is None
        assert await provider.fits(app, seen[app.name], []) is None
        assert await provider.fits(absent, seen[absent.name], [credential(absent.name)]) is None
        assert absent.name not in await provider.marked()

    async def test_what_is_foreign_is_not_recoverable(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        await self.make_foreign(app)
        seen = (await world.observe([app]))[app.name]
        assert provider.recoverable(world.wanted(app), seen, False) == {}
        assert app.name not in await provider.marked()

    async def test_confirm_is_stable(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        await world.converge(app)
        rows = world.owned[app.name]
        assert rows
        assert all(row.state is HeldState.OWNED for row in rows.values())
        assert any(row.server_id for row in rows.values()) or all(
            row.server_id is None for row in rows.values()
        )
        seen = await world.observe([app])
        assert provider.confirm(world.wanted(app), seen[app.name], ()) == rows

    async def test_a_lost_lease_stops_before_any_write(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        plans = await world.plans([app])
        with pytest.raises(LeaseLost):
            await world.apply(plans, OpenFence(limit=0))
        world.owned.clear()
        assert await world.plans([app]) == plans

    async def test_a_lease_lost_at_any_write_is_taken_up_again(self, provider: AnyProvider) -> None:
        for limit in itertools.count(1):
            world, app = World(provider), self.app()
            plans = await world.plans([app])
            fence = OpenFence(limit)
            try:
                await world.apply(plans, fence)
            except LeaseLost:
                assert fence.passed == limit
                await world.converge(app)
                assert (await provider.prove(app, credential(app.name))).ok
                continue
            assert limit > 1
            return

    async def test_no_plan_or_action_shows_the_password(self, provider: AnyProvider) -> None:
        world, app = World(provider), self.app()
        plans = await world.plans([app])
        secret = credential(app.name).password.reveal()
        shown = repr(plans) + "".join(a.summary() + repr(a) for a in plans[app.name].actions)
        applied = await world.apply(plans)
        assert secret not in shown + repr(applied)
        assert secret in "".join(provider.env(app, credential(app.name)).values())

    async def test_health(self, provider: AnyProvider) -> None:
        health = await provider.check()
        assert health.ok
        assert health.service == provider.key
        assert health.response_ms > 0
