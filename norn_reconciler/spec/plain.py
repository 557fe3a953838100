"""The values of `env`, in clear, for the moment that a command needs them: a spec in memory and in
norn_db holds their digests only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from norn_reconciler.model.errors import NornError
from norn_reconciler.spec import read
from norn_reconciler.spec.document import Spec, as_text, digest
from norn_reconciler.spec.tree import TreeError, parse


def env(folder: Path, file: str, canonical: str) -> Mapping[str, str]:
    """From the file that `canonical`, the spec in force, was made of. Raises NornError where it
    says something else by now."""
    wanted = Spec.from_canonical(canonical).env
    if not wanted:
        return {}
    content = read.read(folder / file)
    try:
        said = parse(content.raw.decode("utf-8-sig")) if isinstance(content, read.Content) else None
    except (TreeError, UnicodeDecodeError):
        said = None
    data = said.data if said is not None and isinstance(said.data, dict) else {}
    given = data.get("env")
    found = {
        name: "" if value is None else as_text(value) or ""
        for name, value in (given if isinstance(given, dict) else {}).items()
    }
    if {name: digest(value) for name, value in found.items()} != wanted:
        raise NornError(f"the values of env are not those in force: {file} says something else")
    return found
