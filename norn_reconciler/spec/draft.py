"""Specs that norn writes itself (`norn import`): plain data and words → a file's text. What comes
from servers may hold anything: values are quoted by the YAML library, words go into comments with
whatever is unprintable escaped. Pure."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ruamel.yaml import YAML

from norn_reconciler.model.text import printable

MODELINE = "# yaml-language-server: $schema=./infraspec.schema.json"
_WIDTH = 98
WHOLE = ""  # in place of a service: the spec as a whole
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
        return WHOLE not in self.refused and any(k not in self.refused for k in self.sections)

    @property
    def file(self) -> str:
        return f"{self.app}.yaml"

    def refuse(self, part: str, *why: str) -> Draft:
        """part: a service, or "" for the whole."""
        return replace(self, refused={**self.refused, part: (*self.refused.get(part, ()), *why)})


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
