"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5803's form), made and checked here, so
that no clear password reaches the server's log. hashlib takes a third of libpq's time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import unicodedata

from norn_reconciler.model.secret import Secret

ITERATIONS = 4096  # the server's default of scram_iterations
_SALT_BYTES = 16
# An app may store a verifier of its own making: its iterations must not cost norn minutes.
_MOST_ITERATIONS = 100_000
_FORM = re.compile(
    r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


def make(password: Secret, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """`SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. salt: random unless given."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    text = unicodedata.normalize("NFKC", password.reveal()).encode()
    salted = hashlib.pbkdf2_hmac("sha256", text, salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    return f"SCRAM-SHA-256${iterations}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def matches(stored: str | None, password: Secret) -> bool:
    """Whether `stored` was made from `password`. False for MD5, none and anything unreadable."""
    form = _FORM.fullmatch(stored or "")
    if form is None:
        return False
    if not 1 <= int(form[1]) <= _MOST_ITERATIONS:
        return False
    try:
        salt = base64.b64decode(form[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(make(password, salt, int(form[1])), form[0])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
