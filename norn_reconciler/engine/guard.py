"""What may not be done without a person: too many apps vanishing at once, and lost data made again.
Pure: values in, a verdict out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from norn_reconciler.engine.digest import short
from norn_reconciler.model.app import AppName
from norn_reconciler.model.fleet import Folder
from norn_reconciler.model.plan import A, Effect, Plan, Problem


@dataclass(frozen=True, slots=True)
class Limits:
    """A removal of more than `max_apps` apps that is also more than `max_percent` % is held."""

    max_apps: int
    max_percent: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Removals wait for `norn confirm digest`, or for the files to be back."""

    digest: str
    message: str
    apps: tuple[AppName, ...]

    @property
    def words(self) -> str:
        """What people are told of it."""
        return (
            f"all removals are held: {self.message}; bring the files back, "
            f"or type: norn confirm {self.digest}"
        )


RECENT = 600.0  # seconds: apps that vanish one after the other count as vanishing at once


class Removals:
    """Remembers what vanished when, from one look to the next. removed: app → how many seconds
    before `now` an earlier process removed it: a restart is no way past the limits.

    Apps count until RECENT after they vanished, so that small steps add up. A digest binds to
    exactly these apps and to what the folder looked like; agreeing to it holds until the files are
    back, and does not cover a folder that is in a worse state by then."""

    def __init__(self, limits: Limits, removed: Mapping[AppName, float], now: float) -> None:
        self._limits = limits
        self._since = {app: now - ago for app, ago in removed.items()}

    def judge(
        self,
        vanished: Collection[AppName],
        agreed: Mapping[AppName, Folder],
        active: int,
        folder: Folder,
        now: float,
    ) -> Hold | None:
        """None when all of `vanished` may be removed.

        vanished: apps in force, or on their way out, that no file is about. agreed: app → the
        folder as it was when a person confirmed its removal. active: apps in force or on their way
        out. now: monotonic seconds."""
        gone = set(vanished)
        self._since = {a: t for a, t in self._since.items() if a in gone or now - t < RECENT} | {
            a: now for a in gone if a not in self._since
        }
        asked = tuple(sorted(a for a in gone if agreed.get(a) is not folder))
        if not asked:
            return None
        mark = short("removal", sorted(asked), folder.value)
        if folder is not Folder.OK:
            text = f"the specs folder is {folder.value}: absence of input is no intent"
            return Hold(mark, text, asked)
        recent = [a for a, t in self._since.items() if a not in agreed and now - t < RECENT]
        count = len(set(recent) | set(asked))
        total = max(active + len(set(recent) - gone), 1)
        percent = 100.0 * count / total
        if count > self._limits.max_apps and percent > self._limits.max_percent:
            text = f"{count} of {total} apps vanished within minutes ({percent:.0f} %)"
            return Hold(mark, text, asked)
        return None

    def back(self, present: Collection[AppName]) -> None:
        """Files are about these apps (again): they did not vanish."""
        for app in present:
            self._since.pop(app, None)


@dataclass(frozen=True, slots=True)
class Gated:
    """allowed: may run now. deferred: removals that wait (for the grace, or a person). behind:
    what waits for other apps, by name."""

    allowed: Plan  # type: ignore[type-arg]  # of the same action type as what was gated
    deferred: int = 0
    behind: tuple[str, ...] = ()


def gate(plan: Plan[A], removals_allowed: bool) -> Gated:
    """Let all pass but what waits for other apps; removals only when `removals_allowed`."""
    behind = [a for a in plan.actions if a.effect is Effect.HANDOVER]
    deferred = [a for a in plan.actions if a.effect is Effect.REMOVAL and not removals_allowed]
    if not behind and not deferred:
        return Gated(plan)
    kept = tuple(a for a in plan.actions if a not in behind and a not in deferred)
    names = tuple(sorted({a.name for a in behind}))
    return Gated(Plan(kept, plan.problems), len(deferred), names)


def loss_digest(app: AppName, service: str, problem: Problem) -> str:
    """What a person confirms when an object's data is gone: bound to that object of that app."""
    return short("loss", app, service, problem.object, problem.reason)
