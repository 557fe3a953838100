"""What `norn rename` shows before it asks: the file as it is to be, and what a writer would do with
it. Names are what files say, so a file is all that is written."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from norn_reconciler import oneshot
from norn_reconciler.compose import instance, open_providers
from norn_reconciler.engine.preview import Preview, preview
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.settings import Settings
from norn_reconciler.spec.edit import Change, changed
from norn_reconciler.spec.findings import Finding, errors

POSTGRES = ("services", "postgres")


@dataclass(frozen=True, slots=True)
class Renaming:
    """path: of the file. before, after: its text. plan: what that changes. refused: why the file
    could not be used then. also: what else names it, in words."""

    path: Path
    before: str
    after: str
    plan: Preview
    refused: tuple[Finding, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def patch(self) -> str:
        lines = self.before.splitlines(keepends=True), self.after.splitlines(keepends=True)
        name = str(self.path)
        return "".join(_whole(difflib.unified_diff(*lines, name, name, n=2)))


def _whole(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


async def database(settings: Settings, app: AppName, name: str) -> Renaming:
    """Raises NornError for what has no file, or no database."""
    entry = (await _read(settings)).book.asked_for(app)
    file, section = entry.record.spec.file, entry.member.app.sections.get("postgres")
    former = getattr(section, "database", None)
    if former is None:
        raise NornError(f"{app} has no database by its spec")
    if former == name:
        raise NornError(f"the database of {app} is called {name} already")
    text = _text(settings.specs_dir / file)
    changes = [
        Change((*POSTGRES, "database"), name),
        Change((*POSTGRES, "renamedFrom"), former, after="database"),
    ]
    migration = entry.member.migration
    if migration is not None and migration.database == former:
        changes.append(Change(("migrations", "database"), name))
    if changed(text, changes) == text:
        undone = entry.member.rejected
        raise NornError(f"{file} says so already{undone and ', and is not used: '}{undone}")
    readers = sorted(section.shares()) if section is not None else ()
    also = [f"clients of {', '.join([app, *readers])} have to read their env files anew"]
    return await _look(settings, file, text, changes, [app], also)


async def app(settings: Settings, old: AppName, new: AppName) -> Renaming:
    """As above."""
    if old == new:
        raise NornError(f"{old} is called so already")
    now = await _read(settings)
    file = now.book.asked_for(old).record.spec.file
    text = _text(settings.specs_dir / file)
    changes = [Change(("app",), new), Change(("renamedFrom",), old, after="app")]
    reads = sorted(
        f"{entry.record.spec.file} names {old} as a reader: write {new} there, too"
        for name, entry in now.book.entries.items()
        if name != old and any(old in section.shares() for section in entry.app.sections.values())
    )
    return await _look(settings, file, text, changes, [old, new], reads)


async def topic(settings: Settings, app: AppName, name: str) -> None:
    """Raises NornError where no spec asks for such a topic."""
    now = await _read(settings)
    section = now.book.asked_for(app).member.app.sections.get("events")
    if name not in {topic.name for topic in getattr(section, "topics", ())}:
        raise NornError(f"the spec of {app} names no topic {name}")


async def _read(settings: Settings) -> oneshot.Reading:
    async with open_providers(settings, instance(settings)) as providers:
        return await oneshot.read(settings, providers, tell=False)


async def _look(
    settings: Settings,
    file: str,
    text: str,
    changes: Sequence[Change],
    apps: Sequence[AppName],
    also: Sequence[str] = (),
) -> Renaming:
    after = changed(text, changes)
    async with open_providers(settings, instance(settings)) as providers:
        then = await oneshot.read(settings, providers, tell=False, instead={file: after.encode()})
        refused = tuple(f for f in errors(then.findings) if f.file == file)
        known = [app for app in apps if app in then.book.entries]
        plan = await preview(providers, then.book, known, then.hold)
    return Renaming(settings.specs_dir / file, text, after, plan, refused, tuple(also))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # line ends as they are
    except (OSError, UnicodeError) as fault:
        raise NornError(f"{path}: {getattr(fault, 'strerror', None) or 'not UTF-8'}") from fault


def save(found: Renaming) -> None:
    """The file, whole or not at all. Raises NornError where it is not what was shown."""
    path = found.path.resolve()  # a link stays one
    if _text(path) != found.before:
        raise NornError(f"{found.path} was changed meanwhile: nothing is written")
    half = path.with_name(f".{path.name}.{uuid4().hex[:8]}")  # hidden files are no specs
    try:
        was = path.stat()
        with half.open("x", encoding="utf-8", newline="") as out:
            out.write(found.after)
            out.flush()
            os.fsync(out.fileno())
        half.chmod(was.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(half, was.st_uid, was.st_gid)
        half.replace(path)
    except OSError as fault:
        raise NornError(f"{found.path}: {fault.strerror}") from fault
    finally:
        with suppress(FileNotFoundError):
            half.unlink()
