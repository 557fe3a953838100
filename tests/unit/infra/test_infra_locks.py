"""The pinned packages: whole, with digests, and nothing of the machine that made the files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
WANTED = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-dev.lock": [
        *PROJECT["project"]["dependencies"], *GROUPS["embedded"], *GROUPS["dev"],
    ],
    "infra/build.lock": PROJECT["build-system"]["requires"],
}  # fmt: skip


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {re.sub(r"[._]", "-", package): version for package, version in found}


@pytest.mark.parametrize("name", WANTED)
def test_every_declared_version_is_the_locked_one(name: str) -> None:
    locked = pins(name)
    for requirement in WANTED[name]:
        package, version = re.sub(r"\[.*\]", "", requirement).split("==")
        assert locked[re.sub(r"[._]", "-", package).lower()] == version, requirement


@pytest.mark.parametrize("name", WANTED)
def test_every_entry_has_digests_and_nothing_else(name: str) -> None:
    for entry in (ROOT / name).read_text().replace(" \\\n", " ").splitlines():
        assert re.fullmatch(
            r"[a-z0-9._-]+==[^\s;]+( ; [^:/]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry
        ), entry
