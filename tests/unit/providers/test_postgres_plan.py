"""The planner as a function: simulated servers converge, and nothing foreign is acted upon."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model import trash
from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.inventory import Held, HeldState, Origin, Owned
from norn_reconciler.model.plan import Effect, Plan, Severity, Wanted
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.providers.postgres import (
    database_actions,
    diagnose,
    reader_actions,
    render,
    role_actions,
)
from norn_reconciler.providers.postgres.actions import PostgresAction, quoted
from norn_reconciler.providers.postgres.database_actions import (
    CreateDatabase,
    RenameDatabase,
    RetainDatabase,
)
from norn_reconciler.providers.postgres.inventory import adoptable, confirm
from norn_reconciler.providers.postgres.observe import _former, _Read
from norn_reconciler.providers.postgres.plan import plan
from norn_reconciler.providers.postgres.provider import PostgresProvider
from norn_reconciler.providers.postgres.remedies import remedy
from norn_reconciler.providers.postgres.section import PostgresSection
from norn_reconciler.providers.postgres.state import (
    HARDENED,
    INVALID,
    OWNER_RIGHTS,
    PUBLIC,
    Database,
    Desired,
    Grant,
    Member,
    Observed,
    Reach,
    Role,
    Server,
)

APP, DB = AppName("mail-agent"), "mailagent_db"
MARK = CredentialMark("f", 1)
CREDENTIAL = Credential(Secret("geheim"), MARK)
DESIRED = Desired(APP, DB, 50, "1GB", CREDENTIAL)
EMPTY = Desired(APP, None, 0, None, CREDENTIAL)
SERVER = Server(180004, "norn_admin", True)

ROLE = Role(
    APP, 110, connection_limit=50, settings={"temp_file_limit": "1GB"}, comment=f"norn: app {APP}"
)
DATABASE = Database(DB, 20, APP)
OWNED: Owned = {
    ("role", APP): Held("role", APP, server_id="110"),
    ("database", DB): Held("database", DB, server_id="20", settings={HARDENED: "x"}),
}


def wanted(desired: Desired = DESIRED, owned: Owned = OWNED, **more: Any) -> Wanted[Desired]:
    return Wanted(APP, desired, owned, more.get("applied", MARK))


def observed(role: Role | None = ROLE, *databases: Database) -> Observed:
    return Observed(SERVER, role, {d.name: d for d in databases})


CONVERGED = observed(ROLE, DATABASE)


def shown(found: Plan[Any]) -> list[str]:
    return [a.summary() for a in found.actions]


def test_converged_is_empty() -> None:
    assert plan(wanted(), CONVERGED) == Plan()


def test_from_nothing() -> None:
    found = plan(wanted(owned={}, applied=None), observed(None))
    assert shown(found) == [
        'CREATE ROLE "mail-agent" LOGIN CONNECTION LIMIT 50 PASSWORD ***',
        "ALTER ROLE \"mail-agent\" SET temp_file_limit = '1GB'",
        'CREATE DATABASE mailagent_db OWNER "mail-agent"',
        "REVOKE ALL ON DATABASE mailagent_db FROM PUBLIC; "
        "ALTER DATABASE mailagent_db ALLOW_CONNECTIONS true",
        'as "mail-agent" in mailagent_db: REVOKE ALL ON SCHEMA public FROM PUBLIC',
    ]
    assert [a.key for a in found.actions if a.effect is Effect.CREATE] == [
        ("role", APP),
        ("database", DB),
    ]


@pytest.mark.parametrize(
    ("applied", "password", "again"),
    [
        (MARK, None, False),
        (MARK, True, False),
        (MARK, False, True),
        (None, True, True),
        (CredentialMark("f", 2), None, True),
        (CredentialMark("other key", 1), None, True),
    ],
)
def test_when_the_password_is_set(
    applied: CredentialMark | None, password: bool | None, again: bool
) -> None:
    seen = observed(replace(ROLE, password=password), DATABASE)
    found = plan(wanted(applied=applied), seen)
    assert shown(found) == (['ALTER ROLE "mail-agent" PASSWORD ***'] if again else [])
    assert all(a.sets_credential for a in found.actions)


def test_a_removed_section_is_removals_only() -> None:
    found = plan(wanted(EMPTY), CONVERGED)
    assert [(type(a), a.effect) for a in found.actions] == [
        (role_actions.DisableLogin, Effect.REMOVAL),
        (role_actions.EndSessions, Effect.REMOVAL),
    ]
    gone = observed(replace(ROLE, login=False), DATABASE)
    assert plan(wanted(EMPTY), gone) == Plan()
    lingering = observed(replace(ROLE, login=False, sessions=1), DATABASE)
    assert [type(a) for a in plan(wanted(EMPTY), lingering).actions] == [role_actions.EndSessions]


def test_rows_of_a_removed_app() -> None:
    assert confirm(wanted(EMPTY), CONVERGED, ()) == OWNED  # access is not gone yet
    gone = observed(replace(ROLE, login=False), DATABASE)
    rows = confirm(wanted(EMPTY), gone, ())
    assert {row.state for row in rows.values()} == {HeldState.RETAINED}
    assert confirm(wanted(EMPTY, rows), gone, ()) == rows
    assert confirm(wanted(EMPTY, rows), observed(None), ()) == {}
    back = confirm(wanted(DESIRED, rows), CONVERGED, ())
    assert back == OWNED


def test_the_loss_of_a_database_outlives_a_held_removal() -> None:
    """While its file is away and access is not yet revoked, a vanished database keeps its row."""
    rows = confirm(wanted(EMPTY), observed(ROLE), ())
    assert rows == OWNED


def test_hardening_is_remembered() -> None:
    row = replace(OWNED["database", DB], settings={})
    owned = {**OWNED, ("database", DB): row}
    (harden,) = plan(wanted(owned=owned), CONVERGED).actions
    assert isinstance(harden, database_actions.HardenSchema)
    rows = confirm(wanted(owned=owned), CONVERGED, (harden,))
    assert HARDENED in rows["database", DB].settings
    assert plan(wanted(owned=rows), CONVERGED) == Plan()


def test_a_superusers_claim_by_oid_survives_a_lost_comment_but_not_another_oid() -> None:
    bare = replace(ROLE, comment=None)
    assert [type(a) for a in plan(wanted(), observed(bare, DATABASE)).actions] == [
        role_actions.CommentRole
    ]
    other = observed(replace(bare, oid=11), DATABASE)
    found = plan(wanted(), other)
    assert found.actions == ()
    assert found.blocked is not None
    assert found.blocked.reason == "Conflict"
    assert adoptable(wanted(), other) == {
        ("role", APP): Held("role", APP, HeldState.OWNED, Origin.ADOPTED, "11")
    }


ADOPTED: Owned = {
    ("role", APP): Held("role", APP, origin=Origin.ADOPTED, server_id="17"),
    ("database", DB): Held("database", DB, origin=Origin.ADOPTED, server_id="20"),
}
STRANGER = replace(ROLE, oid=17, usable=False, ruled=False, comment=None)
GRANT = f'GRANT "{APP}" TO norn_admin WITH ADMIN TRUE, INHERIT TRUE, SET TRUE'


def denials(role: Role, *databases: Database, version: int = 180004) -> list[str]:
    """What a plan of an adoption asks a superuser for."""
    seen = Observed(Server(version, "norn_admin", True), role, {d.name: d for d in databases})
    found = plan(wanted(owned=ADOPTED, applied=None), seen)
    return [p.remedy for p in found.problems if p.reason == "Denied"]


def test_what_a_superuser_has_to_run_is_known_before_it_is_tried() -> None:
    assert denials(STRANGER, DATABASE) == [f"as a superuser: {GRANT}"]
    mighty = replace(STRANGER, superuser=True)
    assert denials(mighty, DATABASE) == [f'as a superuser: ALTER ROLE "{APP}" NOSUPERUSER; {GRANT}']
    assert denials(mighty, DATABASE, version=150010) == [
        f'as a superuser: ALTER ROLE "{APP}" NOSUPERUSER'
    ]
    replicates = replace(STRANGER, replication=True)
    assert denials(replicates, DATABASE) == [f"as a superuser: {GRANT}"]
    assert denials(replicates, DATABASE, version=150010) == [
        f'as a superuser: ALTER ROLE "{APP}" NOREPLICATION'
    ]
    assert denials(replace(STRANGER, usable=True, ruled=True), DATABASE) == []


def test_a_right_that_nothing_needs_is_not_asked_for() -> None:
    at_rest = replace(STRANGER, usable=True, comment=f"norn: app {APP}")
    assert denials(at_rest, DATABASE) == []
    row = Held("database", "former", server_id="30")
    former = Database("former", 30, APP, sessions={APP: 1})
    owned = {**ADOPTED, row.key: row}
    found = plan(wanted(owned=owned, applied=None), observed(at_rest, DATABASE, former))
    assert role_actions.EndSessions in {type(a) for a in found.actions}
    assert "Denied" not in {p.reason for p in found.problems}


def test_a_database_that_the_admin_may_not_hand_over_is_asked_for() -> None:
    alices = replace(DATABASE, owner="alice", ruled=False)
    (remedy_,) = denials(replace(STRANGER, ruled=True, usable=True), alices)
    assert remedy_.startswith(f'as a superuser: ALTER DATABASE {DB} OWNER TO "{APP}"; then, in')
    assert denials(replace(STRANGER, ruled=True, usable=True), replace(alices, ruled=True)) == []


def test_the_first_superuser_can_be_nobodys_app() -> None:
    first = replace(ROLE, oid=10, superuser=True)
    seen = observed(first, DATABASE)
    found = plan(wanted(owned={}, applied=None), seen)
    assert found.actions == () and found.blocked is not None
    assert "no app can have it" in found.blocked.message
    assert f"ALTER DATABASE {DB} OWNER TO" in found.blocked.remedy
    assert adoptable(wanted(owned={}), seen) == {}


def test_a_removal_waits_for_its_date_whatever_a_superuser_has_to_run() -> None:
    """A blocking problem would end the waiting."""
    role = replace(STRANGER, comment=f"norn: app {APP}")
    found = plan(wanted(EMPTY, ADOPTED, applied=None), observed(role, DATABASE))
    assert found.actions and found.problems == ()


def test_an_invalid_database_of_a_foreign_owner_is_left_alone() -> None:
    leftover = replace(DATABASE, owner="alice", connection_limit=INVALID)
    found = plan(wanted(owned={("role", APP): OWNED["role", APP]}), observed(ROLE, leftover))
    assert found.actions == ()
    assert found.blocked is not None


def test_a_foreign_role_is_not_joined_for_a_claim_that_names_its_database() -> None:
    claimed = Held("database", "old_db", HeldState.CLAIMED)
    theirs = Database("old_db", 21, APP, grants=frozenset({Grant(PUBLIC, "CONNECT", APP)}))
    seen = observed(replace(ROLE, comment=None, usable=False), theirs)
    assert plan(wanted(EMPTY, {claimed.key: claimed}), seen).actions == ()


def test_what_a_third_role_handed_on_is_taken_back_at_once() -> None:
    """Its grant option goes, and with it all that it handed on: one statement for both."""
    handed_on = {Grant(PUBLIC, "CONNECT", "alice"), Grant("shop", "CONNECT", "alice", True)}
    open_to_all = replace(DATABASE, grants=frozenset(handed_on))
    assert shown(plan(wanted(), observed(ROLE, open_to_all))) == [
        "REVOKE GRANT OPTION FOR CONNECT ON DATABASE mailagent_db FROM alice CASCADE"
    ]


FOREIGN = st.sampled_from(["alice", "bob"])
roles = st.none() | st.builds(
    Role,
    name=st.just(APP),
    oid=st.sampled_from([10, 11]),
    login=st.booleans(),
    superuser=st.booleans(),
    createdb=st.booleans(),
    inherit=st.booleans(),
    connection_limit=st.sampled_from([-1, 50]),
    comment=st.sampled_from([None, "x", f"norn: app {APP}"]),
    usable=st.booleans(),
    password=st.sampled_from([None, True, False]),
    sessions=st.integers(0, 2),
    members=st.frozensets(
        st.builds(Member, st.just(APP), FOREIGN, FOREIGN, st.just(True)), max_size=3
    ),
)
groups = st.none() | st.builds(
    Role,
    name=st.just(f"{APP}.readers"),
    oid=st.sampled_from([30, 31]),
    login=st.booleans(),
    createrole=st.booleans(),
    comment=st.sampled_from([None, f"norn: app {APP}"]),
    members=st.frozensets(
        st.builds(
            Member,
            st.just(f"{APP}.readers"),
            st.sampled_from(["shop", "bob"]),
            st.sampled_from(["norn_admin", "alice"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=3,
    ).map(lambda found: frozenset({(m.member, m.grantor): m for m in found}.values())),
)
databases = st.builds(
    Database,
    name=st.sampled_from([DB, "old_db"]),
    oid=st.sampled_from([20, 21]),
    owner=st.sampled_from([APP, "alice"]),
    allow_connections=st.booleans(),
    connection_limit=st.sampled_from([-1, INVALID, 5]),
    is_template=st.booleans(),
    owner_rights=st.frozensets(st.sampled_from(OWNER_RIGHTS)),
    grants=st.frozensets(
        st.builds(
            Grant,
            st.sampled_from([PUBLIC, APP, "alice", "bob"]),
            st.sampled_from(OWNER_RIGHTS),
            st.sampled_from([APP, "alice"]),
        ).map(lambda g: replace(g, ours=g.grantee in (APP, "bob"))),
        max_size=4,
    ),
    settings=st.dictionaries(st.sampled_from(["search_path", "role"]), st.text(), max_size=2),
    sessions=st.dictionaries(st.sampled_from([APP, "shop", "bob"]), st.integers(0, 2)),
    promised=st.dictionaries(st.just(f"{APP}.readers"), st.integers(0, 3)),
)
rows = (
    st.builds(
        Held,
        kind=st.just("database"),
        name=st.sampled_from([DB, "old_db"]),
        state=st.sampled_from(HeldState),
        server_id=st.sampled_from([None, "20", "21"]),
    )
    | st.builds(
        Held,
        kind=st.just("role"),
        name=st.just(APP),
        state=st.sampled_from(HeldState),
        server_id=st.sampled_from([None, "110", "11"]),
    )
    | st.builds(
        Held,
        kind=st.just("group"),
        name=st.just(f"{APP}.readers"),
        state=st.sampled_from(HeldState),
        server_id=st.sampled_from([None, "30", "31"]),
        settings=st.dictionaries(
            st.sampled_from(["reader.shop", "reader.bob"]), st.just("admitted")
        ),
    )
)
states = st.tuples(
    st.sampled_from(
        [
            DESIRED,
            EMPTY,
            replace(DESIRED, readers=("shop",), reads=("their_db",)),
            replace(DESIRED, renamed_from="old_db"),
        ]
    ),
    st.lists(rows, max_size=3).map(lambda found: {row.key: row for row in found}),
    roles,
    st.lists(databases, max_size=2, unique_by=(lambda d: d.name, lambda d: d.oid)),
    st.sampled_from([None, MARK]),
    groups,
    st.frozensets(st.just("shop")),
)


@given(states)
def test_whatever_is_seen_the_plan_is_sane(
    state: tuple[
        Desired,
        Owned,
        Role | None,
        list[Database],
        CredentialMark | None,
        Role | None,
        frozenset[str],
    ],
) -> None:
    desired, owned, role, seen, applied, group, readers = state
    want = Wanted(APP, desired, owned, applied)
    look = replace(observed(role, *seen), group=group, readers=readers & set(desired.readers))
    found = plan(want, look)
    assert plan(want, look) == found
    phases = [a.phase for a in found.actions]
    assert phases == sorted(phases)
    assert len({a.summary() for a in found.actions}) == len(found.actions)
    assert "geheim" not in repr(found)
    if desired is EMPTY:
        assert not any(a.effect is Effect.CREATE for a in found.actions)
    renames = [a for a in found.actions if isinstance(a, RenameDatabase)]
    of = {held.server_id for held in owned.values() if held.kind == "database"}
    assert all(a.was in look.databases and {str(a.oid), None} & of for a in renames)
    if (row := owned.get(("database", "old_db"))) is not None and row.server_id is not None:
        made = [a.name for a in found.actions if isinstance(a, CreateDatabase)]
        assert desired.renamed_from is None or made == []
        shut = [a.name for a in found.actions if isinstance(a, RetainDatabase)]
        assert desired.renamed_from is None or shut == [] or ("database", DB) in owned
    for action in found.actions:
        # What is there and in no row is touched in one case only: a leftover without data.
        if action.effect is not Effect.CREATE and action.key not in owned:
            fresh = {a.key for a in found.actions if a.effect is Effect.CREATE}
            known = {("database", d.name) for d in seen if str(d.oid) in of}
            assert action.key in fresh | known | {a.key for a in renames}
        assert remedy(action, "norn_admin", 180000)
    once = confirm(want, look, found.actions)
    assert confirm(replace(want, owned=once), look, ()) == once
    assert len(once) <= len(owned)
    assert set(once) <= set(owned) | {("database", DB)}


def named(**more: Any) -> Desired:
    return replace(DESIRED, database="post_db", **more)


POST = replace(DATABASE, name="post_db")


def test_a_database_with_a_new_name_is_renamed_and_all_else_planned_for_it_as_it_is_then() -> None:
    want = wanted(named(renamed_from=DB))
    seen = observed(ROLE, replace(DATABASE, is_template=True))
    found = plan(want, seen)
    assert shown(found) == [
        f"ALTER DATABASE {DB} RENAME TO post_db, which ends its sessions",
        "ALTER DATABASE post_db IS_TEMPLATE false",
    ]
    assert found.problems == ()
    rows = confirm(want, observed(ROLE, POST), found.actions)
    assert set(rows) == {("role", APP), ("database", "post_db")}
    assert rows["database", "post_db"].server_id == "20"
    assert rows["database", "post_db"].settings == {HARDENED: "x", trash.FORMER: DB}


def test_a_rename_that_nobody_could_write_down_is_done() -> None:
    want = wanted(named(renamed_from=DB))
    assert plan(want, observed(ROLE, POST)) == Plan()
    assert ("database", "post_db") in confirm(want, observed(ROLE, POST), ())


def test_a_spec_that_goes_back_to_a_former_name_means_the_same_data() -> None:
    row = Held("database", "post_db", server_id="20", settings={HARDENED: "x", trash.FORMER: DB})
    want = wanted(DESIRED, {("role", APP): OWNED["role", APP], row.key: row})
    back = f"ALTER DATABASE post_db RENAME TO {DB}, which ends its sessions"
    assert shown(plan(want, observed(ROLE, POST))) == [back]
    assert set(confirm(want, CONVERGED, ())) == set(OWNED)


def test_what_was_put_aside_under_the_former_name_goes_with_it() -> None:
    aside = replace(DATABASE, name=f"{DB}.trash.20260131T080000", oid=7, allow_connections=False)
    at = datetime(2026, 1, 31, 8, tzinfo=UTC)
    row = Held("database", aside.name, HeldState.RETAINED, server_id="7",
               settings=trash.settings(DB, at))  # fmt: skip
    want = wanted(named(renamed_from=DB), {**OWNED, row.key: row})
    rows = confirm(want, observed(ROLE, POST, aside), ())
    assert rows[row.key].settings[trash.FROM] == "post_db"
    # And is what has the name again once the other is gone.
    only = {key: held for key, held in rows.items() if key != ("database", "post_db")}
    back = plan(wanted(named(renamed_from=DB), only), observed(ROLE, aside))
    assert f'ALTER DATABASE "{aside.name}" RENAME TO post_db' in shown(back)


@pytest.mark.parametrize(
    ("owned", "seen", "reason"),
    [
        pytest.param(OWNED, (), "DataMissing", id="it-is-gone"),
        pytest.param(OWNED, (replace(DATABASE, oid=21),), "DataMissing", id="another-in-its-place"),
        pytest.param({("role", APP): OWNED["role", APP]}, (DATABASE,), "Conflict", id="not-norns"),
    ],
)
def test_no_empty_database_is_made_in_the_place_of_one_that_cannot_be_renamed(
    owned: Owned, seen: tuple[Database, ...], reason: str
) -> None:
    want = wanted(named(renamed_from=DB), owned)
    found = plan(want, observed(ROLE, *seen))
    assert (found.actions, found.problems[0].reason) == ((), reason)
    assert confirm(want, observed(ROLE, *seen), ()) == owned


def test_neither_is_touched_while_somebody_else_has_the_new_name() -> None:
    other = Database("post_db", 99, "alice")
    found = plan(wanted(named(renamed_from=DB)), observed(ROLE, DATABASE, other))
    assert (found.actions, found.problems[0].reason) == ((), "Conflict")
    assert len(found.problems) == 1


def test_renamed_from_that_was_forgotten_is_followed_once_the_empty_one_is_gone() -> None:
    shut = replace(DATABASE, allow_connections=False)
    empty = Held("database", "post_db", server_id="21", settings={HARDENED: "x"})
    left = replace(OWNED["database", DB], state=HeldState.RETAINED)
    want = wanted(named(renamed_from=DB), {**OWNED, left.key: left, empty.key: empty})
    both = observed(ROLE, shut, replace(POST, oid=21))
    found = plan(want, both)
    assert (found.actions, found.problems[0].reason) == ((), "Conflict")
    assert "DROP DATABASE post_db" in found.problems[0].remedy
    assert confirm(want, both, ()) == want.owned

    found = plan(want, observed(ROLE, shut))
    assert shown(found) == [
        f"ALTER DATABASE {DB} RENAME TO post_db",
        "ALTER DATABASE post_db ALLOW_CONNECTIONS true",
    ]
    rows = confirm(want, observed(ROLE, POST), found.actions)
    assert set(rows) == {("role", APP), ("database", "post_db")}
    assert rows["database", "post_db"].server_id == "20"

    # Without the one that it was, what the app has is the one that it has.
    assert plan(want, observed(ROLE, replace(POST, oid=21))).actions == ()


def test_a_rename_that_is_done_says_nothing_of_who_has_the_former_name_now() -> None:
    row = Held("database", "post_db", server_id="20", settings={HARDENED: "x", trash.FORMER: DB})
    want = wanted(named(renamed_from=DB), {("role", APP): OWNED["role", APP], row.key: row})
    strangers = Database(DB, 99, "alice")
    assert plan(want, observed(ROLE, POST, strangers)) == Plan()


def test_last_door_for_reserved_names() -> None:
    provider = PostgresProvider(
        Secret("postgresql://admin1:x@h/postgres"), norn_databases=frozenset({"records"})
    )
    for app, database in (("admin1", "x"), ("mail", "records"), ("pg_x", "x")):
        name = AppName(app)
        desired = provider.desired(
            App(name, {"postgres": PostgresSection(database=database)}), CREDENTIAL
        )
        found = provider.plan(Wanted(name, desired), observed(None))
        assert found.actions == ()
        assert found.blocked is not None
        assert found.blocked.reason == "Reserved"


HOSTILE = 'x"; DROP ROLE norn; --'


@given(st.text(min_size=1).filter(lambda t: "\x00" not in t and t.isprintable()))
def test_names_are_quoted_in_every_statement(name: str) -> None:
    """Whatever got past the checks: an identifier stays one."""
    escaped = '"' + name.replace('"', '""') + '"'
    for text in (HOSTILE, name):
        for action in (
            role_actions.DisableLogin("role", text),
            database_actions.SetOwner("database", "d", text, "x"),
            database_actions.RevokeRight("database", "d", "o", text, "CONNECT"),
            database_actions.ResetSetting("database", text, "search_path", "x"),
        ):
            made = [s.as_string(None) for s in render.statements(action, 180000, "")]
            expected = escaped if text == name else '"x""; DROP ROLE norn; --"'
            assert any(expected in statement for statement in made)
            for statement in made:
                rest = statement.replace(expected, "").replace("'" + text.replace("'", "''"), "")
                assert "DROP ROLE norn" not in rest
    assert quoted(name) in (name, escaped)


def test_a_verifier_reaches_the_statement_and_nothing_else() -> None:
    action = role_actions.CreateRole("role", APP, 5, CREDENTIAL, "it's")
    made = "; ".join(s.as_string(None) for s in render.statements(action, 150000, "SCRAM$x"))
    assert "'SCRAM$x'" in made
    assert "'it''s'" in made
    assert made.endswith('GRANT "mail-agent" TO CURRENT_USER')
    assert "geheim" not in made + repr(action) + action.summary()


def test_every_action_is_rendered_or_done_alone() -> None:
    alone = {
        PostgresAction,
        database_actions.CreateDatabase,
        database_actions.RenameDatabase,
        database_actions.DropInvalidDatabase,
        database_actions.InsideAction,
        database_actions.HardenSchema,
        database_actions.CreateExtension,
        reader_actions.OpenToReaders,
    }
    kinds = {
        kind
        for module in (role_actions, database_actions, reader_actions)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, PostgresAction)
    }
    assert alone < kinds
    for kind in kinds - alone:
        assert render.statements.dispatch(kind) is not render.statements.dispatch(object), kind


FACTS = diagnose.Facts(180004, "norn_admin", False, True, True, True, "scram-sha-256", (), ())


@pytest.mark.parametrize(
    ("facts", "reason", "blocking"),
    [
        (replace(FACTS, version=190000), "Version", False),
        (replace(FACTS, createdb=False), "Denied", True),
        (replace(FACTS, createrole=False), "Denied", True),
        (replace(FACTS, superuser=True), "Superuser", False),
        (replace(FACTS, version=150000), "CreateRole", False),
        (replace(FACTS, limits_temp_files=False), "TempFileLimit", False),
        (replace(FACTS, open_databases=("norn_db",)), "PublicConnect", False),
        (replace(FACTS, foreign_open=("theirs",)), "ForeignPublicConnect", False),
        (replace(FACTS, trusted=((7, "host", "all", "all"),)), "TrustRule", False),
        (replace(FACTS, trusted=((7, "local", "all", "all"),)), "TrustRule", False),
        (replace(FACTS, trusted=None), "NotChecked", False),
        (replace(FACTS, md5_roles=None), "NotChecked", False),
        (replace(FACTS, unasked=(("which", "permission denied"),)), "NotChecked", False),
        (replace(FACTS, refused=(("make a role", "no"),)), "Denied", True),
        (replace(FACTS, password_encryption="md5"), "PasswordEncryption", False),
        (replace(FACTS, md5_roles=("old",)), "Md5Password", False),
    ],
)
def test_doctor_findings(facts: diagnose.Facts, reason: str, blocking: bool) -> None:
    (found,) = diagnose.judge(facts, wrong_password=False, published_password=False)
    assert found.reason == reason
    assert (found.severity is Severity.BLOCKING) == blocking
    assert "…" not in found.remedy, "it is what to type"


def test_doctor_is_silent_on_a_good_server_and_loud_on_trust() -> None:
    assert diagnose.judge(FACTS, wrong_password=False, published_password=False) == ()
    (trust,) = diagnose.judge(FACTS, wrong_password=True, published_password=True)
    assert trust.reason == "TrustAuthentication"
    (known,) = diagnose.judge(FACTS, wrong_password=False, published_password=True)
    assert known.reason == "PublishedPassword"
    (unknown,) = diagnose.judge(FACTS, wrong_password=None, published_password=False)
    assert unknown.reason == "NotChecked"


@pytest.mark.parametrize(
    ("reach", "remedy"),
    [
        (
            Reach(APP, "victim", "app", "helper", APP, "postgres"),
            f'as a superuser: REVOKE helper FROM "{APP}" GRANTED BY postgres',
        ),
        (
            Reach(APP, "pg_monitor", "power", "pg_monitor", APP, ""),
            f'as a superuser: REVOKE pg_monitor FROM "{APP}"',
        ),
    ],
)
def test_what_a_role_reaches_by_membership(reach: Reach, remedy: str) -> None:
    foreign = Member("pg_monitor", APP, "", other_is_app=False)
    role = replace(ROLE, reaches=frozenset({reach}), member_of=frozenset({foreign}))
    found = plan(wanted(), observed(role, DATABASE))
    told = [(p.severity, p.remedy) for p in found.problems if p.reason == "PowerByMembership"]
    assert told == [(Severity.BLOCKING, remedy)]
    others = [p.reason for p in found.problems if p.reason != "PowerByMembership"]
    assert others == ([] if reach.cut_role == "pg_monitor" else ["ForeignMembership"])
    assert found.actions == (), "it stops no repair, and is none"


@pytest.mark.parametrize("member", [APP, f"{APP}.readers"])
def test_what_norn_may_revoke_it_revokes_itself(member: str) -> None:
    """Whatever became of the other app: one that is forgotten has no round."""
    reach = Reach(APP, "victim", "app", "victim", member, "norn_admin", mends=True)
    further = replace(reach, role="another", kind="power")  # the same membership leads there, too
    role = replace(ROLE, reaches=frozenset({reach, further}))
    found = plan(wanted(), observed(role, DATABASE))
    assert shown(found) == [f"REVOKE victim FROM {quoted(member)} GRANTED BY norn_admin"]
    assert found.problems == ()


def test_a_foreign_membership_is_revoked_by_whoever_granted_it() -> None:
    guest = Member(APP, "guest", "the boss", other_is_app=False)
    host = Member("host", APP, "", other_is_app=False)  # its grantor is gone
    role = replace(ROLE, members=frozenset({guest}), member_of=frozenset({host}))
    assert [p.remedy for p in plan(wanted(), observed(role, DATABASE)).problems] == [
        f'if that is not meant: REVOKE "{APP}" FROM guest GRANTED BY "the boss"',
        f'if that is not meant: REVOKE host FROM "{APP}"',
    ]


def test_who_reaches_a_role_through_somebody_else() -> None:
    reach = Reach("evil", APP, "app", APP, "helper", "postgres")
    found = plan(wanted(), observed(replace(ROLE, reached_by=frozenset({reach})), DATABASE))
    (problem,) = found.problems
    assert problem.severity is Severity.BLOCKING
    assert problem.remedy == f'as a superuser: REVOKE "{APP}" FROM helper GRANTED BY postgres'
    mended = plan(
        wanted(),
        observed(replace(ROLE, reached_by=frozenset({replace(reach, mends=True)})), DATABASE),
    )
    assert mended == Plan()


def test_an_apps_roles_get_its_new_name_and_nothing_else_is_touched() -> None:
    was = Role("old-agent", 110, connection_limit=50, settings={"temp_file_limit": "1GB"},
               comment="norn: app old-agent", sessions=1)  # fmt: skip
    group = Role("old-agent.readers", 30, login=False, comment="norn: app old-agent")
    database = Database(
        DB,
        20,
        "old-agent",
        grants=frozenset({Grant("old-agent.readers", "CONNECT", "old-agent", True)}),
        sessions={"old-agent": 1},
        promised={"old-agent.readers": 3},
    )
    rows = {
        ("role", "old-agent"): Held("role", "old-agent", server_id="110"),
        ("group", "old-agent.readers"): Held("group", "old-agent.readers", server_id="30"),
        ("database", DB): OWNED["database", DB],
    }
    look = replace(observed(None, database), former={"role": was, "group": group})
    want = wanted(replace(DESIRED, readers=()), rows)
    found = plan(want, look)
    assert shown(found) == [
        'ALTER ROLE "old-agent" RENAME TO "mail-agent"',
        'ALTER ROLE "old-agent.readers" RENAME TO "mail-agent.readers"',
    ]
    assert found.problems == ()
    assert set(confirm(want, look, ())) == set(rows), "before it is done"
    after = observed(
        replace(was, name=APP, comment=f"norn: app {APP}"), replace(DATABASE, sessions={APP: 1})
    )
    done = confirm(want, after, found.actions)
    assert ("role", APP) in done
    assert ("role", "old-agent") not in done


def test_a_role_of_the_new_name_that_is_somebodys_stops_it() -> None:
    was = Role("old-agent", 110, comment="norn: app old-agent")
    rows = {("role", "old-agent"): Held("role", "old-agent", server_id="110")}
    look = replace(observed(replace(ROLE, oid=9, comment=None)), former={"role": was})
    found = plan(wanted(DESIRED, rows), look)
    assert (found.actions, found.problems[0].reason) == ((), "Conflict")
    assert confirm(wanted(DESIRED, rows), look, ()) == rows


def test_whose_roles_have_their_former_name_takes_no_other_role_over() -> None:
    """All that is in its database is the former one's, which would be left out for good."""
    was = Role("old-agent", 110, comment="norn: app old-agent")
    rows = {("role", "old-agent"): Held("role", "old-agent", server_id="110")}
    look = replace(observed(replace(ROLE, oid=9, comment=None)), former={"role": was})
    assert adoptable(wanted(DESIRED, rows), look) == {}
    (problem,) = plan(wanted(DESIRED, rows), look).problems
    assert "norn adopt" not in problem.remedy
    assert 'ALTER ROLE "mail-agent" RENAME TO' in problem.remedy


@pytest.mark.parametrize("id", ["30", None])
def test_a_group_that_nobody_could_confirm_gets_the_new_name_as_well(id: str | None) -> None:
    """Else it stays with its members, who could read on whatever specs say."""
    group = Role("old-agent.readers", 30, login=False, comment="norn: app old-agent")
    row = Held("group", group.name, HeldState.CLAIMED, server_id=id)
    read = _Read(SERVER, {group.name: group}, {}, {}, {})
    assert _former(wanted(DESIRED, {row.key: row}), read) == {"group": group}
    other = replace(group, comment="norn: app other")
    read = _Read(SERVER, {group.name: other}, {}, {}, {})
    assert _former(wanted(DESIRED, {row.key: row}), read) == ({"group": other} if id else {})
