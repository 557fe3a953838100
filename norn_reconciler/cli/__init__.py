"""`norn`: one module a group of commands. They parse and print; deciding is done elsewhere."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point of the `norn` and `norn-reconciler` commands."""
    # What imports make lives to the end: to look for garbage in it is a tenth of a short command.
    gc.set_threshold(20_000, 20, 20)
    from norn_reconciler.cli.app import app, load  # noqa: PLC0415 -- keeps `import` of the package cheap
    from norn_reconciler.journal import failure  # noqa: PLC0415
    from norn_reconciler.model.errors import expected, sentence  # noqa: PLC0415

    load(sys.argv[1] if len(sys.argv) > 1 else "")
    gc.freeze()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as fault:
        if not (told := expected(fault)):
            raise
        sys.exit(failure("\n".join(dict.fromkeys(f"norn: {sentence(error)}" for error in told))))
