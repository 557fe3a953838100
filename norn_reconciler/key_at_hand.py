"""The master key as this installation finds it, and whether it is the one of norn_db."""

from __future__ import annotations

import os
from pathlib import Path

from norn_reconciler import logs
from norn_reconciler.credentials import key as master_key
from norn_reconciler.credentials.derive import Derivation
from norn_reconciler.credentials.key import MasterKey
from norn_reconciler.model.app import AppName
from norn_reconciler.model.errors import KeyMismatch
from norn_reconciler.model.ports import SecretSource
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.settings import Settings


def key_file(settings: Settings) -> Path:
    """The setting, else systemd's credential, else a file in the state folder."""
    if settings.master_key_file is not None:
        return settings.master_key_file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / "master.key").exists():
        return Path(folder) / "master.key"
    return settings.state_dir / "master.key"


LOST_FOR_GOOD = "if it is lost for good: norn recover --new-key"


def at_hand(settings: Settings) -> MasterKey | None:
    """The master key, None where there is no file. Raises KeyMismatch for one that is none."""
    path = key_file(settings)
    try:
        return master_key.load(path) if path.exists() else None
    except OSError as unreadable:  # a folder on the way that we may not enter
        raise KeyMismatch(f"the master key {path} can't be read: {unreadable.strerror}") from None
    except master_key.KeyFileError as unusable:
        raise KeyMismatch(str(unusable)) from unusable


def held(settings: Settings, known: str | None) -> str:
    """Why the key at hand is not for norn_db's credentials; "" where it is, or where norn_db has
    none. known: the fingerprint in norn_db. Raises KeyMismatch for a file that holds no key."""
    key, path = at_hand(settings), key_file(settings)
    if known is None or (key is not None and key.fingerprint == known):
        return ""
    if key is None:
        return (
            f"norn_db holds credentials of the master key {known}, and {path} does not exist: "
            "bring that key back (NORN_MASTER_KEY_FILE)"
        )
    return (
        f"the master key {path} is {key.fingerprint}, norn_db's credentials are of {known}: "
        "nothing is changed until the right key is back (NORN_MASTER_KEY_FILE)"
    )


def secrets_of(settings: Settings, known: str | None, *, create: bool) -> tuple[SecretSource, str]:
    """The source of all passwords, and the master key's fingerprint.

    known: the fingerprint in norn_db. Raises KeyMismatch when the key at hand is another, or is
    missing while norn_db holds credentials: another working folder must never rotate a fleet.
    create: make a key where there is none (and none is known)."""
    if why := held(settings, known):
        raise KeyMismatch(f"{why}; {LOST_FOR_GOOD}")
    key = at_hand(settings)
    if key is None:
        if not create:
            return NoSecrets(), ""
        key = make(settings)
    return Derivation(key), key.fingerprint


def make(settings: Settings) -> MasterKey:
    """A new one, where there is no file. Raises KeyMismatch when it can't be written."""
    path = key_file(settings)
    try:
        key = master_key.create(path)
    except master_key.KeyFileError as refused:
        raise KeyMismatch(str(refused)) from refused
    logs.get().warning(
        logs.KEY_CREATED,
        file=str(path),
        fingerprint=key.fingerprint,
        message="back this file up",
    )
    return key


class NoSecrets:
    """Stands in where no key exists yet and none may be made: good enough to plan with."""

    def credential(self, app: AppName, service: str, generation: int) -> Credential:
        return Credential(Secret(""), CredentialMark("none", generation))
