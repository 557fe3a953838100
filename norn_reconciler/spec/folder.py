"""Which files of the specs folder are specs: *.yaml, *.yml, and infraspec.yaml one folder down."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from norn_reconciler.model.fleet import Folder

NESTED = "infraspec.yaml"


@dataclass(frozen=True, slots=True)
class Listing:
    """files: paths relative to the folder, sorted. folder: what the folder looked like."""

    folder: Folder
    files: tuple[str, ...] = ()


def list_specs(directory: Path) -> Listing:
    """Names only; nothing is opened. Hidden files and those of editors are no specs."""
    files: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith((".", "#", "~")):
                    continue
                if entry.name.endswith((".yaml", ".yml")):
                    files.append(entry.name)
                elif _may_hold_spec(entry):
                    files.append(f"{entry.name}/{NESTED}")
    except FileNotFoundError:
        return Listing(Folder.MISSING)
    except OSError:
        return Listing(Folder.UNREADABLE)
    # A name that is no UTF-8 could go neither into norn_db nor into a log line.
    files = [name for name in files if name.isprintable()]
    return Listing(Folder.OK if files else Folder.EMPTY, tuple(sorted(files)))


def _may_hold_spec(entry: os.DirEntry[str]) -> bool:
    """A folder with an infraspec.yaml, or one that can't be asked (no answer is not none)."""
    if entry.is_file(follow_symlinks=False):
        return False
    inside = Path(entry.path) / NESTED
    try:
        inside.lstat()
    except (FileNotFoundError, NotADirectoryError):
        # A link to a lost mount: its file may be out of reach, not removed.
        return entry.is_symlink() and not Path(entry.path).exists()
    except OSError:
        return True
    return True
