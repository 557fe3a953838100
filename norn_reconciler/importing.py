"""The work of `norn import`: what the servers hold, as specs that may be adopted. Asks the servers
and norn_db, writes nothing but new files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from norn_reconciler.compose import instance, open_providers
from norn_reconciler.engine import survey
from norn_reconciler.engine.book import Book
from norn_reconciler.key_at_hand import NoSecrets
from norn_reconciler.model.app import AppName, Claim
from norn_reconciler.model.errors import NornError, ServiceError
from norn_reconciler.oneshot import read
from norn_reconciler.settings import Settings
from norn_reconciler.spec.draft import Draft, text
from norn_reconciler.spec.trial import check
from norn_reconciler.specs_folder import holders_of, own_users, rules_of


@dataclass(frozen=True, slots=True)
class Import:
    """drafts: by name, those that can't stand included. loose: (service, words) of what no user
    leads to. faults: services that did not answer."""

    drafts: tuple[Draft, ...] = ()
    loose: tuple[tuple[str, str], ...] = ()
    faults: Mapping[str, ServiceError] = field(default_factory=dict)

    def chosen(self, names: Sequence[str]) -> tuple[Draft, ...]:
        """Those of these names, all for none. Raises NornError for a name that is not there."""
        known = {draft.app: draft for draft in self.drafts}
        if unknown := [name for name in names if name not in known]:
            raise NornError(
                f"no server holds anything of {', '.join(unknown)} that is not norn's already: "
                "norn import shows what there is"
            )
        return tuple(known[name] for name in dict.fromkeys(names)) if names else self.drafts


async def look(settings: Settings) -> Import:
    """Ask every service that a setting names."""
    async with open_providers(settings, instance(settings)) as providers:
        book = (await read(settings, providers)).book
        held = await survey.holdings(providers, book.inventory(), own_users(settings))
        drafts = [_asked_for(Draft(w.name, w.sections, w.notes), book) for w in held.apps]
        checked = check(drafts, rules_of(settings), _holders(book))
        changes = await survey.adopting(list(checked.apps.values()), providers, NoSecrets())
        done = tuple(replace(d, changes=changes.get(AppName(d.app), {})) for d in checked.drafts)
        return Import(done, held.loose, held.faults)


def _asked_for(draft: Draft, book: Book) -> Draft:
    entry = book.entries.get(AppName(draft.app))
    if entry is None:
        return draft
    return draft.refuse(
        "",
        f"{entry.record.spec.file} asks for it already: add there what is missing, then type: "
        f"norn adopt {draft.app}",
    )


def _holders(book: Book) -> Mapping[AppName, frozenset[Claim]]:
    """What apps have by norn_db, and what those with a file ask for."""
    held = dict(holders_of(book.inventory()))
    for name, entry in book.entries.items():
        for section in entry.app.sections.values():
            held[name] = held.get(name, frozenset()) | section.claims(name)
    return held


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of one draft: the file's path, or why there is none."""

    app: str
    path: Path | None = None
    why: str = ""


def save(found: Import, drafts: Sequence[Draft], folder: Path) -> Iterator[Saved]:
    """A file for each draft that may stand. Raises NornError when a service did not answer: a
    spec without its part would be taken for whole."""
    if found.faults:
        raise NornError(
            f"{', '.join(sorted(found.faults))} did not answer, so nothing is written: each file "
            "would lack that part"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for draft in drafts:
            yield _save(draft, folder)
    except OSError as fault:
        raise NornError(f"{folder}: {fault.strerror}") from fault


def _save(draft: Draft, folder: Path) -> Saved:
    if not draft.usable:
        return Saved(draft.app, why="; ".join(w for words in draft.refused.values() for w in words))
    path = folder / draft.file
    half = folder / f".{draft.file}.{uuid4().hex[:8]}"  # hidden files are no specs
    try:
        with half.open("x", encoding="utf-8") as out:
            out.write(text(draft))
            out.flush()
            os.fsync(out.fileno())
        path.hardlink_to(half)  # whole or not at all, and never in the place of another
    except FileExistsError:
        return Saved(draft.app, why=f"{path} is there already, and stays as it is")
    finally:
        with suppress(FileNotFoundError):
            half.unlink()
    return Saved(draft.app, path)
