"""A scan and what norn knows → the fleet in force: each app's effective spec, who vanished, and
what a person should hear. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from norn_reconciler.model.app import App, AppName, Claim
from norn_reconciler.model.cron import Job
from norn_reconciler.model.fleet import Fleet, Member, Refusal
from norn_reconciler.model.migrations import Migration
from norn_reconciler.model.moves import Move, carried_out
from norn_reconciler.model.records import Generation, SpecRecord
from norn_reconciler.model.text import printable
from norn_reconciler.spec.claims import Claims, Loss, contest
from norn_reconciler.spec.findings import Finding, errors, ordered
from norn_reconciler.spec.load import Document, restore
from norn_reconciler.spec.passing import has, passed
from norn_reconciler.spec.rules import CHECKS, Rules
from norn_reconciler.spec.scan import Scan
from norn_reconciler.spec.shares import Inventory, Share, names, owned_names, shares
from norn_reconciler.spec.voices import Voices, unusable_home


@dataclass(frozen=True, slots=True)
class Settled:
    """fleet: for the engine. findings: of all files, ordered. held_back: apps without a usable file
    that stay as they are, and why; those whose last good version still passes the checks are
    members of the fleet. withheld: what owners' specs share and norn_db does not call theirs."""

    fleet: Fleet
    findings: tuple[Finding, ...] = ()
    held_back: Mapping[AppName, str] = field(default_factory=dict)
    withheld: frozenset[Share] = frozenset()


def settle(
    scan: Scan,
    known: Mapping[AppName, SpecRecord],
    holders: Claims,
    rules: Rules,
    inventory: Inventory | None = None,
    pinned: Mapping[AppName, Generation] | None = None,
    busy: frozenset[AppName] = frozenset(),
) -> Settled:
    """Decide for every app. Nothing here depends on the order of files or apps.

    known: last good versions of the *active* apps. holders: app → names that its inventory rows
    keep (Section.held), of removed apps too. inventory: the rows themselves; None where norn_db was
    not asked, and each owner's word has to do. pinned: earlier versions that are in force for as
    long as the file says what it said when a person put them there. busy: apps of which nothing
    passes to another, or from one, since long work is at them.
    """
    return _Settling(scan, known, holders, rules, inventory, pinned or {}, busy).run()


class _Settling:
    """One call of `settle`: the steps share what they have found so far."""

    def __init__(
        self,
        scan: Scan,
        known: Mapping[AppName, SpecRecord],
        holders: Claims,
        rules: Rules,
        inventory: Inventory | None,
        pinned: Mapping[AppName, Generation],
        busy: frozenset[AppName],
    ) -> None:
        self.scan = scan
        self.known = known
        self.holders = holders
        self.rules = rules
        self.inventory = inventory
        self.pinned = pinned
        self.withheld: frozenset[Share] = frozenset()
        self.busy = busy
        self.renamed: Mapping[AppName, AppName] = {}
        self.moves: tuple[Move, ...] = ()
        self.stuck: set[AppName] = set()
        self.awaited: dict[AppName, str] = {}  # what an app was called → why it is not it yet
        self.findings: list[Finding] = []
        self.members: dict[AppName, Member] = {}
        self.held_back: dict[AppName, str] = {}
        self.last_good: dict[AppName, Document | None] = {}

    def run(self) -> Settled:
        for document in self.scan.documents.values():
            self.findings += document.findings
        for broken in self.scan.broken.values():
            self.findings += broken.findings
        voices = Voices(self.scan, self.known)
        asked, refused = voices.heard()
        self.findings += voices.findings
        undone = self._pin(asked)
        # Whoever is refused falls back to the last good version, which may be in others' way.
        while fresh := self._contested(asked, refused).items() - refused.items():
            refused.update(fresh)
        for app, document in asked.items():
            if app not in refused:
                self.members[app] = replace(_member(document), **undone.get(app, {}))
        if self.inventory is not None:
            self.inventory = {**self.inventory, **carried_out(self.moves, self.inventory)[0]}
        gone = self._gone(asked)
        for app, reason in sorted(refused.items()):
            if app in self.known and app not in gone:
                self._keep(app, reason, rejected=reason)
        for app in sorted(self.stuck):
            self._not_renamed(app, asked[app])
        vanished = self._vanished(gone)
        self._share(vanished, asked)
        findings = ordered(self.findings)
        fleet = Fleet(
            self.members,
            vanished,
            self.scan.folder,
            self._refused(findings),
            tuple(sorted(self.scan.settling)),
            self.moves,
        )
        return Settled(fleet, findings, self.held_back, self.withheld)

    def _pin(self, asked: dict[AppName, Document]) -> Mapping[AppName, Mapping[str, Any]]:
        """Put the pinned versions in the place of what the files say. What is to be said of it, by
        app. One that others are in the way of by now is refused as a file would be."""
        undone: dict[AppName, dict[str, Any]] = {}
        for app, generation in sorted(self.pinned.items()):
            document, record = asked.get(app), self.known.get(app)
            if record is None or (document and document.record.canonical != record.canonical):
                continue
            last = restore(replace(record, canonical=generation.canonical), self.rules)
            if last is None:
                continue
            if document is None:
                self.last_good[app] = last
                continue
            asked[app] = replace(document, app=last.app, spec=last.spec)
            text = f"{record.file} was undone: generation {generation.number} is in force"
            undone[app] = {"rejected": text, "pinned": generation.number}
        return undone

    def _refused(self, findings: tuple[Finding, ...]) -> tuple[Refusal, ...]:
        homes = {m.record.file: app for app, m in sorted(self.members.items()) if m.rejected}
        return tuple(Refusal(str(f), homes.get(f.file, "")) for f in errors(findings))

    def _contested(
        self, asked: Mapping[AppName, Document], refused: Mapping[AppName, str]
    ) -> dict[AppName, str]:
        """Apps that ask for a name which another has, or also asks for, and the first such name."""
        wanted = {app: _claims(document) for app, document in asked.items()}
        holders = self._passed(asked, wanted, refused)
        holding = self._holding(asked, wanted, refused, holders)
        reasons: dict[AppName, str] = {}
        for app, losses in contest(wanted, holding).items():
            for loss in losses:
                message = self._loss(loss, asked)
                reasons.setdefault(app, message)
                document = asked[app]
                self._say(
                    "spec.claim.conflict", document, self._section_of(document, loss), message
                )
        for new, old in _formers(asked).items():
            # It has nothing yet: what is made meanwhile would be empty, and in the way for ever.
            fresh = self._is_known(old) and not self._is_known(new) and new not in refused
            if fresh and (why := self._obstacle(old, new, asked)):
                self.awaited[old] = reasons[new] = f"{new} is {old} by a new name, but {why}"
                self._say("renamedFrom.waits", asked[new], ("renamedFrom",), reasons[new])
        return reasons

    def _passed(
        self, asked: Mapping[AppName, Document], wanted: Claims, refused: Mapping[AppName, str]
    ) -> Claims:
        """Who holds what, once what passes from one app to another has passed."""
        renamed = self._renames(asked, refused)
        away = self.busy | refused.keys()
        usable = {app: claims for app, claims in wanted.items() if app not in away}
        found = passed(usable, renamed, self.holders, self.inventory or {}, self.rules.sections)
        self.moves = found.moves
        self.renamed = found.renamed
        self.stuck |= {new for old, new in renamed.items() if old not in found.renamed}
        return found.held

    def _renames(
        self, asked: Mapping[AppName, Document], refused: Mapping[AppName, str]
    ) -> Mapping[AppName, AppName]:
        """What an app was called → its name now, where no file is, or may be, about the former."""
        return {
            old: new
            for new, old in _formers(asked).items()
            if new not in refused and self._is_known(old) and not self._obstacle(old, new, asked)
        }

    def _is_known(self, app: AppName) -> bool:
        return app in self.known or app in self.holders

    def _obstacle(self, old: AppName, new: AppName, asked: Mapping[AppName, Document]) -> str:
        """Why the one can't be the other by a new name; "" when it can."""
        also = [a for a, was in _formers(asked).items() if was == old and a != new]
        if also:
            return f"so is {', '.join(also)} ({', '.join(self._file_of(a, asked) for a in also)})"
        about = [f for f, d in sorted(self.scan.documents.items()) if d.app.name == old]
        if about:
            return f"{', '.join(about)} is about {old} still"
        if self.busy & {old, new}:
            return "long work is at it: it is followed when that is over"
        return (self._held_by(old) or ("",))[0]

    def _gone(self, asked: Mapping[AppName, Document]) -> frozenset[AppName]:
        """Known apps that have another name by now, and nothing left that goes along with it: their
        last good versions ask for what is the others', or for what would be empty."""
        formers = {old for new, old in _formers(asked).items() if new in self.members}
        found, sections = self.inventory, self.rules.sections
        return frozenset(
            old
            for old in formers & self.known.keys() - self.members.keys()
            if found is not None
            and not has(old, found, sections)
            and unusable_home(old, self.scan, self.known) is None
        )

    def _holding(
        self,
        asked: Mapping[AppName, Document],
        wanted: Claims,
        refused: Mapping[AppName, str],
        holders: Claims,
    ) -> Claims:
        """The inventory's names, and those that norn once accepted though no server may have them
        yet: for as long as the app still wants them, and where nobody's inventory has them."""
        accepted: dict[AppName, frozenset[Claim]] = {}
        for app, record in self.known.items():
            if app in self.renamed:
                continue
            last = asked.get(app)
            if last is None or last.record.canonical != record.canonical:
                last = self._restored(app)
            if last is not None:
                claims = wanted[app] if last is asked.get(app) else _claims(last)
                if app in asked and app not in refused:
                    claims &= wanted[app]
                accepted[app] = claims - holders.get(app, frozenset())
        lost = contest(accepted, holders) if any(accepted.values()) else {}
        return {
            app: holders.get(app, frozenset())
            | (accepted.get(app, frozenset()) - {i.claim for i in lost.get(app, ()) if i.held})
            for app in holders.keys() | accepted.keys()
        }

    def _loss(self, loss: Loss, asked: Mapping[AppName, Document]) -> str:
        where = self._file_of(loss.rival, asked)
        rival = asked.get(loss.rival)
        if loss.held and rival is not None and loss.other not in _claims(rival):
            return (
                f"{loss.claim} is still app {loss.rival}'s, whose file ({where}) names it no more: "
                f"choose another name (what can pass to another app, and how: docs/renames.md)"
            )
        if loss.held:
            return f"{loss.claim} belongs to app {loss.rival} ({where}): choose another name"
        return (
            f"{loss.claim} is asked for by app {loss.rival} ({where}) too; neither is used: "
            "change one of them"
        )

    def _file_of(self, app: AppName, asked: Mapping[AppName, Document]) -> str:
        if app in asked:
            return asked[app].record.file
        record = self.known.get(app)
        return record.file if record else f"no file any more; its data is kept: norn describe {app}"

    @staticmethod
    def _section_of(document: Document, loss: Loss) -> tuple[str, ...]:
        """The section that the lost claim stands in."""
        app = document.app
        for key, section in sorted(app.sections.items()):
            if loss.claim in section.claims(app.name):
                return ("services", key)
        return ("services",)

    def _vanished(self, gone: frozenset[AppName]) -> dict[AppName, Member]:
        """Known apps that no usable file is about; those that an unusable one may be about stay, as
        do those that wait for their new name. gone: see _gone."""
        vanished: dict[AppName, Member] = {}
        for app in sorted(self.known.keys() - self.members.keys() - self.held_back.keys()):
            held = self._held_by(app)
            if held is None and app in self.awaited:
                held = self.awaited[app], ""
            if held is not None and app not in gone:
                reason, rejected = held
                self._keep(app, reason, rejected=rejected)
                continue
            last = self._restored(app)
            if last is not None:
                member = replace(_member(last), record=self.known[app])
                vanished[app] = replace(member, app=App(app, {})) if app in gone else member
            else:
                self._unusable(app)
        return vanished

    def _share(self, vanished: Mapping[AppName, Member], asked: Mapping[AppName, Document]) -> None:
        """Give each reader what the owners' specs let it read; the owners alone decide, and of what
        is theirs alone. An app that is on its way out shares until it is gone."""
        readable: dict[AppName, list[Share]] = defaultdict(list)
        withheld: dict[AppName, list[Share]] = defaultdict(list)
        strays: set[tuple[AppName, str, AppName]] = set()
        for share in shares({**vanished, **self.members}):
            owner, reader, key = share.owner, share.reader, share.service
            reads = self.members.get(reader)
            if reader == owner or reads is None or key not in reads.app.sections:
                strays.add((owner, key, reader))
            elif self.inventory is None or share.given(self.inventory):
                readable[reader].append(share)
            else:
                withheld[reader].append(share)
        for owner, key, reader in sorted(strays):
            if owner in asked:
                self._no_reader(asked[owner], key, owner, reader)
        for reader in readable.keys() | withheld.keys():
            member = self.members[reader]
            app = replace(
                member.app,
                readable=names(readable[reader]),
                withheld=owned_names(withheld[reader]),
            )
            self.members[reader] = replace(member, app=app)
        self.withheld = frozenset(share for found in withheld.values() for share in found)

    def _not_renamed(self, app: AppName, document: Document) -> None:
        former = document.spec.renamed_from
        self._say(
            "renamedFrom.unfollowed",
            document,
            ("renamedFrom",),
            f"{app} has objects of its own: those of {former} stay {former}'s (norn describe "
            f"{former})",
        )

    def _no_reader(self, document: Document, key: str, owner: AppName, reader: AppName) -> None:
        why = (
            f"{reader} is this app itself"
            if reader == owner
            else f"no app {reader} has a section services.{key}"
        )
        self._say("spec.reader.unknown", document, ("services", key), f"{why}: nobody reads")

    def _held_by(self, app: AppName) -> tuple[str, str] | None:
        """(why, what is wrong with its file or "") when some file may be about `app`."""
        for file, broken in sorted(self.scan.broken.items()):
            if broken.about.may_be(app):
                first = str(errors(broken.findings)[0])
                own = app in broken.about.apps
                return f"{file} is broken and may be about it", first if own else ""
        for file, settling in sorted(self.scan.settling.items()):
            if settling.about.may_be(app):
                return f"{file} is being written and may be about it", ""
        return None

    def _keep(self, app: AppName, reason: str, *, rejected: str) -> None:
        """The last good version stays in force."""
        self.held_back[app] = reason
        record = self.known[app]
        last = self._restored(app)
        if last is None:
            self._unusable(app)
        else:
            self.members[app] = replace(_member(last), record=record, rejected=rejected)

    def _restored(self, app: AppName) -> Document | None:
        """The app's last good version, or None when today's checks refuse it."""
        if app not in self.last_good:
            self.last_good[app] = restore(self.known[app], self.rules)
        return self.last_good[app]

    def _unusable(self, app: AppName) -> None:
        """No file, and a last good version that today's checks refuse: hands off."""
        self.held_back.setdefault(app, "its last good version no longer passes the checks")
        check = "spec.record.unusable"
        self.findings.append(
            Finding(
                check,
                CHECKS[check],
                f"the last good version of app {app} no longer passes the checks: nothing of it is "
                "touched until a file that does is here",
                "",
                self.known[app].file,
            )
        )

    def _say(self, check: str, document: Document, path: tuple[str, ...], message: str) -> None:
        self.findings.append(document.finding(check, path, message))


def _formers(asked: Mapping[AppName, Document]) -> Mapping[AppName, AppName]:
    """App → what it was called, by its file."""
    return {a: AppName(d.spec.renamed_from) for a, d in asked.items() if d.spec.renamed_from}


def _member(document: Document) -> Member:
    spec = document.spec
    return Member(
        document.app,
        document.record,
        migration=_migration(document),
        core=spec.core,
        schedule=spec.schedule if spec.role == "cron" else "",
        job=Job(spec.command, max(1, spec.timeout)) if spec.role == "cron" else None,
    )


def _migration(document: Document) -> Migration | None:
    said = document.spec.migrations
    if said is None:
        return None
    # A revision is a name: it is shown, logged and kept as it can be read.
    return Migration(said.command, said.database, printable(said.revision), said.timeout)


def _claims(document: Document) -> frozenset[Claim]:
    app = document.app
    return frozenset(c for section in app.sections.values() for c in section.claims(app.name))
