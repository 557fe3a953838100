"""SCRAM verifiers, held against libpq's."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.pq import PGconn

from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres import verifier

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_libpqs_verifier_is_recognised_and_equal_for_its_salt() -> None:
    conn = PGconn.connect_start(b"host=/nonexistent")
    made = conn.encrypt_password(b"secret-1", b"app", b"scram-sha-256").decode()
    conn.finish()
    assert verifier.matches(made, Secret("secret-1"))
    assert not verifier.matches(made, Secret("secret-2"))


def test_the_known_vector_of_rfc_7677() -> None:
    """Its StoredKey and ServerKey follow from the exchange that RFC 7677 prints."""
    made = verifier.make(Secret("pencil"), base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    server_key = base64.b64decode(made.rpartition(":")[2])
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(server_key, message, hashlib.sha256)
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@given(st.text(ALPHABET, min_size=1, max_size=60), st.text(ALPHABET, min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_only_the_same_password_matches(one: str, other: str) -> None:
    made = verifier.make(Secret(one))
    assert verifier.matches(made, Secret(one))
    assert verifier.matches(made, Secret(other)) == (one == other)
    assert verifier.make(Secret(one)) != made  # another salt


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:A$A:A",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA\n",
        "SCRAM-SHA-256$999999999:AAAA$AAAA:AAAA",  # an app's own: it must not cost minutes
    ],
)
def test_anything_else_does_not_match(stored: str | None) -> None:
    assert not verifier.matches(stored, Secret("x"))
