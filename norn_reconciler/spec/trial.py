"""Whether the fleet would take drafts of specs: tried as if they were files in the folder. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from norn_reconciler.model.app import App, AppName
from norn_reconciler.spec.claims import Claims
from norn_reconciler.spec.document import LONGEST_APP, valid_app_name
from norn_reconciler.spec.draft import WHOLE, Draft, text
from norn_reconciler.spec.findings import Finding, errors
from norn_reconciler.spec.fleet import settle
from norn_reconciler.spec.load import Document, Loaded, load
from norn_reconciler.spec.read import Content, Stamp
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.scan import Scan


@dataclass(frozen=True, slots=True)
class Checked:
    """drafts: with what the checks refused. apps: those that may stand, as the fleet has them."""

    drafts: tuple[Draft, ...]
    apps: Mapping[AppName, App]


def check(drafts: Iterable[Draft], rules: Rules, holders: Claims) -> Checked:
    """Try the drafts as if they were files beside what is there. What an error is about is refused,
    and the rest is tried again. holders: names that apps of the fleet have or ask for."""
    tried = [_alone(_named(draft), rules) for draft in drafts]
    while True:
        documents: dict[str, Document] = {}
        faults: list[Finding] = []
        for draft in tried:
            if not draft.usable:
                continue
            loaded = _load(draft, rules)
            if loaded.document is not None:
                documents[draft.file] = loaded.document
            faults += errors(loaded.findings)
        settled = settle(Scan(documents=documents), {}, holders, rules)
        found: dict[str, list[Finding]] = defaultdict(list)
        for finding in (*faults, *errors(settled.findings)):
            found[finding.file].append(finding)
        if not found:
            apps = {name: member.app for name, member in settled.fleet.members.items()}
            return Checked(tuple(map(_explained, tried)), apps)
        tried = [_refused(draft, found[draft.file]) for draft in tried]


def _alone(draft: Draft, rules: Rules) -> Draft:
    """Each section by itself, so that one that no spec can hold does not take the others along."""
    if not draft.usable:
        return draft
    for service, section in draft.sections.items():
        loaded = _load(Draft(draft.app, {service: section}), rules)
        if words := tuple(finding.message for finding in errors(loaded.findings)):
            draft = draft.refuse(service, *words)
    return draft


def _load(draft: Draft, rules: Rules) -> Loaded:
    return load(_content(text(draft)), draft.file, rules)


def _named(draft: Draft) -> Draft:
    if valid_app_name(draft.app):
        return draft
    return draft.refuse(
        WHOLE,
        f"an app's name has small letters, digits and -, at most {LONGEST_APP}, and it is its "
        "user's name on every service: give it a user of such a name there, then import that",
    )


def _explained(draft: Draft) -> Draft:
    if draft.usable or draft.refused:
        return draft
    return draft.refuse(WHOLE, "the servers hold nothing of it that a spec could say")


def _refused(draft: Draft, findings: Sequence[Finding]) -> Draft:
    for finding in findings:
        head, _, rest = finding.field.partition(".")
        service = rest.partition(".")[0] if head == "services" else ""
        draft = draft.refuse(service if service in draft.sections else WHOLE, finding.message)
    return draft


def _content(spec: str) -> Content:
    return Content(Stamp(len(spec), 0, 0, 0, 0), spec.encode(), "")
