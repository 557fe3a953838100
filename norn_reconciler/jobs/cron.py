"""The operation `cron`: one run of the command of an app with role cron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from norn_reconciler import logs
from norn_reconciler.jobs.commands import Commands
from norn_reconciler.jobs.given import Given
from norn_reconciler.jobs.output import Output
from norn_reconciler.model.cron import Execution
from norn_reconciler.model.errors import LeaseLost, NornError, StoreUnavailable, sentence
from norn_reconciler.model.records import Changes, Operation
from norn_reconciler.model.work import Steps, Subject

KIND = "cron"
RESTARTED = "norn restarted during the run"
OFF = "norn runs no commands by the clock: NORN_CRON=on in its settings, and a restart, allow it"
UNKNOWN = -1  # exit code of what was never begun, or never seen to end


class CronWork:
    """A run that was cut off is not run again: its next time comes. given: raises NornError where
    norn cannot log in as the app."""

    kind = KIND
    exclusive = False
    of_removed = False

    def __init__(
        self, allowed: bool, commands: Commands, given: Callable[[Subject], Given]
    ) -> None:
        self._allowed = allowed
        self._commands = commands
        self._given = given

    async def run(self, operation: Operation, subject: Subject | None, steps: Steps) -> str:
        assert subject is not None, "a run is of an app"
        app, job = subject.app.name, subject.job
        begun = operation.arguments.get("begun")
        run = Execution(app, datetime.fromisoformat(str(begun)) if begun else datetime.now(UTC))
        if begun:
            await steps.write(Changes(executions=[run.ended(UNKNOWN, RESTARTED)]))
            raise NornError(RESTARTED)
        if not self._allowed:
            raise NornError(OFF)
        if job is None:
            raise NornError(f"{app} has no role cron by its spec")
        await steps.begin("run", begun=run.started_at.isoformat())
        await steps.write(Changes(executions=[run]))

        def say(line: str) -> None:
            logs.get().info(logs.CRON_SAID, app=app, id=operation.id, line=line)

        async def tell() -> None:
            nonlocal run
            if output.text != run.output:
                run = replace(run, output=output.text)
                await steps.write(Changes(executions=[run]))

        output = Output((), say)
        try:
            given = self._given(subject)
            output = Output(given.secrets, say)
            environment = {**given.environment, "NORN_APP": app}
            ended = await self._commands.run(
                app, job.command, environment, job.timeout, output, tell
            )
        except (LeaseLost, StoreUnavailable):
            raise
        except (NornError, OSError) as fault:
            text = sentence(fault) if isinstance(fault, NornError) else str(fault.strerror)
            await steps.write(Changes(executions=[run.ended(UNKNOWN, text)]))
            raise NornError(text) from fault
        await steps.write(Changes(executions=[run.ended(ended.code, output.text, late=ended.late)]))
        if ended.late:
            raise NornError(f"the command took over {job.timeout} s, and was ended")
        if ended.code != 0:
            raise NornError(f"the command ended with exit code {ended.code}")
        return f"{app} has run"
