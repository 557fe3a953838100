"""What norn_db has lost, as a value: `norn recover` shows it, and the writer takes it over.
engine.retrace finds it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from norn_reconciler import logs
from norn_reconciler.engine.digest import short
from norn_reconciler.engine.ledger import Ledger
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.inventory import ObjectKey, Owned
from norn_reconciler.model.plan import Action, Plan, Problem
from norn_reconciler.model.records import Changes, ServiceRecord
from norn_reconciler.model.secret import DUE, CredentialMark
from norn_reconciler.model.status import Event


@dataclass(frozen=True, slots=True)
class Part:
    """One app on one service. rows: what norn_db lacks. mark: to be recorded of its password, None
    where that stays as it is. plan: what converging then changes. base, record: what norn_db had
    when this was found."""

    rows: Owned
    mark: CredentialMark | None
    plan: Plan[Action]
    base: Owned
    record: ServiceRecord

    def password(self) -> str:
        """What becomes of the password, for people; "" where nothing does."""
        if self.mark is None:
            return ""
        if self.mark.fingerprint == DUE:
            return "none that the master key derives fits: a new one is set, restart the app"
        known = self.record.mark
        said = f"norn_db says {known.generation}" if known is not None else "norn_db has no record"
        return f"generation {self.mark.generation} fits, {said}: it stays, and is recorded"


Parts = Mapping[AppName, Mapping[str, Part]]


@dataclass(frozen=True, slots=True)
class Recovery:
    """parts: app → service → what there is to recover. problems: what stays blocked, and what to
    type. faults: what could not be looked at. untouched: service → app → objects that bear norn's
    mark and that no file asks for."""

    parts: Parts = field(default_factory=dict)
    problems: Mapping[AppName, Mapping[str, Problem]] = field(default_factory=dict)
    faults: Mapping[AppName, Mapping[str, ServiceError]] = field(default_factory=dict)
    untouched: Mapping[str, Mapping[AppName, frozenset[ObjectKey]]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What the person agrees to: rows, passwords, and every change that follows."""
        return short(
            "recover",
            {
                app: {
                    key: [
                        {" ".join(k): row for k, row in part.rows.items()},
                        part.mark,
                        [a.summary() for a in part.plan.actions],
                    ]
                    for key, part in by.items()
                }
                for app, by in self.parts.items()
            },
        )

    def changes(self, ledger: Ledger) -> Changes:
        """The rows to write, in one transaction. Raises ValueError when norn_db knows more by now
        than when this was found."""
        inventory: dict[tuple[str, AppName], Owned] = {}
        services: dict[tuple[str, AppName], ServiceRecord] = {}
        for app, by in self.parts.items():
            for key, part in by.items():
                record = ledger.service(key, app)
                if ledger.owned(key, app) != part.base or record.mark != part.record.mark:
                    raise ValueError(f"{app} moved on {key} meanwhile: run `norn recover` again")
                if part.rows:
                    inventory[key, app] = {**part.base, **part.rows}
                if part.mark is not None:
                    services[key, app] = replace(record, mark=part.mark)
        events = [_event(app, by) for app, by in self.parts.items()]
        return Changes(inventory=inventory, services=services, events=events)


def _event(app: AppName, by: Mapping[str, Part]) -> Event:
    rows = [f"{held.kind} {held.name}" for part in by.values() for held in part.rows.values()]
    passwords = [f"{key}: {said}" for key, part in by.items() if (said := part.password())]
    text = "; ".join([f"taken over: {', '.join(rows)}"] * bool(rows) + passwords)
    return Event(logs.RECORDS_RECOVERED, "info", app, text)


def counted(apps: Collection[AppName]) -> str:
    """`1 app`, `3 apps`."""
    return f"{len(apps)} app{'' if len(apps) == 1 else 's'}"
