"""Another master key in place of a lost one: every password becomes due, and the lanes set, prove
and deliver them as they do for `norn rotate`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from norn_reconciler import logs
from norn_reconciler.engine.digest import short
from norn_reconciler.engine.recovery import counted
from norn_reconciler.model.app import AppName
from norn_reconciler.model.records import AppState, Changes, Snapshot
from norn_reconciler.model.secret import DUE, CredentialMark
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class Rekeying:
    """known: fingerprint of the key that norn_db's passwords are of. fingerprint: of the key at
    hand, None where one is still to be made. apps: those in force, with the services whose password
    norn had set; one that is removed gets its new passwords when its file is back."""

    known: str
    fingerprint: str | None
    apps: Mapping[AppName, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """What the person agrees to."""
        return short("new-key", self.known, self.fingerprint or "", self.apps)


def rekeying(snapshot: Snapshot, known: str, fingerprint: str | None) -> Rekeying:
    """What another key comes to."""
    apps: dict[AppName, tuple[str, ...]] = {}
    for service, rows in sorted(snapshot.services.items()):
        for app, row in sorted(rows.items()):
            record = snapshot.apps.get(app)
            if row.mark is not None and record is not None and record.state is AppState.ACTIVE:
                apps[app] = (*apps.get(app, ()), service)
    return Rekeying(known, fingerprint, dict(sorted(apps.items())))


def rekeyed(snapshot: Snapshot, fingerprint: str) -> Changes:
    """The rows, for one transaction: norn_db is of the one key or of the other, never in between.
    Generations begin anew, since no password of the new key was ever set. A user that was adopted
    and keeps its own password has no mark, and keeps it."""
    due = CredentialMark(DUE, 1)
    rows = {
        (service, app): replace(row, mark=due)
        for service, apps in snapshot.services.items()
        for app, row in apps.items()
        if row.mark is not None
    }
    text = (
        f"the master key is {fingerprint} now, {snapshot.key_fingerprint} before: "
        f"new passwords for {counted({app for _, app in rows})}, to be restarted"
    )
    event = Event(logs.KEY_REPLACED, "warning", None, text, {"fingerprint": fingerprint})
    return Changes(services=rows, key_fingerprint=fingerprint, events=[event])
