"""Passwords, derived: nothing but the master key is kept, and every password can be made again."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from norn_reconciler.credentials.key import MasterKey
from norn_reconciler.model.app import AppName
from norn_reconciler.model.secret import Credential, CredentialMark, Secret

_BYTES = 32
# Changing either changes every password of every installation.
_SALT = b"norn-reconciler credential v1"


class Derivation:
    """Implements model.ports.SecretSource by HKDF-SHA256 (RFC 5869)."""

    def __init__(self, key: MasterKey) -> None:
        self._key = key
        self._made: dict[tuple[AppName, str, int], Credential] = {}

    def credential(self, app: AppName, service: str, generation: int) -> Credential:
        """The password of (app, service, generation): 43 characters of A-Z a-z 0-9 - _, 256 bits.

        generation: 1, 2, …; raises ValueError for any other.
        """
        if generation < 1:
            raise ValueError("generations count from 1")
        which = (app, service, generation)
        if which not in self._made:  # each round asks again
            self._made[which] = self._derive(app, service, generation)
        return self._made[which]

    def _derive(self, app: AppName, service: str, generation: int) -> Credential:
        kdf = HKDF(SHA256(), _BYTES, _SALT, _info(app, service, str(generation)))
        derived = base64.urlsafe_b64encode(kdf.derive(self._key.reveal())).rstrip(b"=")
        return Credential(
            Secret(derived.decode("ascii")), CredentialMark(self._key.fingerprint, generation)
        )


def _info(*parts: str) -> bytes:
    """The parts, each with its length before it: ("a", "bc") and ("ab", "c") must differ."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
