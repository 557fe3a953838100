"""Plans and inventory rows, without a server: a model of one stands in for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.app import AppName
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Effect, Plan, Severity, Wanted
from norn_reconciler.model.secret import DUE, CredentialMark
from norn_reconciler.providers.kv.actions import (
    CreateUser,
    DeleteUser,
    DisableUser,
    EndSessions,
    KvAction,
    SaveUsers,
    SetPassword,
    SetUser,
)
from norn_reconciler.providers.kv.inventory import adoptable, confirm
from norn_reconciler.providers.kv.plan import plan
from norn_reconciler.providers.kv.rules import Rules, app_rules
from norn_reconciler.providers.kv.state import NAMESPACE, USER, Desired, Observed, Persistence

APP = AppName("mail")
MARK = CredentialMark("f", 1)
SHA, OTHER = "a" * 64, "b" * 64
KEY, NS = (USER, "mail"), (NAMESPACE, "ns")
RESERVED = frozenset({"norn-admin"})
FILE, NONE = Persistence.ACLFILE, Persistence.NONE


@dataclass
class Server:
    """One user, as Valkey would keep it, and what norn_db would know. saves: whether ACL SAVE
    works. flags: words that it shows on every user."""

    user: Rules | None = None
    file: Rules | None = None
    persistence: Persistence = FILE
    saves: bool = True
    flags: frozenset[str] = frozenset()
    owned: Owned = field(default_factory=dict)
    applied: CredentialMark | None = None
    unsaved: bool = False
    claimants: tuple[str, ...] = ()

    def wanted(self, namespace: str | None, mark: CredentialMark = MARK) -> Wanted[Desired]:
        sha = SHA if mark == MARK else "c" * 64
        return Wanted(APP, Desired(APP, namespace, sha, mark), self.owned, self.applied)

    @property
    def seen(self) -> Observed:
        return Observed(self.user, self.persistence, unsaved=self.unsaved, claimants=self.claimants)

    def plan(self, namespace: str | None, mark: CredentialMark = MARK) -> Plan[KvAction]:
        return plan(self.wanted(namespace, mark), self.seen, RESERVED)

    def do(self, action: KvAction) -> None:
        match action:
            case SetUser():
                self.user = replace(action.rules, flags=self.flags)
            case DeleteUser():
                self.user = None
            case DisableUser():
                assert self.user is not None
                self.user = replace(self.user, enabled=False)
        if action.changes and self.persistence.durable:
            self.unsaved = not self.saves
            self.file = self.file if self.unsaved else self.user

    def round(self, namespace: str | None, mark: CredentialMark = MARK) -> tuple[KvAction, ...]:
        """Plan, claim, do, prove, confirm. What could not be saved does not count as saved."""
        planned = self.plan(namespace, mark)
        assert planned.blocked is None
        for action in planned.actions:
            if action.effect is Effect.CREATE:
                self.owned = {action.key: Held(*action.key, HeldState.CLAIMED), **self.owned}
            self.do(action)
        done = tuple(a for a in planned.actions if not (isinstance(a, SaveUsers) and self.unsaved))
        if any(a.sets_credential for a in done):
            self.applied = mark
        self.owned = confirm(self.wanted(namespace, mark), self.seen, done)
        return planned.actions

    @classmethod
    def converged(cls, **how: object) -> Server:
        server = cls(**how)  # type: ignore[arg-type]
        server.round("ns")
        return server


def kinds(actions: tuple[KvAction, ...]) -> list[type[KvAction]]:
    return [type(a) for a in actions]


@pytest.mark.parametrize("persistence", Persistence)
@pytest.mark.parametrize("flags", [frozenset(), frozenset({"shiny"})])
def test_one_round_converges_and_the_next_does_nothing(
    persistence: Persistence, flags: frozenset[str]
) -> None:
    server = Server(persistence=persistence, flags=flags)
    assert kinds(server.round("ns")) == [CreateUser]
    assert server.plan("ns").actions == ()
    rows = server.owned
    assert {k: r.state for k, r in rows.items()} == {KEY: HeldState.OWNED, NS: HeldState.OWNED}
    assert confirm(server.wanted("ns"), server.seen, ()) == rows


def drifts() -> dict[str, tuple[Rules, list[type[KvAction]]]]:
    ours = app_rules("mail", "ns", SHA)
    return {
        "off": (replace(ours, enabled=False), [SetUser]),
        "narrowed": (replace(ours, commands=(*ours.commands, "-get")), [SetUser]),
        "a database only": (replace(ours, databases=frozenset({"db=1"})), [SetUser]),
        "a word of a newer server": (replace(ours, flags=frozenset({"shiny"})), [SetUser]),
        "no password": (replace(ours, passwords=frozenset()), [SetPassword]),
        "other password": (
            replace(ours, passwords=frozenset({OTHER})),
            [SetPassword, EndSessions],
        ),
        "second password": (
            replace(ours, passwords=frozenset({SHA, OTHER})),
            [SetPassword, EndSessions],
        ),
        "nopass": (
            replace(ours, nopass=True, passwords=frozenset()),
            [SetPassword, EndSessions],
        ),
        "more keys": (replace(ours, keys=ours.keys | {"~x:*"}), [SetUser, EndSessions]),
        "more channels": (replace(ours, channels=frozenset({"&*"})), [SetUser, EndSessions]),
        "more commands": (replace(ours, commands=("+@all",)), [SetUser, EndSessions]),
        "a selector": (replace(ours, selectors=("(~* +@all)",)), [SetUser, EndSessions]),
        "gone": (None, [CreateUser]),  # type: ignore[dict-item]
    }


@pytest.mark.parametrize("name", list(drifts()))
def test_drift_is_repaired_and_sessions_end_where_it_widened(name: str) -> None:
    found, expected = drifts()[name]
    server = Server.converged()
    server.user = found
    planned = server.plan("ns")
    assert kinds(planned.actions) == expected
    assert planned.actions[0].found
    assert planned.actions[0].expected
    assert not any(a.lost or a.destructive for a in planned.actions)
    assert [a.phase for a in planned.actions] == sorted(a.phase for a in planned.actions)
    server.round("ns")
    assert server.plan("ns").actions == ()
    assert server.file == server.user


def test_a_changed_namespace_is_one_change_without_ending_sessions() -> None:
    server = Server.converged()
    (action,) = server.round("new")
    assert kinds((action,)) == [SetUser]
    assert action.effect is Effect.CHANGE
    assert server.user is not None
    assert server.user.keys == {"~new:*"}
    planned = server.plan("new")
    assert planned.actions == ()
    (warning,) = planned.problems
    assert (warning.severity, warning.reason) == (Severity.WARNING, "DataRetained")
    assert "ns" in warning.message
    assert server.owned[NS].state is HeldState.RETAINED
    assert server.owned[NAMESPACE, "new"].state is HeldState.OWNED
    server.round("ns")
    assert server.owned[NS].state is HeldState.OWNED
    assert server.owned[NAMESPACE, "new"].state is HeldState.RETAINED


def test_a_changed_namespace_on_top_of_drift_ends_sessions() -> None:
    server = Server.converged()
    assert server.user is not None
    server.user = replace(server.user, commands=("+@all",))
    assert kinds(server.plan("new").actions) == [SetUser, EndSessions]


def test_a_new_generation_sets_the_password_and_leaves_sessions() -> None:
    server = Server.converged()
    assert kinds(server.round("ns", CredentialMark("f", 2))) == [SetPassword]
    assert server.plan("ns", CredentialMark("f", 2)).actions == ()


def test_rules_of_an_older_program_are_brought_up_without_ending_sessions() -> None:
    server = Server.converged()
    assert server.user is not None
    server.user = replace(server.user, commands=("-@all", "+get"))
    row = server.owned[KEY]
    settings = {**row.settings, "rules": server.user.fingerprint}
    server.owned = {**server.owned, KEY: replace(row, settings=settings)}
    assert kinds(server.plan("ns").actions) == [SetUser]


def test_a_password_that_is_not_proven_is_set_again() -> None:
    server = Server.converged()
    server.applied = None
    (action,) = server.plan("ns").actions
    assert type(action) is SetPassword
    assert action.sets_credential


def test_a_claim_is_resolved_by_the_password() -> None:
    claimed = {KEY: Held(*KEY, HeldState.CLAIMED)}
    ours = app_rules("mail", "ns", SHA)
    assert kinds(Server(owned=claimed).plan("ns").actions) == [CreateUser]
    assert Server(user=ours, owned=claimed).plan("ns").blocked is None
    stranger = Server(user=replace(ours, passwords=frozenset({OTHER})), owned=claimed)
    blocked = stranger.plan("ns").blocked
    assert blocked is not None
    assert blocked.reason == "Conflict"
    assert stranger.plan("ns").actions == ()
    assert stranger.plan(None).actions == ()
    assert confirm(stranger.wanted("ns"), stranger.seen, ())[KEY].state is HeldState.CLAIMED
    assert confirm(stranger.wanted(None), stranger.seen, ()) == {}


def test_somebody_elses_user_blocks_and_can_be_adopted() -> None:
    server = Server(user=Rules("mail", True, passwords=frozenset({OTHER}), keys=frozenset({"~*"})))
    blocked = server.plan("ns").blocked
    assert blocked is not None
    assert (blocked.reason, blocked.remedy) == ("Conflict", "norn adopt mail")
    assert server.plan(None) == Plan()
    assert adoptable(server.wanted(None), server.seen) == {}
    rows = adoptable(server.wanted("ns"), server.seen)
    assert rows == {KEY: Held(USER, "mail", HeldState.OWNED, Origin.ADOPTED)}
    server.owned = rows
    # Whoever logged in before may still be listening to what it no longer may.
    assert kinds(server.round("ns")) == [SetUser, EndSessions]
    assert server.plan("ns").actions == ()
    assert [p.reason for p in server.plan("ns").problems] == ["PasswordKept"]
    assert server.user.passwords == {OTHER}, "it keeps the password it had"
    assert server.owned[KEY].origin is Origin.ADOPTED
    server.applied = CredentialMark(DUE, 1)  # norn rotate
    assert kinds(server.round("ns")) == [SetPassword]
    assert server.user.passwords == {SHA}
    assert adoptable(server.wanted("ns"), server.seen) == {}


def test_keys_that_somebody_else_uses_are_given_only_when_a_person_agrees() -> None:
    server = Server(claimants=("shopd ~ns:*",))
    blocked = server.plan("ns").blocked
    assert blocked is not None
    assert blocked.reason == "Conflict"
    assert "shopd ~ns:*" in blocked.message
    assert "norn adopt mail" in blocked.remedy
    assert server.plan("ns").actions == ()
    rows = adoptable(server.wanted("ns"), server.seen)
    assert rows == {NS: Held(NAMESPACE, "ns", HeldState.CLAIMED, Origin.ADOPTED)}
    server.owned = rows
    assert kinds(server.round("ns")) == [CreateUser]
    assert server.plan("ns") == Plan()
    assert server.owned[NS].state is HeldState.OWNED
    assert adoptable(server.wanted("ns"), server.seen) == {}


def test_an_app_that_norn_made_keeps_its_keys_whoever_comes_later() -> None:
    server = Server.converged()
    server.claimants = ("shopd ~ns:*",)
    assert server.plan("ns") == Plan()
    assert server.plan("other").blocked is not None, "another namespace is asked for anew"


def test_a_removed_section_deletes_the_user_and_retains_the_namespace() -> None:
    server = Server.converged()
    (action,) = server.round(None)
    assert type(action) is DeleteUser
    assert action.destructive
    assert server.owned == {NS: Held(*NS, HeldState.RETAINED)}
    assert server.plan(None).actions == ()
    assert server.plan("ns").problems == ()
    assert kinds(server.round("ns")) == [CreateUser]
    assert server.owned[NS].state is HeldState.OWNED


def test_an_adopted_user_is_switched_off_and_kept() -> None:
    server = Server.converged()
    server.owned = {**server.owned, KEY: replace(server.owned[KEY], origin=Origin.ADOPTED)}
    assert kinds(server.round(None)) == [DisableUser]
    assert server.plan(None).actions == ()
    assert {r.state for r in server.owned.values()} == {HeldState.RETAINED}
    assert server.file is not None
    assert not server.file.enabled
    assert kinds(server.round("ns")) == [SetUser]
    assert {r.state for r in server.owned.values()} == {HeldState.OWNED}


@pytest.mark.parametrize("namespace", ["ns", None])
def test_what_could_not_be_saved_is_saved_later(namespace: str | None) -> None:
    server = Server.converged()
    assert server.user is not None
    server.user = server.file = replace(server.user, enabled=False)
    server.saves = False
    server.round(namespace)
    assert kinds(server.plan(namespace).actions) == [SaveUsers]
    server.round(namespace)
    assert kinds(server.plan(namespace).actions) == [SaveUsers]
    assert server.file != server.user
    server.saves = True
    server.round(namespace)
    assert server.plan(namespace).actions == ()
    assert server.file == server.user
    assert (KEY in server.owned) is (namespace is not None)


def test_a_crash_before_saving_is_made_good() -> None:
    server = Server.converged()
    row = server.owned[KEY]
    settings = {k: v for k, v in row.settings.items() if k != "saved"}
    server.owned = {**server.owned, KEY: replace(row, settings=settings)}
    assert kinds(server.round("ns")) == [SaveUsers]
    assert server.plan("ns").actions == ()


@pytest.mark.parametrize("persistence", [Persistence.NONE, Persistence.UNKNOWN])
def test_a_server_that_keeps_no_users_is_warned_about(persistence: Persistence) -> None:
    server = Server.converged(persistence=persistence)
    (problem,) = server.plan("ns").problems
    assert (problem.severity, problem.reason) == (Severity.WARNING, "NotPersisted")
    assert problem.remedy
    server.round(None)
    assert KEY not in server.owned


@pytest.mark.parametrize("name", ["default", "norn-admin"])
@pytest.mark.parametrize("namespace", ["ns", None])
def test_reserved_users_are_never_touched(name: str, namespace: str | None) -> None:
    key = (USER, name)
    wanted = Wanted(AppName(name), Desired(name, namespace, SHA, MARK), {key: Held(*key)}, MARK)
    planned = plan(wanted, Observed(Rules(name, True), FILE), RESERVED)
    assert planned.actions == ()
    assert planned.blocked is not None


def test_sessions_that_could_not_be_ended_are_ended_later() -> None:
    server = Server.converged()
    seen = replace(server.seen, unended=True)
    assert kinds(plan(server.wanted("ns"), seen, RESERVED).actions) == [EndSessions]


RULES = st.builds(
    Rules,
    st.just("mail"),
    st.booleans(),
    st.booleans(),
    st.frozensets(st.sampled_from([SHA, OTHER])),
    st.frozensets(st.sampled_from(["~ns:*", "~*", "%R~x"])),
    st.frozensets(st.sampled_from(["&ns:*", "&*"])),
    st.sampled_from([("-@all",), ("+@all",), app_rules("mail", "ns", SHA).commands]),
    st.sampled_from([(), ("(~*)",)]),
    st.frozensets(st.sampled_from(["db=1", "resetdbs"])),
    st.frozensets(st.sampled_from(["shiny"])),
)


@given(
    st.lists(st.tuples(st.sampled_from(["ns", "new", None]), st.none() | RULES), max_size=6),
    st.sampled_from([FILE, NONE]),
    st.frozensets(st.sampled_from(["shiny", "new"])),
)
def test_any_history_of_specs_and_drift_converges_in_one_round(
    history: list[tuple[str | None, Rules | None]],
    persistence: Persistence,
    flags: frozenset[str],
) -> None:
    server = Server.converged(persistence=persistence, flags=flags)
    for namespace, drift in history:
        if drift is not None and KEY in server.owned:
            server.user = drift
        server.round(namespace)
        assert server.plan(namespace).actions == ()
        assert confirm(server.wanted(namespace), server.seen, ()) == server.owned
        if namespace is None:
            assert server.user is None
        else:
            assert server.user is not None
            assert replace(server.user, flags=frozenset()) == app_rules("mail", namespace, SHA)
