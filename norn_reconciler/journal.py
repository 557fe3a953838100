"""What journald reads from a stream: each line may begin with its priority, sd-daemon(3)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

PRIORITIES: Mapping[str, int] = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def leads_there(stream: Any, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is connected to the journal: systemd names its device and inode,
    systemd.exec(5). A child whose output goes elsewhere inherits the variable all the same."""
    try:
        found = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):  # not a file at all, or closed
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def marked(text: str, level: str) -> str:
    """The text with its priority in front of each line: journald makes each an entry."""
    mark = f"<{PRIORITIES[level]}>"
    return mark + text.replace("\n", f"\n{mark}")


def failure(text: str) -> str:
    """A text for standard error, marked where that leads to the journal."""
    return marked(text, "error") if leads_there(sys.stderr) else text
