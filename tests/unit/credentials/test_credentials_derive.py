"""Passwords from the master key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.credentials.derive import Derivation
from norn_reconciler.credentials.key import MasterKey
from norn_reconciler.model.app import AppName
from norn_reconciler.model.secret import CredentialMark

KEY = MasterKey(bytes(range(32)))
SOURCE = Derivation(KEY)
MAIL = AppName("mail-agent")


@pytest.mark.parametrize(
    ("service", "generation", "password"),
    [
        # Computed by `openssl kdf … HKDF` with the same salt and info.
        ("kv", 1, "GPnr3XG4ZI1XOwfZdfDlobJMVJ5AaDXM3kzbcNh8x-o"),
        ("postgres", 1, "VBUpdl0Dz2aCn7Pr2rcN0RZWE67_HbPFq1ApZpZ6d8Q"),
        ("kv", 2, "1BpheSN6UlOzEYP4m3tShwKHzWcspYKs_D3EEmcV8Vc"),
    ],
)
def test_known_answers(service: str, generation: int, password: str) -> None:
    made = SOURCE.credential(MAIL, service, generation)
    assert made.password.reveal() == password
    assert made.mark == CredentialMark(KEY.fingerprint, generation)


def test_another_key_makes_another_password_and_mark() -> None:
    other = Derivation(MasterKey(bytes(32))).credential(MAIL, "kv", 1)
    mine = SOURCE.credential(MAIL, "kv", 1)
    assert other.password != mine.password
    assert other.mark != mine.mark


NAMES = st.text(alphabet="ab-1", min_size=1, max_size=4)
WHICH = st.tuples(NAMES, NAMES, st.integers(1, 12))


@given(one=WHICH, two=WHICH)
def test_every_password_is_its_own_and_in_the_alphabet(
    one: tuple[str, str, int], two: tuple[str, str, int]
) -> None:
    a = SOURCE.credential(AppName(one[0]), *one[1:]).password
    b = SOURCE.credential(AppName(two[0]), *two[1:]).password
    assert (a == b) == (one == two)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", a.reveal())


def test_where_a_part_ends_counts() -> None:
    assert (
        SOURCE.credential(AppName("a"), "bkv", 1).password
        != SOURCE.credential(AppName("ab"), "kv", 1).password
    )


@pytest.mark.parametrize("generation", [0, -1])
def test_generations_count_from_one(generation: int) -> None:
    with pytest.raises(ValueError, match="from 1"):
        SOURCE.credential(MAIL, "kv", generation)


def test_a_credential_shows_nothing() -> None:
    made = SOURCE.credential(MAIL, "kv", 1)
    assert made.password.reveal() not in f"{made} {made!r} {SOURCE!r}"
