"""The room of the apps' commands as this installation has it: who runs them, where, and what each
is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from norn_reconciler.credentials import deliver
from norn_reconciler.jobs.commands import Commands
from norn_reconciler.jobs.cron import CronWork
from norn_reconciler.jobs.given import Given
from norn_reconciler.jobs.migrate import MigrateWork
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import DUE, LOST
from norn_reconciler.model.work import LongWork, Subject
from norn_reconciler.settings import Settings
from norn_reconciler.snapshots.work import SnapshotWork, own_database
from norn_reconciler.snapshotting import sources_of
from norn_reconciler.spec import plain

_SHOWN = 8  # characters: shorter values of `env` hide nothing, and masking them would hide much


def works_of(
    settings: Settings, providers: Mapping[str, AnyProvider], copying: Sequence[LongWork]
) -> Sequence[LongWork]:
    """The kinds of long work that run an app's command. copying: those that are about copies."""
    commands, given = commands_of(settings), given_of(settings, providers)
    snapshots = next(work for work in copying if isinstance(work, SnapshotWork))
    return (
        MigrateWork(settings.migrations, commands, snapshots, given),
        CronWork(settings.cron, commands, given),
    )


def commands_of(settings: Settings) -> Commands:
    return Commands(settings.commands_user, settings.migrations_dir)


def given_of(
    settings: Settings, providers: Mapping[str, AnyProvider]
) -> Callable[[Subject], Given]:
    """What an app's command is told: the variables of its env file, and its spec's own."""
    sources = sources_of(providers)

    def given(subject: Subject) -> Given:
        app, record = subject.app, subject.record
        database = own_database(sources, subject)[0] if sources.key in app.sections else ""
        variables: dict[str, str] = {}
        for key in sorted(app.sections):
            mark = subject.services[key].mark
            if mark is None or mark.fingerprint in {DUE, LOST}:
                raise NornError(
                    f"norn has no proven password of {app.name} on {key}: see norn status"
                )
            variables.update(providers[key].env(app, subject.credentials[key]))
        canonical = record.pinned.canonical if record.pinned else record.spec.canonical
        own = plain.env(settings.specs_dir, record.spec.file, canonical)
        passwords = [subject.credentials[key].password for key in app.sections]
        shown = deliver.mask(variables, passwords)
        secrets = (
            *(password.reveal() for password in passwords),
            *(value for name, value in variables.items() if shown[name] != value),
            *(value for value in own.values() if len(value) >= _SHOWN),
        )
        return Given(database, {**own, **variables}, secrets)

    return given


def hindrance(settings: Settings) -> Problem | None:
    """For `norn doctor`: what keeps every command from being run."""
    if not (settings.migrations or settings.cron):
        return None
    try:
        commands_of(settings).check()
    except NornError as fault:
        return Problem(Severity.BLOCKING, "CommandsUser", f"no app's command can be run: {fault}")
    return None
