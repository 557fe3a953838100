"""What drivers say by the standard library's logging, as log lines like ours."""

from __future__ import annotations

import logging

from norn_reconciler import logs


class Drivers(logging.Handler):
    """Hands each record on as one event; where it goes, and in which form, is logs' business."""

    def emit(self, record: logging.LogRecord) -> None:
        write = logs.get().error if record.levelno >= logging.ERROR else logs.get().warning
        said = " ".join(record.getMessage().split())
        fault = record.exc_info[1] if record.exc_info else None
        write(logs.DRIVER_WARNED, driver=record.name, message=said, exc_info=fault)
