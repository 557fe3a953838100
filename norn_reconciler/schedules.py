"""When a cron expression is due. Pure; UTC, so that no hour comes twice or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_LONGEST = 200  # characters
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """expression: five fields."""

    expression: str

    def after(self, moment: datetime) -> datetime:
        """The first time that it is due after `moment`, which has a time zone."""
        return next(CronSim(self.expression, moment.astimezone(UTC)))


def parse(text: str) -> Schedule:
    """Raises ValueError, with words for a person."""
    name = text.strip().lower()
    expression = _NAMED.get(name, text)
    if name.startswith("@") and name not in _NAMED:
        raise ValueError(f"not one of {', '.join(sorted(_NAMED))}")
    if len(expression) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError(
            f"{len(fields)} fields instead of 5 (minute, hour, day of month, month, day of week), "
            'such as "15 3 * * *"'
        )
    schedule = Schedule(" ".join(fields))
    try:
        schedule.after(_BEGIN)
    except CronSimError as fault:
        raise ValueError(f"the {str(fault).removeprefix('Bad ')} can't be read") from fault
    except StopIteration as fault:
        raise ValueError("no such day ever comes") from fault
    return schedule
