"""Which file speaks for an app, where several are about it, or its own can't be used. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import SpecRecord
from norn_reconciler.spec.findings import Finding
from norn_reconciler.spec.load import Document
from norn_reconciler.spec.scan import Scan


def unusable_home(app: AppName, scan: Scan, known: Mapping[AppName, SpecRecord]) -> str | None:
    """The file that the app's last good version came from, while it can't be used."""
    record = known.get(app)
    if record is None:
        return None
    return record.file if record.file in {**scan.broken, **scan.settling} else None


class Voices:
    """known: last good versions of the active apps. findings: what is wrong with files that may not
    speak."""

    def __init__(self, scan: Scan, known: Mapping[AppName, SpecRecord]) -> None:
        self._scan = scan
        self._known = known
        self.findings: list[Finding] = []

    def heard(self) -> tuple[dict[AppName, Document], dict[AppName, str]]:
        """The document that speaks for each app, and the apps that no file may speak for."""
        files: dict[AppName, list[Document]] = defaultdict(list)
        for _, document in sorted(self._scan.documents.items()):
            files[document.app.name].append(document)
        asked: dict[AppName, Document] = {}
        refused: dict[AppName, str] = {}
        for app, documents in files.items():
            speaker = self._speaker(app, documents)
            if speaker is not None:
                asked[app] = speaker
                continue
            # Only words for the record: the files themselves were named in the findings.
            names = self._rival_files(app, documents)
            refused[app] = f"app {app} is in several files: {', '.join(names)}"
        return asked, refused

    def _rival_files(self, app: AppName, documents: list[Document]) -> list[str]:
        names = {d.record.file for d in documents}
        home = unusable_home(app, self._scan, self._known)
        return sorted(names | ({home} if home else set()))

    def _speaker(self, app: AppName, documents: list[Document]) -> Document | None:
        """The one file that counts for `app`; says what is wrong with the others."""
        first = documents[0]
        home = unusable_home(app, self._scan, self._known)
        record = self._known.get(app)
        if home is not None and record is not None:
            # The app's own file is broken, or being written: another may not take its place, unless
            # it says what is in force anyway.
            same = next((d for d in documents if d.record.canonical == record.canonical), None)
            for document in documents:
                if document is not same:
                    self._say(
                        "spec.app.conflict",
                        document,
                        ("app",),
                        f"app {app} belongs to {home}, which can't be used as it is: mend {home}, "
                        "or remove it",
                    )
            return same
        own = next((d for d in documents if record and d.record.file == record.file), None)
        if all(d.record.canonical == first.record.canonical for d in documents):
            speaker = own or first
            for document in documents:
                if document is not speaker:
                    self._say(
                        "spec.app.duplicate",
                        document,
                        ("app",),
                        f"app {app} is in {speaker.record.file} too, with the same content: "
                        "remove one",
                    )
            return speaker
        names = sorted(d.record.file for d in documents)
        for document in documents:
            if document is not own:
                others = ", ".join(n for n in names if n != document.record.file)
                verdict = f"{own.record.file} stays in force" if own else "none of them is used"
                self._say(
                    "spec.app.conflict",
                    document,
                    ("app",),
                    f"app {app} is in {others} too, with other content; {verdict}: remove one",
                )
        return own

    def _say(self, check: str, document: Document, path: tuple[str, ...], message: str) -> None:
        self.findings.append(document.finding(check, path, message))
