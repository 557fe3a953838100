"""Specs that norn writes itself (`norn import`): plain data and words → a file's text, and whether
the fleet would take it. What comes from servers may hold anything: values are quoted by the YAML
library, words go into comments with whatever is unprintable escaped. Pure."""

from __future__ import annotations

import io
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ruamel.yaml import YAML

from norn_reconciler.model.app import App, AppName
from norn_reconciler.spec.claims import Claims
from norn_reconciler.spec.document import LONGEST_APP, valid_app_name
from norn_reconciler.spec.findings import Finding, errors, printable
from norn_reconciler.spec.fleet import settle
from norn_reconciler.spec.load import Document, Loaded, load
from norn_reconciler.spec.read import Content, Stamp
from norn_reconciler.spec.rules import Rules
from norn_reconciler.spec.scan import Scan

MODELINE = "# yaml-language-server: $schema=./infraspec.schema.json"
_WIDTH = 98
_WHOLE = ""  # in place of a service: the spec as a whole
Words = Mapping[str, tuple[str, ...]]  # by service, or of the whole


@dataclass(frozen=True, slots=True)
class Draft:
    """sections: service → plain data. notes: what a reader should know. refused: why a section, or
    all of it, can't stand. changes: what adopting would do."""

    app: str
    sections: Mapping[str, Mapping[str, object]]
    notes: Words = field(default_factory=dict)
    refused: Words = field(default_factory=dict)
    changes: Words = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return _WHOLE not in self.refused and any(k not in self.refused for k in self.sections)

    @property
    def file(self) -> str:
        return f"{self.app}.yaml"

    def refuse(self, part: str, *why: str) -> Draft:
        """part: a service, or "" for the whole."""
        return replace(self, refused={**self.refused, part: (*self.refused.get(part, ()), *why)})


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
        for draft in tried:
            if draft.usable and (document := _load(draft, rules).document) is not None:
                documents[draft.file] = document
        settled = settle(Scan(documents=documents), {}, holders, rules)
        found = defaultdict(list)
        for finding in errors(settled.findings):
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
        _WHOLE,
        f"an app's name has small letters, digits and -, at most {LONGEST_APP}, and it is its "
        "user's name on every service: give it a user of such a name there, then import that",
    )


def _explained(draft: Draft) -> Draft:
    if draft.usable or draft.refused:
        return draft
    return draft.refuse(_WHOLE, "the servers hold nothing of it that a spec could say")


def _refused(draft: Draft, findings: Sequence[Finding]) -> Draft:
    for finding in findings:
        head, _, rest = finding.field.partition(".")
        service = rest.partition(".")[0] if head == "services" else ""
        draft = draft.refuse(service if service in draft.sections else _WHOLE, finding.message)
    return draft


def _content(spec: str) -> Content:
    return Content(Stamp(len(spec), 0, 0, 0, 0), spec.encode(), "")


def text(draft: Draft) -> str:
    """The file's text. One that may not stand is a comment as a whole, which says why."""
    if not draft.usable:
        why = [w for words in draft.refused.values() for w in words]
        lines = [
            *_comment(f"{draft.app} can't be imported as it is:"),
            *(line for word in why for line in _comment(f"- {word}", hang=2)),
            *_notes(draft.notes, draft.sections.keys() | draft.notes.keys()),
            "#",
            *(f"# {line}".rstrip() for line in _body(draft.app, draft.sections)),
        ]
        return "\n".join(lines) + "\n"
    return "\n".join([*_head(draft), "", *_spec(draft)]) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    yield MODELINE
    yield "#"
    yield from _comment(
        "Written by norn import from what the servers hold, which it left as it is. Read it, put "
        f"it into the specs folder, then type: norn adopt {draft.app}  (it shows what would change "
        "and asks; data and passwords stay until norn rotate)."
    )
    yield from _notes(draft.notes, draft.notes.keys() - draft.sections.keys())
    if any(draft.changes.values()):
        yield "#"
        yield "# Adopting would do this now:"
        for service, lines in sorted(draft.changes.items()):
            for line in lines:
                yield from _comment(f"- {service}: {line}", hang=2)


def _spec(draft: Draft) -> Iterator[str]:
    yield from _yaml({"app": draft.app})
    yield "role: worker # a guess, which the servers can't tell: webserver, worker, cron, function"
    yield ""
    yield "services:"
    for service, section in sorted(draft.sections.items()):
        for note in draft.notes.get(service, ()):
            yield from _comment(note, indent="  ")
        block = list(_yaml({service: section}))
        if service in draft.refused:
            for why in draft.refused[service]:
                yield from _comment(f"{service} can't be imported as it is: {why}", indent="  ")
            yield from (f"  # {line}" for line in block)
        else:
            yield from (f"  {line}" for line in block)


def _body(app: str, sections: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    yield from _yaml({"app": app, "role": "worker"})
    if sections:
        yield from _yaml({"services": dict(sorted(sections.items()))})


def _notes(notes: Words, services: Iterable[str]) -> Iterator[str]:
    for service in sorted(services):
        for note in notes.get(service, ()):
            yield from _comment(f"- {service}: {note}", hang=2)


def _comment(words: str, *, indent: str = "", hang: int = 0) -> list[str]:
    return textwrap.wrap(
        printable(words),
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# {' ' * hang}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _yaml(data: Mapping[str, object]) -> Iterator[str]:
    """Lines of block style. Nothing but ASCII: what is beyond is escaped within quotes, so that no
    name out of a server steers a terminal or an editor."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # None in its stubs
    yaml.width = 1 << 20  # never folded: a line of it is a line of the file
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(data, out)
    yield from out.getvalue().splitlines()
