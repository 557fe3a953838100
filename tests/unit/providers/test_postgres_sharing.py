"""Who may read a database: what is planned for it, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Effect, Plan, Severity, Wanted
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres import render
from norn_reconciler.providers.postgres.actions import Phase
from norn_reconciler.providers.postgres.inventory import adoptable, confirm
from norn_reconciler.providers.postgres.plan import plan
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.reader_actions import AdmitReader
from norn_reconciler.providers.postgres.section import PostgresSection, read_variables
from norn_reconciler.providers.postgres.state import (
    DEFAULTS,
    READER,
    Database,
    Desired,
    Grant,
    Member,
    Observed,
    Role,
)
from tests.unit.providers.test_postgres_plan import (
    APP,
    CREDENTIAL,
    DATABASE,
    DB,
    DESIRED,
    EMPTY,
    MARK,
    OWNED,
    ROLE,
    SERVER,
)

GROUP = f"{APP}.readers"
WITH_READER = replace(DESIRED, readers=("shop",))
MEMBER = Member(GROUP, "shop", "norn_admin", True)
GROUP_ROLE = Role(GROUP, 30, login=False, comment=f"norn: app {APP}", members=frozenset({MEMBER}))
SHARED = replace(
    DATABASE,
    grants=frozenset({Grant(GROUP, "CONNECT", APP, True)}),
    promised={GROUP: DEFAULTS},
)
ROWS: Owned = {
    **OWNED,
    ("group", GROUP): Held("group", GROUP, server_id="30", settings={READER + "shop": "admitted"}),
}


def wanted(desired: Desired = WITH_READER, owned: Owned = ROWS, **more: Any) -> Wanted[Desired]:
    return Wanted(APP, desired, owned, more.get("applied", MARK))


def observed(
    group: Role | None = GROUP_ROLE,
    database: Database = SHARED,
    readers: tuple[str, ...] = ("shop",),
) -> Observed:
    return Observed(SERVER, ROLE, {DB: database}, group, frozenset(readers))


def shown(found: Plan[Any]) -> list[str]:
    return [action.summary() for action in found.actions]


ADMIT = f'GRANT "{GROUP}" TO shop WITH ADMIN FALSE, INHERIT TRUE, SET FALSE'
OPEN = f'as "{APP}" in {DB}: GRANT SELECT, of now and by default, TO "{GROUP}"'
CONNECT = f'GRANT CONNECT ON DATABASE {DB} TO "{GROUP}"'


def test_what_readers_allow_is_no_drift() -> None:
    assert plan(wanted(), observed()) == Plan()


def test_from_an_app_that_shared_nothing() -> None:
    found = plan(wanted(owned=OWNED), observed(None, DATABASE))
    assert shown(found) == [f'CREATE ROLE "{GROUP}" NOLOGIN', OPEN, CONNECT, ADMIT]
    assert found.actions[0].effect is Effect.CREATE
    assert found.problems == ()


def test_readers_are_let_in_only_after_everybody_else_is_shut_out() -> None:
    found = plan(
        wanted(owned={}, applied=None), Observed(SERVER, None, readers=frozenset({"shop"}))
    )
    phases = [action.phase for action in found.actions]
    assert phases == sorted(phases)
    assert max(phases) == Phase.ADMIT > Phase.HARDEN > Phase.SEAL
    assert shown(found)[-2:] == [CONNECT, ADMIT]


@pytest.mark.parametrize(
    ("group", "database", "mended"),
    [
        (replace(GROUP_ROLE, members=frozenset()), SHARED, [ADMIT]),
        (replace(GROUP_ROLE, login=True), SHARED, [f'ALTER ROLE "{GROUP}" NOLOGIN']),
        (replace(GROUP_ROLE, createdb=True), SHARED, [f'ALTER ROLE "{GROUP}" NOCREATEDB']),
        (
            replace(GROUP_ROLE, comment="x"),
            SHARED,
            [f"COMMENT ON ROLE \"{GROUP}\" IS 'norn: app {APP}'"],
        ),
        (GROUP_ROLE, replace(SHARED, grants=frozenset()), [CONNECT]),
        (GROUP_ROLE, replace(SHARED, promised={}), [OPEN]),
        (GROUP_ROLE, replace(SHARED, promised={GROUP: 2, "alice": 3}), [OPEN]),
        (replace(GROUP_ROLE, members=frozenset({replace(MEMBER, plain=False)})), SHARED, [ADMIT]),
        (
            replace(
                GROUP_ROLE,
                members=frozenset({MEMBER, replace(MEMBER, grantor="alice", plain=False)}),
            ),
            SHARED,
            [f'REVOKE "{GROUP}" FROM shop GRANTED BY alice'],
        ),
        (
            GROUP_ROLE,
            replace(SHARED, grants=SHARED.grants | {Grant(GROUP, "TEMPORARY", APP, True)}),
            [f'REVOKE TEMPORARY ON DATABASE {DB} FROM "{GROUP}"'],
        ),
        (
            GROUP_ROLE,
            replace(SHARED, grants=SHARED.grants | {Grant("else.readers", "CONNECT", APP, True)}),
            [f'REVOKE CONNECT ON DATABASE {DB} FROM "else.readers"'],
        ),
    ],
)
def test_drift(group: Role, database: Database, mended: list[str]) -> None:
    found = plan(wanted(), observed(group, database))
    assert shown(found) == mended
    assert all(action.effect is Effect.CHANGE for action in found.actions)


def test_another_apps_role_among_the_readers_is_drift_and_its_sessions_end() -> None:
    intruder = replace(MEMBER, member="thief")
    seen = observed(replace(GROUP_ROLE, members=frozenset({MEMBER, intruder})))
    revoke, end = plan(wanted(), seen).actions
    assert revoke.summary() == f'REVOKE "{GROUP}" FROM thief GRANTED BY norn_admin'
    assert revoke.effect is Effect.CHANGE
    assert end.summary() == f"pg_terminate_backend: sessions of thief in {DB}"


def test_a_foreign_member_is_reported_and_left() -> None:
    alice = Member(GROUP, "alice", "postgres", False)
    seen = observed(replace(GROUP_ROLE, members=frozenset({MEMBER, alice})))
    found = plan(wanted(), seen)
    assert found.actions == ()
    assert [p.reason for p in found.problems] == ["ForeignMembership"]


@pytest.mark.parametrize("desired", [DESIRED, replace(DESIRED, readers=("mail",))])
def test_a_reader_that_the_spec_drops_waits_out_the_grace(desired: Desired) -> None:
    found = plan(wanted(desired), observed(readers=()))
    assert shown(found) == [
        f'REVOKE "{GROUP}" FROM shop GRANTED BY norn_admin',
        f"pg_terminate_backend: sessions of shop in {DB}",
    ]
    assert {action.effect for action in found.actions} == {Effect.REMOVAL}


def test_sessions_of_a_dropped_reader_are_ended_also_by_who_comes_later() -> None:
    """Between the two steps norn may be killed."""
    out = replace(GROUP_ROLE, members=frozenset())
    still_in = replace(SHARED, sessions={"shop": 2})
    want = wanted(DESIRED)
    assert shown(plan(want, observed(out, still_in))) == [
        f"pg_terminate_backend: sessions of shop in {DB}"
    ]
    rows = confirm(want, observed(out, still_in), ())
    assert READER + "shop" in rows["group", GROUP].settings
    assert rows["group", GROUP].state is HeldState.OWNED
    rows = confirm(want, observed(out), ())
    assert rows["group", GROUP].settings == {}
    assert rows["group", GROUP].state is HeldState.RETAINED
    assert plan(wanted(DESIRED, rows), observed(out)) == Plan()


def test_a_removed_section_shuts_readers_out_by_removals_only() -> None:
    found = plan(wanted(EMPTY), observed())
    assert {action.effect for action in found.actions} == {Effect.REMOVAL}
    assert f'REVOKE "{GROUP}" FROM shop GRANTED BY norn_admin' in shown(found)
    shut = Observed(
        SERVER,
        replace(ROLE, login=False),
        {DB: SHARED},
        replace(GROUP_ROLE, members=frozenset()),
    )
    rows = confirm(wanted(EMPTY), shut, ())
    assert {row.state for row in rows.values()} == {HeldState.RETAINED}
    assert plan(wanted(EMPTY, rows), shut) == Plan()
    assert ("group", GROUP) not in confirm(wanted(EMPTY), replace(shut, group=None), ())


def test_who_was_let_in_is_remembered_and_an_intruder_is_not() -> None:
    bare = {**ROWS, ("group", GROUP): Held("group", GROUP, HeldState.CLAIMED)}
    intruder = replace(MEMBER, member="thief")
    seen = observed(replace(GROUP_ROLE, members=frozenset({MEMBER, intruder})))
    row = confirm(wanted(owned=bare), seen, ())["group", GROUP]
    assert (row.state, row.server_id, row.settings) == (
        HeldState.OWNED,
        "30",
        {READER + "shop": "admitted"},
    )


def test_readers_without_a_role_of_norns_are_waited_for() -> None:
    out = replace(GROUP_ROLE, members=frozenset())
    found = plan(wanted(), observed(out, readers=()))
    assert found.actions == ()
    assert [(p.severity, p.reason) for p in found.problems] == [
        (Severity.WARNING, "ReadersMissing")
    ]


def test_a_group_that_is_somebody_elses_blocks_and_is_not_touched() -> None:
    theirs = replace(GROUP_ROLE, comment=None)
    found = plan(wanted(owned=OWNED), observed(theirs, DATABASE))
    assert found.actions == ()
    assert found.blocked is not None
    assert found.blocked.reason == "Conflict"
    assert adoptable(wanted(owned=OWNED), observed(theirs, DATABASE)) == {}
    ours = adoptable(wanted(owned=OWNED), observed(GROUP_ROLE, DATABASE))
    assert ours == {("group", GROUP): Held("group", GROUP, HeldState.OWNED, Origin.ADOPTED, "30")}


def test_without_the_apps_password_nothing_is_opened_and_it_is_said() -> None:
    kept = {**OWNED, ("role", APP): replace(OWNED["role", APP], origin=Origin.ADOPTED)}
    found = plan(wanted(owned=kept, applied=None), observed(None, DATABASE))
    assert found.actions == ()
    assert {p.reason for p in found.problems} == {"PasswordKept", "ReadersWait"}


READING = replace(DESIRED, reads=("their_db",))
IN = replace(ROLE, member_of=frozenset({Member("they.readers", APP, "norn_admin", True)}))
THEIRS = Database(
    "their_db", 40, "they", grants=frozenset({Grant("they.readers", "CONNECT", "they", True)})
)


@pytest.mark.parametrize(
    ("role", "theirs", "said"),
    [
        (IN, THEIRS, ""),
        (IN, None, "it is not there"),
        (IN, replace(THEIRS, allow_connections=False), "it takes no connections"),
        (IN, replace(THEIRS, grants=frozenset()), "it is not open"),
        (ROLE, THEIRS, "it is not open"),
    ],
)
def test_what_cannot_be_read_is_at_most_a_warning(
    role: Role, theirs: Database | None, said: str
) -> None:
    readable = {"their_db": theirs} if theirs is not None else {}
    found = plan(wanted(READING, OWNED), Observed(SERVER, role, {DB: DATABASE}, readable=readable))
    assert found.actions == ()
    assert found.blocked is None
    assert [p.reason for p in found.problems] == (["ReadPending"] if said else [])
    assert all(said in p.message for p in found.problems)


def test_a_member_is_let_in_by_its_witness_and_its_name_is_quoted() -> None:
    for version, options in ((180000, " WITH ADMIN FALSE"), (150000, "; REVOKE ADMIN OPTION FOR")):
        action = AdmitReader("group", 'a".readers', "b'; --", version)
        (made,) = (s.as_string(None) for s in render.statements(action, version, ""))
        assert made.startswith("DO 'BEGIN IF EXISTS (")
        assert """GRANT "a"".readers" TO "b''; --\"""" in made
        assert "norn: app b''''; --" in made
        assert options in made


def test_variables_of_databases_that_fall_together_are_told_apart() -> None:
    assert read_variables(["mail_db", "shop"]) == {
        "mail_db": "DATABASE_READ_URL_MAIL_DB",
        "shop": "DATABASE_READ_URL_SHOP",
    }
    clashing = read_variables(["a-b", "a_b", "c"])
    assert clashing["c"] == "DATABASE_READ_URL_C"
    assert len(set(clashing.values())) == 3
    assert all(v.startswith("DATABASE_READ_URL_A_B_") for k, v in clashing.items() if k != "c")


def test_what_the_provider_makes_of_a_spec() -> None:
    provider = PostgresProvider(Secret("postgresql://admin1:x@h/postgres"))
    section = PostgresSection(database=DB, readers=("shop", APP, "shop"))
    app = App(AppName(APP), {"postgres": section}, {"postgres": frozenset({"their-db"})})
    desired = provider.desired(app, CREDENTIAL)
    assert (desired.readers, desired.reads) == (("shop",), ("their-db",))
    env = provider.env(app, CREDENTIAL)
    assert env["DATABASE_READ_URL_THEIR_DB"] == (
        f"postgres://{APP}:geheim@h:5432/their-db?sslmode=disable"
    )
    assert set(env) == {"DATABASE_URL", "DATABASE_READ_URL_THEIR_DB"}
