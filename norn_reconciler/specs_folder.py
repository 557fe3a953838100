"""The specs folder as this installation reads it: with its services' sections, its reserved names,
and what norn_db remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from norn_reconciler import logs
from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.model.fleet import Fleet, Folder
from norn_reconciler.model.inventory import Owned
from norn_reconciler.model.records import AppRecord, AppState
from norn_reconciler.providers import REGISTRY, Registration
from norn_reconciler.settings import Settings
from norn_reconciler.spec.findings import Finding
from norn_reconciler.spec.fleet import Settled, settle
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.scan import Scan, Scanner
from norn_reconciler.spec.schema import schema as spec_schema
from norn_reconciler.spec.shares import Share
from norn_reconciler.spec.validate import validate


class Specs:
    """The specs folder, looked at again and again. Findings are logged when they are new.

    tell: False where whoever asks says them itself. instead: file → bytes that are taken for what
    stands in it."""

    def __init__(
        self,
        settings: Settings,
        *,
        tell: bool = True,
        instead: Mapping[str, bytes] | None = None,
    ) -> None:
        self._tells = tell
        self._rules = rules_of(settings)
        self._scanner = Scanner(
            settings.specs_dir, self._rules, settle=settings.settle_seconds, instead=instead
        )
        self._scan = Scan()
        self._folder = Folder.OK
        self._withheld: frozenset[Share] = frozenset()
        self.findings: tuple[Finding, ...] = ()

    def glance(self) -> None:
        """A first look before anything is known: a file that settles meanwhile is not waited for
        later."""
        self._scanner.look(time.monotonic())

    def learn(self, records: Mapping[AppName, AppRecord]) -> None:
        """The last good versions, as norn_db has them."""
        self._scanner.learn({name: r.spec for name, r in records.items()})

    def look(
        self,
        records: Mapping[AppName, AppRecord],
        inventory: Mapping[tuple[str, AppName], Owned],
        busy: frozenset[AppName] = frozenset(),
    ) -> Fleet:
        """One look. A file counts only when two looks agree: see `next_look`. busy: apps that long
        work is at."""
        self._scan = self._scanner.look(time.monotonic())
        known = {n: r.spec for n, r in records.items() if r.state is AppState.ACTIVE}
        pinned = {n: r.pinned for n, r in records.items() if r.pinned is not None}
        holders = holders_of(inventory)
        settled = settle(self._scan, known, holders, self._rules, inventory, pinned, busy)
        if self._tells:
            self._tell(settled)
        self.findings = settled.findings
        self._withheld = settled.withheld
        return settled.fleet

    def next_look(self) -> float | None:
        """Seconds until a file that is still settling can be judged; None when none is."""
        due = self._scan.next_look
        return None if due is None else max(0.0, due - time.monotonic())

    def outdated(self, inventory: Mapping[tuple[str, AppName], Owned]) -> bool:
        """Whether something that the last look withheld from a reader is its owner's by now."""
        return any(share.given(inventory) for share in self._withheld)

    def _tell(self, settled: Settled) -> None:
        if settled.fleet.folder is not self._folder:
            self._folder = settled.fleet.folder
            write = logs.get().info if self._folder is Folder.OK else logs.get().error
            write(logs.FOLDER_CHANGED, state=self._folder.value)
        told = frozenset(self.findings)
        for finding in settled.findings:
            if finding in told or finding.severity == "info":
                continue
            error = finding.severity == "error"
            (logs.get().error if error else logs.get().warning)(
                logs.SPEC_REJECTED if error else logs.SPEC_WARNED, **finding.as_json()
            )


def rules_of(settings: Settings) -> Rules:
    reserved = own_users(settings)

    def refusal(registration: Registration) -> Callable[[str], str | None]:
        return lambda app: registration.refused_app_name(app, reserved)

    return Rules(
        {key: r.section() for key, r in REGISTRY.items()},
        {key: refusal(r) for key, r in REGISTRY.items()},
    )


def own_users(settings: Settings) -> frozenset[str]:
    """Every user name that the settings name: no app may bear one."""
    urls = (settings.database_url, settings.postgres_url, settings.valkey_url)
    names = {urlsplit(u.get_secret_value()).username for u in urls if u is not None}
    return frozenset({n for n in (*names, settings.redpanda_username) if n})


def holders_of(
    inventory: Mapping[tuple[str, AppName], Owned],
) -> Mapping[AppName, frozenset[Claim]]:
    """App → the names that its inventory rows keep, retained ones included."""
    held: dict[AppName, set[Claim]] = {}
    sections = {key: r.section() for key, r in REGISTRY.items()}
    for (service, app), owned in inventory.items():
        if service not in sections:
            continue
        for row in owned.values():
            held.setdefault(app, set()).update(sections[service].held(app, row))
    return {app: frozenset(claims) for app, claims in held.items()}


def first_look(settings: Settings) -> None:
    """Read the folder once, so that what is wrong with it is said before anything depends on it."""
    Specs(settings).look({}, {})


def findings(settings: Settings, paths: Sequence[Path]) -> Sequence[Finding]:
    return validate(paths or [settings.specs_dir], rules_of(settings))


def json_schema(settings: Settings) -> object:
    return spec_schema(rules_of(settings))
