"""Hints from a real folder. The clock's tick is set so far off that only events can be meant, or so
near that events do not matter; waiting is bounded, never measured."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from norn_reconciler.model.app import AppName
from norn_reconciler.spec import watch
from norn_reconciler.spec.scan import Scan, Scanner
from norn_reconciler.spec.watch import Hint
from tests.unit.spec.fakes import RULES

NEVER = 3600.0
SOON = 0.05
PATIENCE = 30.0
SETTLE = 0.1


def text(app: str, name: str = "x") -> str:
    return f"app: {app}\nrole: worker\nservices:\n  db:\n    name: {name}\n"


@contextlib.asynccontextmanager
async def hints(folder: Path, every: float) -> AsyncIterator[AsyncIterator[Hint]]:
    async with contextlib.aclosing(watch.changes(folder, every)) as source:
        assert await anext(source) is Hint.START
        yield source


async def ready(folder: Path, source: AsyncIterator[Hint]) -> None:
    """The watch is set up in a thread: touch a file until its event comes."""
    async with asyncio.timeout(PATIENCE):
        told = asyncio.ensure_future(anext(source))
        while not told.done():
            (folder / "probe.txt").write_text("x")
            await asyncio.wait([told], timeout=0.2)
        assert told.result() is Hint.CHANGE


async def until(
    scanner: Scanner, source: AsyncIterator[Hint], done: Callable[[Scan], bool]
) -> Scan:
    """What the daemon does: look at each hint, and again while something settles."""
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(PATIENCE):
        scan = scanner.look(clock())
        while not done(scan):
            if (due := scan.next_look) is not None:
                await asyncio.sleep(max(0.0, due - clock()))
            else:
                await anext(source)
            scan = scanner.look(clock())
    return scan


def names(scan: Scan) -> dict[AppName, str]:
    return {d.app.name: d.spec.services["db"]["name"] for d in scan.documents.values()}


def scanner(folder: Path) -> Scanner:
    return Scanner(folder, RULES, known={}, settle=SETTLE)


async def test_a_change_is_told_long_before_the_tick(tmp_path: Path) -> None:
    async with hints(tmp_path, NEVER) as source:
        await ready(tmp_path, source)
        (tmp_path / "a.yaml").write_text(text("a"))
        await until(scanner(tmp_path), source, lambda s: names(s) == {"a": "x"})


async def test_one_folder_down_is_told_too(tmp_path: Path) -> None:
    async with hints(tmp_path, NEVER) as source:
        await ready(tmp_path, source)
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "infraspec.yaml").write_text(text("a"))
        await until(scanner(tmp_path), source, lambda s: names(s) == {"a": "x"})


async def test_atomic_saves_end_in_the_last_version(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    looks = scanner(tmp_path)
    async with hints(tmp_path, NEVER) as source:
        await ready(tmp_path, source)
        await until(looks, source, lambda s: names(s) == {"a": "x"})
        for n in range(20):
            (tmp_path / ".a.yaml.new").write_text(text("a", f"v{n}"))
            (tmp_path / ".a.yaml.new").replace(tmp_path / "a.yaml")
            looks.look(asyncio.get_running_loop().time())
        await until(looks, source, lambda s: names(s) == {"a": "v19"})


async def test_a_swapped_link_is_seen(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(text("a", version))
    specs.mkdir()
    (specs / "..data").symlink_to(tmp_path / "v1")
    (specs / "a.yaml").symlink_to("..data/a.yaml")
    looks = scanner(specs)
    async with hints(specs, SOON) as source:
        await until(looks, source, lambda s: names(s) == {"a": "v1"})
        (specs / "..tmp").symlink_to(tmp_path / "v2")
        (specs / "..tmp").replace(specs / "..data")
        await until(looks, source, lambda s: names(s) == {"a": "v2"})


async def test_more_than_a_thousand_files_at_once_end_in_the_right_state(tmp_path: Path) -> None:
    looks = scanner(tmp_path)
    async with hints(tmp_path, NEVER) as source:
        await ready(tmp_path, source)
        for n in range(1200):
            (tmp_path / f"app-{n}.yaml").write_text(text(f"app-{n}"))
        await until(looks, source, lambda s: len(s.documents) == 1200)
        for n in range(0, 1200, 2):
            (tmp_path / f"app-{n}.yaml").unlink()
        for n in range(1, 1200, 4):
            (tmp_path / f"app-{n}.yaml").write_text(text(f"app-{n}", "new"))
        wanted = {AppName(f"app-{n}"): "new" if n % 4 == 1 else "x" for n in range(1, 1200, 2)}
        await until(looks, source, lambda s: names(s) == wanted)


async def test_a_replaced_folder_is_watched_again(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "a.yaml").write_text(text("a"))
    looks = scanner(specs)
    async with hints(specs, SOON) as source:
        await until(looks, source, lambda s: names(s) == {"a": "x"})
        (tmp_path / "next").mkdir()
        (tmp_path / "next" / "b.yaml").write_text(text("b"))
        specs.rename(tmp_path / "old")
        (tmp_path / "next").rename(specs)
        await until(looks, source, lambda s: names(s) == {"b": "x"})
        # Ticks don't count here, and the move itself may have left a hint or two behind: one after
        # the other must come from writes into the new folder.
        async with asyncio.timeout(PATIENCE):
            told = 0
            while told < 5:
                (specs / "probe.txt").write_text("x")
                told += await anext(source) is Hint.CHANGE


async def test_a_folder_that_comes_later_and_goes_again(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    looks = scanner(specs)
    async with hints(specs, SOON) as source:
        assert await anext(source) is Hint.TICK
        specs.mkdir()
        (specs / "a.yaml").write_text(text("a"))
        await until(looks, source, lambda s: names(s) == {"a": "x"})
        shutil.rmtree(specs)
        await until(looks, source, lambda s: s.folder.value == "missing")
        specs.mkdir()
        (specs / "b.yaml").write_text(text("b"))
        await until(looks, source, lambda s: names(s) == {"b": "x"})


async def test_where_watching_fails_the_clock_goes_on_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_watches(*_: object, **__: object) -> None:
        raise OSError("no inotify watches left")

    monkeypatch.setattr(watch, "awatch", no_watches)
    said: list[str] = []
    source = watch.changes(tmp_path, SOON, degraded=lambda error: said.append(str(error)))
    async with contextlib.aclosing(source):
        assert [await anext(source) for _ in range(4)] == [Hint.START] + [Hint.TICK] * 3
    assert said == ["no inotify watches left"]


async def test_closing_leaves_no_task_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with hints(tmp_path, NEVER) as source:
        await ready(tmp_path, source)
    assert asyncio.all_tasks() == before
