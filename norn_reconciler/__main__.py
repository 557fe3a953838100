"""`python -m norn_reconciler` is the `norn` command."""

from norn_reconciler.cli import main

main()
