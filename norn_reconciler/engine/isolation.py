"""The condition IsolationVerified, over all services of an app: what this process found by logging
in as it, what an earlier one had found, and whether what was delivered agrees with either."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.engine import status
from norn_reconciler.engine.draft import Delivery, Draft
from norn_reconciler.engine.ledger import AppReport
from norn_reconciler.engine.mirror import Mirror
from norn_reconciler.engine.roster import Entry
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.inventory import Origin
from norn_reconciler.model.records import HealthCheck, Snapshot
from norn_reconciler.model.status import Condition, Event


class Isolation:
    """services: keys of all that there are."""

    def __init__(self, mirror: Mirror, delivery: Delivery, services: Collection[str]) -> None:
        self._mirror = mirror
        self._delivery = delivery
        self._services = services
        self._agreed: dict[AppName, bool] = {}
        self._earlier: set[tuple[str, AppName]] = set()

    def learn(self, snapshot: Snapshot) -> None:
        """Remember what an earlier process had verified: it is one condition, and one service's
        failure must not undo the others' for longer than it lasts."""
        self._earlier = {
            (service, app)
            for service, apps in snapshot.services.items()
            for app, row in apps.items()
            if row.desired_digest is not None and status.verified(snapshot.apps.get(app))
        }

    def note(self, report: AppReport, draft: Draft) -> None:
        """Keep what a round has just found."""
        found = report.verification
        if found is None:
            return
        draft.talk.verified[report.service, report.app] = (found, datetime.now(UTC))
        if found.ok is not None:
            draft.health_checks.append(
                HealthCheck(
                    report.app, report.service, found.ok, round(found.response_ms), found.reason
                )
            )

    def show(
        self, entry: Entry, conditions: dict[str, Condition], fresh: bool, draft: Draft
    ) -> None:
        """Put IsolationVerified into `conditions`. fresh: a verification has just been made."""
        app, before = entry.app.name, conditions.get(status.ISOLATION)
        services = self._tried_on(entry)
        # What is taken away and comes back is made anew.
        self._earlier.difference_update((key, app) for key in self._services if key not in services)
        if entry.leaving or not services or not entry.provisioned:
            conditions.pop(status.ISOLATION, None)
            return
        found = {key: draft.talk.verified.get((key, app)) for key in services}
        unknown = any(
            self._mirror.service(key, app).mark is None
            and any(h.origin is Origin.ADOPTED for h in self._mirror.owned(key, app).values())
            for key in services
        )
        earlier = [key for key in services if (key, app) in self._earlier]
        now = datetime.now(UTC)
        after = status.isolation(before, found, now, earlier=earlier, unknown_password=unknown)
        same = before is not None and before.status == after.status
        if same and not fresh and after.status != status.UNKNOWN:
            return  # only the time in its text would move
        conditions[status.ISOLATION] = after.with_transition(before)
        if after.status == status.FALSE and (before is None or before.message != after.message):
            text = f"{after.reason}: {after.message}"
            draft.events.append(Event(logs.ISOLATION_FAILED, "error", app, text))
        elif after.status == status.TRUE and before is not None and before.status == status.FALSE:
            draft.events.append(Event(logs.ISOLATION_VERIFIED, "info", app, after.message))

    def agrees(self, app: AppName) -> bool:
        """Whether the app was delivered what norn_db says, as it was at the first look."""
        entry = self._mirror.entry(app)
        if app not in self._agreed and entry is not None:
            try:
                self._agreed[app] = self._delivery.agrees(entry.app, self._mirror)
            except (OSError, NornError):
                self._agreed[app] = False
        return self._agreed.get(app, True)

    def untried(self, entry: Entry, draft: Draft) -> bool:
        """Whether the env file would change to passwords that nobody has logged in with yet."""
        app = entry.app.name
        if not entry.provisioned or self.agrees(app):
            return False
        found = (draft.talk.verified.get((key, app)) for key in self._tried_on(entry))
        return not all(v is not None and v[0].ok for v in found)

    def _tried_on(self, entry: Entry) -> list[str]:
        return [key for key in entry.app.sections if key in self._services]
