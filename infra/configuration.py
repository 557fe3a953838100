"""norn.toml as `make infra` and `make db` write it. An operator's own file is never changed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADER = "# Written by make infra and make db; delete this line to make the file your own.\n"


def read(path: Path) -> Mapping[str, Any]:
    """The settings in it; empty when there is none. Raises ValueError when it is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def write(path: Path, settings: Mapping[str, str]) -> None:
    """Bring `settings` into our own file, keeping the others in it; beside an operator's file, put
    what it lacks into .norn/connections.toml and say so."""
    known = read(path)
    if path.exists() and not path.read_text().startswith(HEADER):
        missing = {key: value for key, value in settings.items() if known.get(key) != value}
        if missing:
            spare = path.parent / ".norn" / "connections.toml"
            _replace(spare, "# Copy these into norn.toml.\n", missing)
            print(
                f"{path} is yours and stays as it is; {spare} has what it lacks, or has otherwise:"
            )
            print(f"  {', '.join(missing)}")
        return
    if {**known, **settings} != known:
        _replace(path, HEADER, {**known, **settings})
        print(f"the connections are in {path}")


def _replace(path: Path, header: str, settings: Mapping[str, Any]) -> None:
    """Whole, and for its owner alone: it holds passwords."""
    path.parent.mkdir(mode=0o711, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(header)
        out.writelines(f"{key} = {_literal(value)}\n" for key, value in sorted(settings.items()))
    fresh.rename(path)


def _literal(value: object) -> str:
    """JSON's strings, numbers and booleans are TOML's too, but for two things: TOML has no
    surrogate pairs, and wants U+007F escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
