from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pytest

from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.model.fleet import Folder
from norn_reconciler.model.inventory import Held, HeldState
from norn_reconciler.model.migrations import Migration
from norn_reconciler.model.moves import GIVER, Move, carried_out
from norn_reconciler.model.records import Generation, SpecRecord
from norn_reconciler.spec.findings import Finding, Severity
from norn_reconciler.spec.fleet import Settled, settle
from norn_reconciler.spec.load import Document
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.scan import About, Broken, Scan, Settling
from norn_reconciler.spec.shares import Inventory, Share
from tests.unit.spec.fakes import RULES, document

A, B = AppName("a"), AppName("b")
NOBODY: Mapping[AppName, frozenset[Claim]] = {}


def spec(app: str, name: str = "", file: str = "", extra: str = "") -> Document:
    text = f"app: {app}\nrole: worker\nservices:\n  db:\n    name: {name or app}\n{extra}"
    return document(text, file or f"{app}.yaml")


def scan(*documents: Document, folder: Folder = Folder.OK, **files: Broken | Settling) -> Scan:
    by_file = {f"{name}.yaml": file for name, file in files.items()}
    return Scan(
        folder,
        {d.record.file: d for d in documents},
        {n: f for n, f in by_file.items() if isinstance(f, Broken)},
        {n: f for n, f in by_file.items() if isinstance(f, Settling)},
    )


def known(*documents: Document) -> dict[AppName, SpecRecord]:
    return {d.app.name: d.record for d in documents}


def holds(**names: str) -> dict[AppName, frozenset[Claim]]:
    return {AppName(app): frozenset({Claim("db.name", name)}) for app, name in names.items()}


def broken(*apps: str, anyone: bool = False) -> Broken:
    finding = Finding("spec.yaml.syntax", Severity.ERROR, "not YAML", "", "x.yaml", 3, 1)
    return Broken((finding,), About(frozenset(map(AppName, apps)), anyone))


def settling(*apps: str, anyone: bool = False) -> Settling:
    return Settling(1.0, About(frozenset(map(AppName, apps)), anyone))


def checks(settled: Settled) -> list[tuple[str, str]]:
    return [(f.file, f.check) for f in settled.findings]


def test_a_file_is_in_force() -> None:
    a = spec("a", extra="migrations: {command: x, database: y}")
    settled = settle(scan(a), {}, NOBODY, RULES)
    member = settled.fleet.members[A]
    assert (member.app, member.record, member.rejected) == (a.app, a.record, "")
    assert (member.migration, member.core) == (Migration("x", "y"), False)
    assert settled.findings == ()


def test_core_is_marked() -> None:
    settled = settle(scan(spec("a", extra="core: true")), {}, NOBODY, RULES)
    assert settled.fleet.members[A].core


def test_no_file_is_vanished_with_its_last_good_version() -> None:
    a, b = spec("a"), spec("b")
    settled = settle(scan(b), known(a, b), NOBODY, RULES)
    assert settled.fleet.members.keys() == {B}
    assert settled.fleet.vanished[A].record == a.record
    assert settled.fleet.vanished[A].app == a.app


@pytest.mark.parametrize("folder", [Folder.MISSING, Folder.UNREADABLE, Folder.EMPTY])
def test_without_a_folder_all_vanish_and_the_folder_says_so(folder: Folder) -> None:
    a, b = spec("a"), spec("b")
    settled = settle(scan(folder=folder), known(a, b), NOBODY, RULES)
    assert settled.fleet.folder is folder
    assert settled.fleet.vanished.keys() == {A, B}


def test_a_broken_file_keeps_the_last_good_version_and_says_why() -> None:
    a = spec("a")
    settled = settle(scan(a=broken("a")), known(a), NOBODY, RULES)
    member = settled.fleet.members[A]
    assert (member.app, member.record) == (a.app, a.record)
    assert member.rejected == "x.yaml:3:1: not YAML [spec.yaml.syntax]"
    assert settled.held_back == {A: "a.yaml is broken and may be about it"}
    assert checks(settled) == [("x.yaml", "spec.yaml.syntax")]


def test_what_was_undone_gives_way_to_the_version_before_until_the_file_says_something_else() -> (
    None
):
    former, now, later = spec("a", "one"), spec("a", "two"), spec("a", "three")
    pinned = {A: Generation(4, former.record.canonical)}
    settled = settle(scan(now), known(now), NOBODY, RULES, pinned=pinned)
    member = settled.fleet.members[A]
    assert (member.app, member.record) == (former.app, now.record)
    assert (member.rejected, member.pinned) == ("a.yaml was undone: generation 4 is in force", 4)
    moved = settle(scan(later), known(now), NOBODY, RULES, pinned=pinned)
    assert (moved.fleet.members[A].app, moved.fleet.members[A].rejected) == (later.app, "")


def test_a_broken_file_leaves_what_was_undone_undone() -> None:
    former, now = spec("a", "one"), spec("a", "two")
    pinned = {A: Generation(4, former.record.canonical)}
    settled = settle(scan(a=broken("a")), known(now), NOBODY, RULES, pinned=pinned)
    assert settled.fleet.members[A].app == former.app


def test_an_undone_version_may_not_take_what_another_has_by_now() -> None:
    former, now, b = spec("a", "one"), spec("a", "two"), spec("b", "one")
    pinned = {A: Generation(4, former.record.canonical)}
    settled = settle(scan(now, b), known(now, b), holds(a="two", b="one"), RULES, pinned=pinned)
    assert settled.fleet.members[B].app == b.app
    assert ("a.yaml", "spec.claim.conflict") in checks(settled)
    member = settled.fleet.members[A]
    assert (member.app, member.pinned) == (now.app, None)


def test_a_broken_file_holds_only_what_it_may_be_about() -> None:
    a, b = spec("a"), spec("b")
    settled = settle(scan(other=broken("a")), known(a, b), NOBODY, RULES)
    assert settled.fleet.members.keys() == {A}
    assert settled.fleet.vanished.keys() == {B}


def test_a_broken_file_about_nobody_knows_whom_holds_all() -> None:
    a, b = spec("a"), spec("b")
    settled = settle(scan(b, x=broken(anyone=True)), known(a, b), NOBODY, RULES)
    assert settled.fleet.vanished == {}
    assert settled.fleet.members[A].rejected == ""
    assert settled.held_back.keys() == {A}


def test_a_file_being_written_removes_nothing_and_changes_nothing_yet() -> None:
    a, b = spec("a"), spec("b")
    settled = settle(scan(b, a=settling("a")), known(a, b), NOBODY, RULES)
    assert settled.fleet.members[A].record == a.record
    assert settled.fleet.vanished == {}
    assert settled.held_back == {A: "a.yaml is being written and may be about it"}


def test_a_new_app_whose_file_is_broken_is_nowhere() -> None:
    settled = settle(scan(a=broken("a")), {}, NOBODY, RULES)
    assert settled.fleet.members == settled.fleet.vanished == {}


def test_a_moved_file_is_no_removal() -> None:
    before, after = spec("a", file="a.yaml"), spec("a", file="sub/infraspec.yaml")
    settled = settle(scan(after), known(before), NOBODY, RULES)
    assert settled.fleet.members[A].record == after.record
    assert settled.fleet.vanished == {}
    assert settled.findings == ()


def test_the_same_content_twice_is_a_warning_while_it_lasts() -> None:
    before, copy = spec("a", file="z.yaml"), spec("a", file="b.yaml", extra="# a comment")
    settled = settle(scan(before, copy), known(before), NOBODY, RULES)
    assert settled.fleet.members[A].record == before.record
    (finding,) = settled.findings
    assert (finding.check, finding.severity, finding.file) == (
        "spec.app.duplicate",
        Severity.WARNING,
        "b.yaml",
    )
    assert "z.yaml" in finding.message


def test_two_contents_without_a_holder_are_both_refused() -> None:
    one, two = spec("a", "x", "one.yaml"), spec("a", "y", "two.yaml")
    settled = settle(scan(one, two), {}, NOBODY, RULES)
    assert settled.fleet.members == {}
    assert checks(settled) == [
        ("one.yaml", "spec.app.conflict"),
        ("two.yaml", "spec.app.conflict"),
    ]
    assert "two.yaml" in settled.findings[0].message
    assert "one.yaml" in settled.findings[1].message


def test_two_contents_the_known_file_stays() -> None:
    one, two = spec("a", "x", "one.yaml"), spec("a", "y", "two.yaml")
    settled = settle(scan(one, two), known(two), NOBODY, RULES)
    assert settled.fleet.members[A].record == two.record
    assert checks(settled) == [("one.yaml", "spec.app.conflict")]


def test_two_contents_and_the_known_file_gone_keep_the_last_good_version() -> None:
    old = spec("a", "w", "old.yaml")
    one, two = spec("a", "x", "one.yaml"), spec("a", "y", "two.yaml")
    settled = settle(scan(one, two), known(old), NOBODY, RULES)
    assert settled.fleet.members[A].record == old.record
    assert "one.yaml" in settled.fleet.members[A].rejected


def test_another_file_may_not_take_the_place_of_a_broken_one() -> None:
    a, other = spec("a", "x"), spec("a", "y", "other.yaml")
    settled = settle(scan(other, a=broken("a")), known(a), NOBODY, RULES)
    assert settled.fleet.members[A].record == a.record
    assert ("other.yaml", "spec.app.conflict") in checks(settled)


def test_unless_it_says_the_same() -> None:
    a, other = spec("a", "x"), spec("a", "x", "other.yaml")
    settled = settle(scan(other, a=broken()), known(a), NOBODY, RULES)
    assert settled.fleet.members[A].record == other.record


def test_colliding_claims_without_a_holder_are_both_refused_and_both_named() -> None:
    settled = settle(scan(spec("a", "x"), spec("b", "x")), {}, NOBODY, RULES)
    assert settled.fleet.members == {}
    assert [(f.file, f.check, f.field, f.line, f.column) for f in settled.findings] == [
        ("a.yaml", "spec.claim.conflict", "services.db", 4, 3),
        ("b.yaml", "spec.claim.conflict", "services.db", 4, 3),
    ]
    assert "b.yaml" in settled.findings[0].message
    assert "a.yaml" in settled.findings[1].message


def test_who_has_it_in_the_inventory_keeps_it() -> None:
    a, b = spec("a", "x"), spec("b", "x")
    settled = settle(scan(a, b), {}, holds(b="x"), RULES)
    assert settled.fleet.members.keys() == {B}
    assert checks(settled) == [("a.yaml", "spec.claim.conflict")]


def test_what_a_removed_app_left_behind_is_its_own() -> None:
    settled = settle(scan(spec("a", "x")), {}, holds(gone="x"), RULES)
    assert settled.fleet.members == {}
    assert "gone" in settled.findings[0].message


def test_a_refused_app_keeps_its_last_good_version() -> None:
    before, after, b = spec("a", "x"), spec("a", "y"), spec("b", "y")
    settled = settle(scan(after, b), known(before, b), holds(a="x", b="y"), RULES)
    member = settled.fleet.members[A]
    assert (member.app, member.record) == (before.app, before.record)
    assert "db.name y belongs to app b (b.yaml)" in member.rejected
    assert settled.fleet.members[B].rejected == ""


def test_what_was_accepted_first_stays_though_no_server_has_it_yet() -> None:
    a, b = spec("a", "x"), spec("b", "x")
    settled = settle(scan(a, b), known(a), NOBODY, RULES)
    assert settled.fleet.members.keys() == {A}
    assert checks(settled) == [("b.yaml", "spec.claim.conflict")]


def test_the_inventory_outweighs_what_was_only_accepted() -> None:
    a, b = spec("a", "x"), spec("b", "x")
    settled = settle(scan(a, b), known(a), holds(b="x"), RULES)
    assert settled.fleet.members[B].rejected == ""
    assert settled.fleet.members[A].rejected


def test_a_broken_apps_names_are_still_its_own() -> None:
    a, b = spec("a", "x"), spec("b", "x")
    settled = settle(scan(b, a=broken("a")), known(a), NOBODY, RULES)
    assert settled.fleet.members.keys() == {A}


def test_a_refused_apps_last_good_names_are_still_its_own() -> None:
    # a's new version drops x and asks for y, which b has; so a keeps x, and c can't take it.
    before, after = spec("a", "x"), spec("a", "y")
    b, c = spec("b", "y"), spec("c", "x")
    settled = settle(scan(after, b, c), known(before, b), holds(b="y"), RULES)
    assert settled.fleet.members.keys() == {A, B}
    assert settled.fleet.members[A].record == before.record
    assert ("c.yaml", "spec.claim.conflict") in checks(settled)


def test_a_name_may_move_once_the_inventory_lets_go_of_it() -> None:
    before, after, b = spec("a", "x"), spec("a", "y"), spec("b", "x")
    held = settle(scan(after, b), known(before), holds(a="x"), RULES)
    assert held.fleet.members.keys() == {A}
    free = settle(scan(after, b), known(after), holds(a="y"), RULES)
    assert free.fleet.members.keys() == {A, B}
    assert free.fleet.members[B].rejected == ""


def test_a_name_that_no_server_has_moves_at_once() -> None:
    before, after, b = spec("a", "x"), spec("a", "y"), spec("b", "x")
    settled = settle(scan(after, b), known(before), NOBODY, RULES)
    assert {m.record.canonical for m in settled.fleet.members.values()} == {
        after.record.canonical,
        b.record.canonical,
    }
    assert settled.findings == ()


def test_a_last_good_version_that_fails_todays_checks_is_left_alone() -> None:
    a = spec("a")
    strict = Rules(RULES.sections, {"db": lambda app: "a user that settings name now"})
    settled = settle(scan(spec("b")), known(a), NOBODY, strict)
    assert A not in settled.fleet.members
    assert A not in settled.fleet.vanished
    assert A in settled.held_back
    assert ("a.yaml", "spec.record.unusable") in checks(settled)


def test_a_removed_section_is_absent() -> None:
    bare = document("app: a\nrole: worker\n", "a.yaml")
    settled = settle(scan(bare), known(spec("a")), holds(a="a"), RULES)
    assert settled.fleet.members[A].app.sections == {}


def test_order_is_irrelevant() -> None:
    documents = [spec("a", "x"), spec("b", "x"), spec("c", "y"), spec("c", "z", "c2.yaml")]
    outcomes = [settle(scan(*p), {}, NOBODY, RULES) for p in permutations(documents)]
    assert all(o == outcomes[0] for o in outcomes)
    assert outcomes[0].fleet.members == {}


def test_an_owner_shares_what_norn_made_for_it_and_nothing_else() -> None:
    a = spec("a", "x", extra="    readers: [b]\n")
    files = scan(a, spec("b"))
    share = Share("db", A, B, ("db", "x"))

    def seen(inventory: Inventory | None) -> tuple[object, object, object]:
        settled = settle(files, {}, NOBODY, RULES, inventory)
        reader = settled.fleet.members[B].app
        return reader.readable.get("db"), reader.withheld.get("db"), settled.withheld

    def rows(app: str, state: HeldState, kind: str = "db") -> Inventory:
        return {("db", AppName(app)): {(kind, "x"): Held(kind, "x", state)}}

    given = (frozenset({"x"}), None, frozenset())
    kept = (None, frozenset({("a", "x")}), frozenset({share}))
    assert seen(rows("a", HeldState.OWNED)) == given
    assert seen({}) == kept
    assert seen(rows("a", HeldState.CLAIMED)) == kept, "it may be another's still"
    assert seen(rows("a", HeldState.RETAINED)) == kept
    assert seen(rows("b", HeldState.OWNED)) == kept, "it is not a's"
    assert seen(rows("a", HeldState.OWNED, "user")) == kept, "the user of that name is a's"
    assert seen(None) == given, "norn_db was not asked"


T = ("topic", "t")


def topics(state: HeldState = HeldState.OWNED, app: AppName = A) -> Inventory:
    """`app` has db `t`, which the fake service lets pass from one app to another."""
    return {("db", app): {T: Held(*T, state=state, settings={"passes": "1"})}}


def both(a: str, b: str) -> Scan:
    return scan(spec("a", a), spec("b", b))


BEFORE = known(spec("a", "t"), spec("b", "own"))


def test_what_one_file_lets_go_and_one_other_asks_for_passes() -> None:
    settled = settle(both("other", "t"), BEFORE, holds(a="t"), RULES, topics())
    assert settled.fleet.moves == (Move("db", T, A, B),)
    assert settled.findings == ()
    assert settled.fleet.members[B].rejected == ""
    rows, done = carried_out(settled.fleet.moves, topics())
    assert rows["db", A] == {}
    assert dict(rows["db", B][T].settings) == {"passes": "1", GIVER: "a"}
    assert done == list(settled.fleet.moves)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_it_passes_also_where_the_two_files_change_one_after_the_other(order: list[int]) -> None:
    now, kinds = ["t", "own"], ["other", "t"]
    accepted, inventory, holding = dict(BEFORE), topics(), holds(a="t")
    for at in order:
        now[at] = kinds[at]
        settled = settle(both(*now), accepted, holding, RULES, inventory)
        accepted = {app: member.record for app, member in settled.fleet.members.items()}
    assert settled.fleet.moves == (Move("db", T, A, B),)
    assert settled.findings == ()


@pytest.mark.parametrize(
    ("files", "inventory"),
    [
        pytest.param(both("t", "t"), topics(), id="its-file-asks-for-it-still"),
        pytest.param(scan(spec("b", "t")), topics(), id="its-file-is-gone"),
        pytest.param(scan(spec("b", "t"), a=broken("a")), topics(), id="its-file-is-broken"),
        pytest.param(scan(spec("b", "t"), a=settling("a")), topics(), id="its-file-is-settling"),
        pytest.param(both("other", "t"), topics(HeldState.RETAINED), id="it-is-shut-already"),
        pytest.param(both("other", "t"), None, id="norn-db-was-not-asked"),
        pytest.param(
            scan(spec("a", "other"), spec("b", "t"), spec("c", "t")), topics(), id="two-ask-for-it"
        ),
        pytest.param(
            scan(spec("a", "own"), spec("b", "t", extra="    also: [own]\n"), spec("d", "own")),
            topics(),
            id="its-file-is-refused-for-another-reason",
        ),
    ],
)
def test_otherwise_it_stays_where_it_is(files: Scan, inventory: Inventory | None) -> None:
    settled = settle(files, BEFORE, holds(a="t"), RULES, inventory)
    assert settled.fleet.moves == ()
    assert ("b.yaml", "spec.claim.conflict") in checks(settled)
    assert settled.fleet.members[B].app.sections["db"] == spec("b", "own").app.sections["db"]


@pytest.mark.parametrize("busy", [A, B])
def test_it_stays_where_it_is_while_long_work_is_at_either(busy: AppName) -> None:
    files, inventory = both("other", "t"), topics()
    settled = settle(files, BEFORE, holds(a="t"), RULES, inventory, busy=frozenset({busy}))
    assert settled.fleet.moves == ()
    assert ("b.yaml", "spec.claim.conflict") in checks(settled)


def test_what_its_owner_would_reach_all_the_same_does_not_pass() -> None:
    """A prefix that it keeps."""

    def space(app: str, prefix: str) -> Document:
        text = f"app: {app}\nrole: worker\nservices:\n  space:\n    prefix: {prefix}\n"
        return document(text, f"{app}.yaml")

    held = {T: Held("topic", "a.t", settings={"passes": ""}), ("space", "a."): Held("space", "a.")}
    claims = {A: frozenset({Claim("space", "a.t", prefix=True), Claim("space", "a.", prefix=True)})}
    settled = settle(
        scan(space("a", "a."), space("b", "a.t")), {}, claims, RULES, {("space", A): held}
    )
    assert settled.fleet.moves == ()
    assert ("b.yaml", "spec.claim.conflict") in checks(settled)


def test_two_may_change_places() -> None:
    other = ("topic", "u")
    inventory = {**topics(), ("db", B): {other: Held(*other, settings={"passes": ""})}}
    settled = settle(both("u", "t"), BEFORE, holds(a="t", b="u"), RULES, inventory)
    assert settled.fleet.moves == (Move("db", T, A, B), Move("db", other, B, A))
    rows, _ = carried_out(settled.fleet.moves, inventory)
    assert (set(rows["db", A]), set(rows["db", B])) == ({other}, {T})


def test_what_is_not_its_any_more_by_then_does_not_pass() -> None:
    assert carried_out([Move("db", T, A, B)], {}) == ({}, [])
    assert carried_out([Move("db", T, A, B)], topics(HeldState.RETAINED)) == ({}, [])


def test_its_readers_are_let_in_by_the_new_owner_at_once() -> None:
    files = scan(spec("a", "other"), spec("b", "t", extra="    readers: [c]\n"), spec("c", "mine"))
    inventory = {("db", A): {("db", "t"): Held("db", "t", settings={"passes": ""})}}
    settled = settle(files, BEFORE, holds(a="t"), RULES, inventory)
    assert settled.fleet.moves == (Move("db", ("db", "t"), A, B),)
    assert settled.fleet.members[AppName("c")].app.readable == {"db": frozenset({"t"})}


def renaming(app: str, former: str, name: str) -> Document:
    text = f"app: {app}\nrenamedFrom: {former}\nrole: worker\nservices:\n  db:\n    name: {name}\n"
    return document(text, f"{app}.yaml")


NEW = AppName("new")
HAS: Inventory = {("db", A): {T: Held(*T), ("db", "u"): Held("db", "u", HeldState.RETAINED)}}


def test_an_app_by_a_new_name_has_all_that_it_had() -> None:
    settled = settle(
        scan(renaming("new", "a", "t")), known(spec("a", "t")), holds(a="t"), RULES, HAS
    )
    assert [(m.key, m.giver, m.taker, m.renamed) for m in settled.fleet.moves] == [
        (("db", "u"), A, NEW, True),
        (T, A, NEW, True),
    ]
    assert (settled.findings, settled.fleet.members[NEW].rejected) == ((), "")
    assert settled.fleet.vanished.keys() == {A}
    rows, done = carried_out(settled.fleet.moves, HAS)
    assert rows == {("db", A): {}, ("db", NEW): HAS["db", A]}
    assert len(done) == 2


def test_what_stays_behind_of_it_is_in_nobodys_way_until_it_is_gone() -> None:
    """Users of the former name may hold a prefix."""
    files, accepted = scan(renaming("new", "a", "t")), known(spec("a", "t"))
    inventory = {("db", NEW): {T: Held(*T)}, ("db", A): {}}
    settled = settle(files, accepted, holds(a="t"), RULES, inventory)
    assert (settled.findings, settled.fleet.moves) == ((), ())


@pytest.mark.parametrize(
    ("files", "inventory", "busy"),
    [
        pytest.param(scan(renaming("new", "a", "t"), spec("a", "t")), HAS, (), id="it-has-a-file"),
        pytest.param(scan(renaming("new", "a", "t"), a=broken("a")), HAS, (), id="a-broken-one"),
        pytest.param(scan(renaming("new", "a", "t"), a=settling("a")), HAS, (), id="half-written"),
        pytest.param(
            scan(renaming("new", "a", "t"), renaming("next", "a", "t")), HAS, (), id="two-say-so"
        ),
        pytest.param(
            scan(renaming("new", "a", "t")),
            {**HAS, ("db", NEW): {("db", "own"): Held("db", "own")}},
            (),
            id="it-has-objects-of-its-own",
        ),
        pytest.param(scan(renaming("new", "a", "t")), HAS, (A,), id="long-work-is-at-it"),
    ],
)
def test_otherwise_it_has_not(files: Scan, inventory: Inventory, busy: tuple[AppName, ...]) -> None:
    settled = settle(
        files, known(spec("a", "t")), holds(a="t"), RULES, inventory, busy=frozenset(busy)
    )
    assert settled.fleet.moves == ()
    assert ("new.yaml", "spec.claim.conflict") in checks(settled)
    own = ("db", NEW) in inventory
    assert (("new.yaml", "renamedFrom.unfollowed") in checks(settled)) is own


def test_a_former_name_that_nobody_has_means_nothing() -> None:
    settled = settle(scan(renaming("new", "ghost", "t")), {}, NOBODY, RULES, {})
    assert (settled.findings, settled.fleet.moves) == ((), ())


def called(app: str, former: str, name: str) -> Scan:
    return scan(renaming(app, former, name))


@pytest.mark.parametrize(
    ("files", "busy", "why"),
    [
        pytest.param(scan(renaming("new", "a", "n"), spec("a", "t")), (), "a.yaml is about a"),
        pytest.param(scan(renaming("new", "a", "n"), x=broken(anyone=True)), (), "x.yaml is bro"),
        pytest.param(scan(renaming("new", "a", "n"), x=settling("a")), (), "x.yaml is being"),
        pytest.param(scan(renaming("new", "a", "n"), renaming("next", "a", "m")), (), "next.yaml"),
        pytest.param(scan(renaming("new", "a", "n")), (A,), "long work is at it"),
    ],
)
def test_nothing_is_made_for_an_app_that_waits_for_what_it_had(
    files: Scan, busy: tuple[AppName, ...], why: str
) -> None:
    """Also where it asks for names that nobody has: what is made in their place would be empty. And
    what it had stays in use until it has it."""
    settled = settle(files, known(spec("a", "t")), holds(a="t"), RULES, HAS, busy=frozenset(busy))
    assert settled.fleet.moves == ()
    assert settled.fleet.members.keys() == {A}
    assert ("new.yaml", "renamedFrom.waits") in checks(settled)
    assert why in str(next(f for f in settled.findings if f.check == "renamedFrom.waits"))
    assert settled.fleet.vanished == {}


def test_a_former_name_that_stays_in_a_file_is_in_nobodys_way() -> None:
    """It was followed long ago, and another app has that name by now; or had it."""
    new, files = renaming("new", "a", "n"), scan(renaming("new", "a", "n"), spec("a", "t"))
    inventory = {**HAS, ("db", NEW): {("db", "n"): Held("db", "n")}}
    for accepted, holding in ((known(new, spec("a", "t")), holds(a="t", new="n")), ({}, NOBODY)):
        settled = settle(files, accepted, holding, RULES, inventory)
        assert (settled.findings, settled.fleet.members.keys()) == ((), {A, NEW})
    # Where that one goes, its data stay its own, on whatever service they are.
    elsewhere: Inventory = {
        ("space", A): {("space", "s"): Held("space", "s")},
        ("db", NEW): {("db", "n"): Held("db", "n")},
    }
    settled = settle(scan(new), known(new, spec("a", "t")), holds(new="n"), RULES, elsewhere)
    assert settled.fleet.moves == ()
    assert settled.fleet.vanished.keys() == {A}


USER = ("user", "a")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(scan(renaming("new", "a", "n")), id="as-it-should-be"),
        pytest.param(scan(renaming("new", "a", "n"), x=broken(anyone=True)), id="a-broken-file"),
        pytest.param(scan(renaming("new", "a", "n"), spec("a", "n")), id="one-that-is-refused"),
    ],
)
def test_an_app_that_has_another_name_by_now_is_not_made_again(files: Scan) -> None:
    """Whatever holds its removal: its last good version asks for what is the other's, or, where
    that has another name too, for what would be empty."""
    now: Inventory = {
        ("db", NEW): {T: Held("topic", "n")},
        ("db", A): {USER: Held(*USER)},
    }
    accepted = known(spec("a", "t"), renaming("new", "a", "n"))
    settled = settle(files, accepted, holds(new="n", a="a"), RULES, now)
    assert settled.fleet.members.keys() == {NEW}
    assert settled.fleet.vanished[A].app.sections == {}
    assert settled.held_back == {}


def test_a_name_goes_back_also_while_users_of_it_are_left() -> None:
    back: Inventory = {("db", NEW): {T: Held(*T)}, ("db", A): {USER: Held(*USER)}}
    settled = settle(
        called("a", "new", "t"),
        known(spec("a", "t"), renaming("new", "a", "t")),
        holds(new="t"),
        RULES,
        back,
    )
    assert (settled.findings, len(settled.fleet.moves)) == ((), 1)


def test_what_one_may_still_use_goes_back_to_it_and_to_nobody_else() -> None:
    """Whoever had it is waited for by whoever has it now, and a third would not wait for that."""
    late: Inventory = {("db", A): {T: Held(*T, settings={"passes": "1", GIVER: "c"})}}
    accepted = known(spec("a", "t"), spec("b", "own"), spec("c", "mine"))
    for taker, moves in (("b", ()), ("c", (Move("db", T, A, AppName("c")),))):
        others = [spec(app) for app in "bc" if app != taker]
        files = scan(spec("a", "other"), spec(taker, "t"), *others)
        settled = settle(files, accepted, holds(a="t"), RULES, late)
        assert settled.fleet.moves == moves
