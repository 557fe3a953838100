"""Checking files on demand (`norn validate`): one look, no waiting, nothing remembered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from norn_reconciler.model.fleet import Folder
from norn_reconciler.spec.findings import Finding, ordered
from norn_reconciler.spec.fleet import settle
from norn_reconciler.spec.folder import list_specs
from norn_reconciler.spec.load import Document, load
from norn_reconciler.spec.read import Refused, read
from norn_reconciler.spec.rules import CHECKS, Rules
from norn_reconciler.spec.scan import Scan


def validate(paths: Iterable[Path], rules: Rules) -> tuple[Finding, ...]:
    """All findings of the files, and of the specs inside the folders, in `paths`: also what they
    claim from each other. Findings name files as `paths` does."""
    findings: list[Finding] = []
    documents: dict[str, Document] = {}
    for path in _files(paths, findings):
        content = read(path)
        if content is None or isinstance(content, Refused):
            check, message = (
                (content.check, content.message)
                if content is not None
                else ("spec.file.unreadable", f"there is no such {_sort(path)}")
            )
            findings.append(Finding(check, CHECKS[check], message, "", str(path)))
            continue
        loaded = load(content, str(path), rules)
        findings += loaded.findings
        if loaded.document is not None:
            documents[str(path)] = loaded.document
    settled = settle(Scan(documents=documents), {}, {}, rules)
    return ordered([*findings, *settled.findings])


def _sort(path: Path) -> str:
    """What somebody who named it took it for."""
    return "file" if path.suffix in {".yaml", ".yml"} else "folder"


def _files(paths: Iterable[Path], findings: list[Finding]) -> list[Path]:
    """Each file once, in order of first mention."""
    files: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            files[path] = None
            continue
        listing = list_specs(path)
        if listing.folder is Folder.UNREADABLE:
            check = "spec.file.unreadable"
            findings.append(
                Finding(check, CHECKS[check], "the folder cannot be read", "", str(path))
            )
        if listing.folder is Folder.EMPTY:
            check = "spec.folder.empty"
            findings.append(
                Finding(check, CHECKS[check], "there are no specs in this folder", "", str(path))
            )
        for name in listing.files:
            files[path / name] = None
    return list(files)
