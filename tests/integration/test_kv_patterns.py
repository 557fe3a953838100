"""Patterns of keys mean to norn what they mean to the server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from norn_reconciler.providers.kv.strangers import reaches
from tests.integration.kv_servers import OwnServer, connected

LETTERS = "a]-\\!z"
LONGEST = 4
KEYS = ["".join(key) for length in range(1, LONGEST + 1) for key in product(LETTERS, repeat=length)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    own = OwnServer(tmp_path_factory.mktemp("patterns")).start()
    own.do("MSET", *(word for key in KEYS for word in (key, "1")))
    yield own
    own.stop()


@settings(max_examples=500, deadline=None)
@given(st.text("az]-\\[^*?", max_size=7), st.text(LETTERS, min_size=1, max_size=2))
@example(r"[\]]", "]")
@example(r"[\]]", "\\")
@example(r"[^\]]*", "]")
@example(r"[a\]z]*", "z")
@example(r"[\a-z]*", "!")
@example(r"[\a-z]*", "-")
@example("[!-\\]]", "]")
@example("[a-]z]*", "z")
@example("[]a]*", "a")
@example("[^]a", "za")
@example("[a", "a")
@example("[^", "z")
@example("a\\", "a\\")
def test_norn_reads_a_pattern_as_the_server_does(
    server: OwnServer, pattern: str, prefix: str
) -> None:
    with connected(server.url) as client:
        found = client.execute_command("KEYS", pattern)
    if any(key.startswith(prefix) for key in found):
        assert reaches(pattern, prefix)
    elif found and len(prefix) == 1 and len(pattern) <= LONGEST:  # longer ones: of longer keys
        assert not reaches(pattern, prefix)
