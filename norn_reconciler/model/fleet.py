"""All specs at once, claims settled: what the engine is handed after each look at the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.cron import Job
from norn_reconciler.model.migrations import Migration
from norn_reconciler.model.moves import Move
from norn_reconciler.model.records import SpecRecord


class Folder(StrEnum):
    """What the specs folder itself looked like. Only OK lets a missing file mean anything."""

    OK = "ok"
    EMPTY = "empty"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Member:
    """One app that a file asks for, or whose last good version stays in force.

    rejected: why the file as it stands is not used (first finding, in words); empty when it is.
    migration: what the spec says of migrations. core: validated, not provisioned. schedule: of role
    cron, else "". job: what it runs then. pinned: the earlier generation that is in force in place
    of the file's, by a person's word.
    """

    app: App
    record: SpecRecord
    rejected: str = ""
    migration: Migration | None = None
    core: bool = False
    schedule: str = ""
    job: Job | None = None
    pinned: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Why a file can't be used as it stands: `file:line:column: words [check]`. app: whose last
    good version stays in force instead; "" when none does."""

    text: str
    app: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """members: by app. vanished: known active apps that no file is about any more. refused: what is
    wrong with files, ordered. settling: files of which nobody can tell yet. moves: ordered."""

    members: Mapping[AppName, Member] = field(default_factory=dict)
    vanished: Mapping[AppName, Member] = field(default_factory=dict)
    folder: Folder = Folder.OK
    refused: tuple[Refusal, ...] = ()
    settling: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
