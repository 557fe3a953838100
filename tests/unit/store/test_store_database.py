import pytest
from psycopg.conninfo import conninfo_to_dict

from norn_reconciler.model.errors import NornError, SchemaMismatch
from norn_reconciler.model.secret import Secret
from norn_reconciler.store.database import conninfo, session_name
from norn_reconciler.store.revisions import HEAD, verdict


def test_a_url_that_cannot_be_read_is_not_repeated():
    with pytest.raises(NornError) as caught:
        conninfo(Secret("postgresql://norn:hunter2@[::1"), "norn:a", 5.0)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_the_url_says_is_kept_and_our_limits_are_added():
    given = "postgresql://norn:p%40ss@db.example/norn_db?sslmode=verify-full&options=-cfoo.x%3D1"
    found = conninfo_to_dict(conninfo(Secret(given), "norn:a", 2.5))
    assert found["password"] == "p@ss"
    assert found["sslmode"] == "verify-full"
    assert found["application_name"] == "norn:a"
    assert found["options"].startswith("-cfoo.x=1 ")
    assert "-c statement_timeout=2500" in found["options"]


def test_a_session_name_is_what_the_server_keeps_of_it():
    assert session_name("höst-" + "x" * 80) == "norn:h?st-" + "x" * 53


@pytest.mark.parametrize(("found", "word"), [(None, "no tables"), ("9999", "newer")])
def test_another_schema_is_refused_with_what_to_do(found, word):
    with pytest.raises(SchemaMismatch, match=word):
        verdict(found)


def test_the_own_schema_is_accepted():
    verdict(HEAD)
