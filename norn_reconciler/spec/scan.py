"""One look after the other at the specs folder. A file counts only once two looks agree on it: of
the prefixes of a small spec, most are valid YAML that reads as removed sections."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Folder
from norn_reconciler.model.records import SpecRecord
from norn_reconciler.spec.findings import Finding, Severity
from norn_reconciler.spec.folder import list_specs
from norn_reconciler.spec.load import Document, load, restore
from norn_reconciler.spec.read import Content, Refused, Stamp, read
from norn_reconciler.spec.rules import Rules

_APP_LINE = re.compile(rb"^[{ ]{0,2}[\"']?app[\"']?[ \t]*:[ \t]*[\"']?([a-z0-9][a-z0-9-]*)", re.M)


@dataclass(frozen=True, slots=True)
class About:
    """Which apps a file that can't be used may be about. anyone: there is no telling."""

    apps: frozenset[AppName] = frozenset()
    anyone: bool = False

    def may_be(self, app: AppName) -> bool:
        return self.anyone or app in self.apps


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that two looks agree on and that can't be used."""

    findings: tuple[Finding, ...]
    about: About


@dataclass(frozen=True, slots=True)
class Settling:
    """A file that was seen once as it is now. due: when to look next, in the time of `look`."""

    due: float
    about: About


@dataclass(frozen=True, slots=True)
class Scan:
    """One look. Each file is in one of the three, by its path relative to the folder."""

    folder: Folder = Folder.OK
    documents: Mapping[str, Document] = field(default_factory=dict)
    broken: Mapping[str, Broken] = field(default_factory=dict)
    settling: Mapping[str, Settling] = field(default_factory=dict)

    @property
    def next_look(self) -> float | None:
        """When to look again for what is still settling, in the time given to `look`."""
        return min((s.due for s in self.settling.values()), default=None)


@dataclass(slots=True)
class _Seen:
    """What is remembered of one path. since: the time of the first look that saw this content.
    found: what was read, until there is a verdict on it."""

    stamp: Stamp | None
    mark: str  # digest of the bytes, or why there are none
    since: float
    about: About
    found: Content | Refused | None
    verdict: Document | Broken | None = None


class Scanner:
    """Holds the looks. `look` may be called from any thread: one look at a time.

    known: last good versions by app; a file of the same path, size, mtime and bytes as a record has
    been looked at before. Bytes of a known digest are not parsed again. settle: seconds between the
    two looks that must agree. instead: file → bytes that are taken for what stands in it.
    """

    def __init__(
        self,
        directory: Path,
        rules: Rules,
        *,
        known: Mapping[AppName, SpecRecord] | None = None,
        settle: float = 0.25,
        instead: Mapping[str, bytes] | None = None,
    ) -> None:
        self._directory = directory
        self._rules = rules
        self._settle = settle
        self._instead = instead or {}
        self._seen: dict[str, _Seen] = {}
        self._turn = threading.Lock()
        self.learn(known or {})

    def learn(self, known: Mapping[AppName, SpecRecord]) -> None:
        """Take over the last good versions. They may be told after the first look: what it saw is
        judged by the next one."""
        self._by_digest = {record.file_digest: record for record in known.values()}
        self._by_file = {record.file: record for record in known.values()}
        self._apps = {record.file: app for app, record in known.items()}  # by file, last known
        for file, seen in self._seen.items():
            if seen.found is not None:
                seen.about = self._about(file, _raw(seen.found))

    def look(self, now: float) -> Scan:
        """Look at every file. now: seconds on any clock that does not go back.

        Files whose stat did not move since they settled are not read again."""
        with self._turn:
            return self._look(now)

    def _look(self, now: float) -> Scan:
        listing = list_specs(self._directory)
        if listing.folder in {Folder.MISSING, Folder.UNREADABLE}:
            return Scan(listing.folder)  # what is remembered stays for when the folder is back
        documents: dict[str, Document] = {}
        broken: dict[str, Broken] = {}
        settling: dict[str, Settling] = {}
        seen: dict[str, _Seen] = {}
        for file in listing.files:
            entry = self._examine(file, self._seen.get(file), now)
            if entry is None:
                continue
            seen[file] = entry
            if entry.verdict is None:
                settling[file] = Settling(entry.since + self._settle, entry.about)
            elif isinstance(entry.verdict, Document):
                documents[file] = entry.verdict
            else:
                broken[file] = entry.verdict
        self._seen = seen
        return Scan(Folder.OK if seen else Folder.EMPTY, documents, broken, settling)

    def _examine(self, file: str, before: _Seen | None, now: float) -> _Seen | None:
        path = self._directory / file
        if before is not None and self._unmoved(before, path, now):
            if before.found is not None and self._recorded(file, before.found):
                self._judge(file, before, before.found)
            return before
        found = read(path)
        if file in self._instead and isinstance(found, Content):
            raw = self._instead[file]
            found = Content(found.stamp, raw, hashlib.sha256(raw).hexdigest())
        if found is None:
            if file not in self._apps or not path.parent.is_symlink() or path.parent.exists():
                return None
            # A known file's folder is a link to a lost mount: out of reach, not removed.
            found = Refused(None, "spec.file.unreadable", "its folder is a link to nowhere")
        mark = found.digest if isinstance(found, Content) else f"{found.check} {found.message}"
        if before is None or not self._agree(before, found.stamp, mark):
            entry = _Seen(found.stamp, mark, now, self._about(file, _raw(found)), found)
            if not self._recorded(file, found):
                return entry
        else:
            entry = before
            entry.stamp = found.stamp
            if entry.verdict is not None or now - entry.since < self._settle:
                return entry
        self._judge(file, entry, found)
        return entry

    def _unmoved(self, before: _Seen, path: Path, now: float) -> bool:
        """True when stat alone says that there is nothing to read yet, or again."""
        if before.verdict is None and now - before.since >= self._settle:
            return False
        return before.stamp is not None and before.stamp == _stamp(path)

    @staticmethod
    def _agree(before: _Seen, stamp: Stamp | None, mark: str) -> bool:
        """Same size, mtime and bytes. The inode may differ: a copy moved into place is the same."""
        if before.stamp is None or stamp is None:
            return before.stamp is stamp and before.mark == mark
        return (before.stamp.size, before.stamp.mtime_ns, before.mark) == (
            stamp.size,
            stamp.mtime_ns,
            mark,
        )

    def _recorded(self, file: str, found: Content | Refused) -> bool:
        """True when a record counts as the earlier look."""
        record = self._by_file.get(file)
        return (
            record is not None
            and isinstance(found, Content)
            and (found.stamp.size, found.stamp.mtime_ns, found.digest)
            == (record.size, record.mtime_ns, record.file_digest)
        )

    def _judge(self, file: str, entry: _Seen, found: Content | Refused) -> None:
        entry.found = None
        if isinstance(found, Refused):
            finding = Finding(found.check, Severity.ERROR, found.message, "", file)
            entry.verdict = Broken((finding,), entry.about)
            return
        document = self._from_record(file, found)
        if document is None:
            loaded = load(found, file, self._rules)
            if loaded.document is None:
                entry.verdict = Broken(loaded.findings, entry.about)
                return
            document = loaded.document
        entry.verdict = document
        self._apps[file] = document.app.name

    def _from_record(self, file: str, found: Content) -> Document | None:
        known = self._by_digest.get(found.digest)
        if known is None:
            return None
        record = SpecRecord(
            file, found.digest, found.stamp.size, found.stamp.mtime_ns, known.canonical
        )
        return restore(record, self._rules, found.raw)

    def _about(self, file: str, raw: bytes) -> About:
        """The app that the bytes name, and the one that the path was about before."""
        apps: set[AppName] = set()
        cut_short = False
        for match in _APP_LINE.finditer(raw):
            apps.add(AppName(match[1].decode()))
            cut_short = cut_short or match.end() == len(raw)
        if file in self._apps:
            apps.add(self._apps[file])
        return About(frozenset(apps), anyone=not apps or cut_short)


def _raw(found: Content | Refused) -> bytes:
    return found.raw if isinstance(found, Content) else b""


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None
