"""Which schema this program speaks. Apart from schema.py, so that no start pays for it."""

from __future__ import annotations

from norn_reconciler.model.errors import SchemaMismatch, SchemaMissing, SchemaNewer

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
)  # oldest first; a test holds them against store/migrations/versions
HEAD = REVISIONS[-1]


def verdict(found: str | None) -> None:
    """Raise SchemaMismatch unless `found` is HEAD; SchemaNewer where it is a later one. None:
    norn_db has no schema of ours (SchemaMissing)."""
    if found is None:
        raise SchemaMissing("norn_db has no tables of norn-reconciler yet: norn db upgrade")
    if found not in REVISIONS:
        raise SchemaNewer(
            f"norn_db's schema {found} is newer than this program's {HEAD}: "
            "install the norn-reconciler that made it, or a newer one"
        )
    if found != HEAD:
        raise SchemaMismatch(f"norn_db's schema {found} is older than {HEAD}: norn db upgrade")
