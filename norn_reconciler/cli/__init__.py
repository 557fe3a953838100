"""`norn`: one module a group of commands. They parse and print; deciding is done elsewhere."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `norn` and `norn-reconciler` commands."""
    from norn_reconciler.cli.app import app  # noqa: PLC0415 -- keeps `import` of the package cheap
    from norn_reconciler.model.errors import NornError  # noqa: PLC0415

    try:
        app()
    except NornError as fault:
        sys.exit(f"norn: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)
