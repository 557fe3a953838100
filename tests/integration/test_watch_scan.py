"""The scanner on a real file system; only the clock is ours."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Folder
from norn_reconciler.model.records import SpecRecord
from norn_reconciler.spec import scan as scan_module
from norn_reconciler.spec.fleet import settle
from norn_reconciler.spec.read import MAX_BYTES
from norn_reconciler.spec.scan import Scan, Scanner
from norn_reconciler.spec.validate import validate
from tests.unit.spec.fakes import RULES

SETTLE = 0.25
A = AppName("a")


def text(app: str, name: str = "", extra: str = "") -> str:
    return f"app: {app}\nrole: worker\nservices:\n  db:\n    name: {name or app}\n{extra}"


def scanner(folder: Path, known: Mapping[AppName, SpecRecord] | None = None) -> Scanner:
    return Scanner(folder, RULES, known=known or {}, settle=SETTLE)


def settled(looks: Scanner, now: float = 0.0) -> Scan:
    """Two looks, far enough apart."""
    looks.look(now)
    return looks.look(now + SETTLE)


def records(scan: Scan) -> dict[AppName, SpecRecord]:
    return {d.app.name: d.record for d in scan.documents.values()}


def no_reading(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """From here on, what is read is listed, and read all the same."""
    read: list[Path] = []
    real = scan_module.read
    monkeypatch.setattr(scan_module, "read", lambda path: (read.append(path), real(path))[1])
    return read


def test_a_file_counts_at_the_second_look(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    looks = scanner(tmp_path)
    first = looks.look(10.0)
    assert first.documents == {}
    assert first.next_look == 10.0 + SETTLE
    assert first.settling["a.yaml"].about.apps == {A}
    assert looks.look(10.2).documents == {}
    second = looks.look(10.25)
    assert second.documents["a.yaml"].app.name == A
    assert second.documents["a.yaml"].record.file == "a.yaml"
    assert second.next_look is None


def test_the_looks_that_agree_are_far_enough_apart(tmp_path: Path) -> None:
    """A touched stat makes the scanner read again; that is not yet the second look."""
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    looks = scanner(tmp_path)
    looks.look(0)
    file.chmod(0o600)
    early = looks.look(SETTLE * 0.5)
    assert early.documents == {}
    assert early.next_look == SETTLE
    assert looks.look(SETTLE).documents.keys() == {"a.yaml"}


def test_no_prefix_of_a_spec_counts_while_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    whole = text("a", extra="  space:\n    prefix: a\nsecrets: [X]\n")
    file.write_text(whole)
    looks = scanner(tmp_path)
    before = records(settled(looks))
    now = 1.0
    for end in range(len(whole)):
        file.write_text(whole[:end])
        now += SETTLE * 0.9
        fleet = settle(looks.look(now), before, {}, RULES).fleet
        assert fleet.members[A].record == before[A]
        assert fleet.vanished == {}
    file.write_text(whole)
    after = records(settled(looks, now + 1))
    assert after[A].canonical == before[A].canonical


def test_the_same_size_and_mtime_are_not_enough(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a", "x"))
    os.utime(file, ns=(5, 5))
    looks = scanner(tmp_path)
    looks.look(0)
    file.write_text(text("a", "y"))
    os.utime(file, ns=(5, 5))
    assert looks.look(SETTLE).documents == {}
    found = looks.look(2 * SETTLE)
    assert '"name":"y"' in found.documents["a.yaml"].record.canonical


def test_a_settled_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        (tmp_path / f"a{n}.yaml").write_text(text(f"a{n}"))
    looks = scanner(tmp_path)
    settled(looks)
    read = no_reading(monkeypatch)
    assert len(looks.look(9).documents) == 3
    assert read == []
    (tmp_path / "a1.yaml").write_text(text("a1", "other"))
    looks.look(10)
    assert read == [tmp_path / "a1.yaml"]


def test_a_file_put_in_place_with_size_and_mtime_kept_is_seen(tmp_path: Path) -> None:
    file, new = tmp_path / "a.yaml", tmp_path / ".new"
    file.write_text(text("a", "x"))
    looks = scanner(tmp_path)
    settled(looks)
    new.write_text(text("a", "y"))
    shutil.copystat(file, new)
    new.replace(file)
    found = settled(looks, 5)
    assert '"name":"y"' in found.documents["a.yaml"].record.canonical


def test_a_record_is_an_earlier_look_and_spares_parsing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    known = records(settled(scanner(tmp_path)))
    monkeypatch.setattr(scan_module, "load", lambda *_: pytest.fail("parsed"))
    again = scanner(tmp_path, known).look(0)
    assert records(again) == known
    assert settle(again, known, {}, RULES).fleet.members[A].app.sections.keys() == {"db"}


def test_a_record_of_other_bytes_or_another_file_is_no_look(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a", "x"))
    known = records(settled(scanner(tmp_path)))
    file.rename(tmp_path / "b.yaml")
    assert scanner(tmp_path, known).look(0).documents == {}
    (tmp_path / "b.yaml").rename(file)
    status = file.stat()
    file.write_text(text("a", "y"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scanner(tmp_path, known).look(0).documents == {}


def test_which_files_are_specs(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c/infraspec.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text(name[0]))
    for name in (
        ".h.yaml", ".#e.yaml", "#e.yaml", "e.yaml~", "e.yaml.swp", "e.json", "~e.yaml",
        "c/other.yaml", "c/infraspec.yml", ".git/infraspec.yaml",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("app: [")
    (tmp_path / "d").mkdir()
    found = settled(scanner(tmp_path))
    assert sorted(found.documents) == ["a.yaml", "b.yml", "c/infraspec.yaml"]
    assert found.broken == {}


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "lost.yaml").symlink_to("/nowhere/at/all")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes(b"app: \xe9")
    (tmp_path / "nul.yaml").write_bytes(b"app: a\0")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.yaml"))
        found = settled(scanner(tmp_path))
    assert {file: b.findings[0].check for file, b in found.broken.items()} == {
        "big.yaml": "spec.file.size",
        "device.yaml": "spec.file.type",
        "fifo.yaml": "spec.file.type",
        "folder.yaml": "spec.file.type",
        "latin.yaml": "spec.file.encoding",
        "loop.yaml": "spec.file.unreadable",
        "lost.yaml": "spec.file.unreadable",
        "nul.yaml": "spec.yaml.character",
        "socket.yaml": "spec.file.type",
    }
    assert found.documents == found.settling == {}


def test_folder_states(tmp_path: Path) -> None:
    looks = scanner(tmp_path / "specs")
    assert looks.look(0).folder is Folder.MISSING
    (tmp_path / "specs").write_text("a file")
    assert looks.look(0).folder is Folder.UNREADABLE
    (tmp_path / "specs").unlink()
    (tmp_path / "specs").mkdir()
    assert looks.look(0).folder is Folder.EMPTY
    (tmp_path / "specs" / "readme.md").write_text("x")
    assert looks.look(0).folder is Folder.EMPTY
    (tmp_path / "specs" / "a.yaml").write_text("")
    assert looks.look(0).folder is Folder.OK


def test_a_vanished_folder_that_comes_back_is_as_before(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "a.yaml").write_text(text("a"))
    looks = scanner(specs)
    before = settled(looks)
    specs.rename(tmp_path / "away")
    assert looks.look(5) == Scan(Folder.MISSING)
    (tmp_path / "away").rename(specs)
    assert looks.look(6) == before


def test_a_link_to_a_lost_mount_holds_instead_of_removing(tmp_path: Path) -> None:
    mount, specs = tmp_path / "mount", tmp_path / "specs"
    mount.mkdir()
    specs.mkdir()
    (mount / "infraspec.yaml").write_text(text("a"))
    (specs / "a").symlink_to(mount)
    (specs / "b.yaml").write_text(text("b"))
    looks = scanner(specs)
    known = records(settled(looks))
    mount.rename(tmp_path / "gone")
    for now in (5.0, 6.0):
        fleet = settle(looks.look(now), known, {}, RULES).fleet
        assert fleet.vanished == {}
        assert fleet.members.keys() == {A, AppName("b")}


def test_symlink_swaps_are_followed(tmp_path: Path) -> None:
    """As configuration tools do it: files are links through a link that is swapped."""
    for version, name in (("v1", "x"), ("v2", "y")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(text("a", name))
        os.utime(tmp_path / version / "a.yaml", ns=(5, 5))
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "..data").symlink_to(tmp_path / "v1")
    (specs / "a.yaml").symlink_to("..data/a.yaml")
    looks = scanner(specs)
    assert '"name":"x"' in settled(looks).documents["a.yaml"].record.canonical
    (specs / "..tmp").symlink_to(tmp_path / "v2")
    (specs / "..tmp").replace(specs / "..data")
    assert '"name":"y"' in settled(looks, 5).documents["a.yaml"].record.canonical


@pytest.mark.parametrize(
    ("raw", "holds"),
    [
        ("app: a\nrole: [", {"a"}),  # says whom it is about
        ("{app: a, role: [", {"a"}),
        ("role: [", {"a", "b"}),  # does not say, and the path is new
        ("", {"a", "b"}),
        ("app: a", {"a", "b"}),  # may have been cut short: app: alpha
        ("env:\n    app: b\nrole: [", {"a", "b"}),  # not the spec's own app
    ],
)
def test_whom_a_broken_new_file_may_be_about(tmp_path: Path, raw: str, holds: set[str]) -> None:
    for app in ("a", "b", "c"):
        (tmp_path / f"{app}.yaml").write_text(text(app))
    looks = scanner(tmp_path)
    known = records(settled(looks))
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").unlink()
    (tmp_path / "new.yaml").write_text(raw)
    found = settled(looks, 5)
    assert found.broken.keys() == {"new.yaml"}
    result = settle(found, known, {}, RULES)
    assert result.held_back.keys() == holds
    assert result.fleet.vanished.keys() == {"a", "b"} - holds


def test_a_broken_file_is_about_what_its_path_was_about_too(tmp_path: Path) -> None:
    for app in ("a", "b"):
        (tmp_path / f"{app}.yaml").write_text(text(app))
    looks = scanner(tmp_path)
    known = records(settled(looks))
    (tmp_path / "b.yaml").unlink()
    (tmp_path / "a.yaml").unlink()
    assert looks.look(5).settling == {}  # gone for a look, as git does it
    (tmp_path / "a.yaml").write_text("app: z\nrole: [")
    found = settled(looks, 6)
    assert settle(found, known, {}, RULES).held_back.keys() == {"a"}
    again = settled(scanner(tmp_path, known), 0)  # and after a restart
    assert again.broken["a.yaml"].about == found.broken["a.yaml"].about


def test_a_thousand_files_at_once(tmp_path: Path) -> None:
    for n in range(1000):
        (tmp_path / f"app-{n}.yaml").write_text(text(f"app-{n}"))
    (tmp_path / "app-500.yaml").write_text("app: app-500\nrole: [")
    looks = scanner(tmp_path)
    found = settled(looks)
    assert len(found.documents) == 999
    assert found.broken.keys() == {"app-500.yaml"}
    known = records(found)
    for n in range(0, 1000, 2):
        (tmp_path / f"app-{n}.yaml").write_text(text(f"app-{n}", f"new-{n}"))
    fleet = settle(settled(looks, 5), known, {}, RULES).fleet
    assert len(fleet.members) == 1000
    assert sum(known[a] != m.record for a, m in fleet.members.items() if a in known) == 499


def test_validate_names_files_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a", "x"))
    (tmp_path / "b.yaml").write_text(text("b", "x"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "infraspec.yaml").write_text("app: c")
    missing = tmp_path / "missing.yaml"
    found = validate([tmp_path, missing], RULES)
    assert {(f.file, f.check) for f in found} == {
        (str(tmp_path / "a.yaml"), "spec.claim.conflict"),
        (str(tmp_path / "b.yaml"), "spec.claim.conflict"),
        (str(tmp_path / "c" / "infraspec.yaml"), "spec.role.required"),
        (str(missing), "spec.file.unreadable"),
    }


def test_what_was_glanced_at_before_anything_was_known_need_not_settle_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    known = records(settled(scanner(tmp_path)))
    looks = scanner(tmp_path)
    assert "a.yaml" in looks.look(0.0).settling
    looks.learn(known)
    read = no_reading(monkeypatch)
    assert "a.yaml" in looks.look(SETTLE / 10).documents, "the record is the earlier look"
    assert read == []
    (tmp_path / "b.yaml").write_text(text("b"))
    assert "b.yaml" in looks.look(SETTLE / 5).settling


def test_what_is_learned_late_says_whom_a_file_is_about(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    known = records(settled(scanner(tmp_path)))
    (tmp_path / "a.yaml").write_text("app:")
    looks = scanner(tmp_path)
    assert looks.look(0.0).settling["a.yaml"].about.anyone
    looks.learn(known)
    assert A in looks.look(SETTLE / 10).settling["a.yaml"].about.apps
