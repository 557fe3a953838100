"""Addresses: the admin's, and what apps are told."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.postgres.endpoint import Endpoint, with_port

PASSWORD = Secret("p_w-1")


def endpoint(url: str) -> Endpoint:
    return Endpoint.parse(Secret(url))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a:b@db.example/postgres", "db.example:5432"),
        ("postgresql://a:b@db.example:6000/x", "db.example:6000"),
        ("postgres://a@[::1]:6000/", "[::1]:6000"),
        ("postgres://a@[::1]", "[::1]:5432"),
        ("postgresql://h1:1,h2:2/x", "h1:1,h2:2"),
        ("postgresql:///x", "localhost:5432"),
        ("postgresql:///x?host=db.example&port=7", "db.example:7"),
    ],
)
def test_apps_are_told_the_admins_address(url: str, expected: str) -> None:
    app_url = endpoint(url).app_url("mail", PASSWORD, "mail_db", "disable").reveal()
    assert app_url == f"postgres://mail:p_w-1@{expected}/mail_db?sslmode=disable"


@pytest.mark.parametrize(
    "url", ["postgresql:///x?host=/run/postgresql", "postgresql://a@%2Frun%2Fpostgresql/x"]
)
def test_a_socket_is_told_as_a_socket(url: str) -> None:
    app_url = endpoint(url).app_url("mail", PASSWORD, "mail_db", "disable").reveal()
    expected = "postgres://mail:p_w-1@/mail_db?sslmode=disable&host=%2Frun%2Fpostgresql"
    assert app_url == expected


def test_an_advertised_address_takes_its_place() -> None:
    admin = endpoint("postgresql://a:b@10.0.0.1:6000/postgres?sslrootcert=/ca.pem")
    assert admin.advertised(None) is admin
    assert admin.advertised("db.example").hosts == "db.example:5432"
    assert admin.advertised("db.example:6001").hosts == "db.example:6001"
    assert admin.advertised("db.example").trust == (("sslrootcert", "/ca.pem"),)


def test_the_admins_user_and_database() -> None:
    found = endpoint("postgresql://norn%40x:b@h/")
    assert (found.user, found.database) == ("norn@x", "postgres")


@pytest.mark.parametrize("url", ["mysql://a:geheim@h/x", "a:geheim@h", ""])
def test_another_scheme_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(NornError) as caught:
        endpoint(url)
    assert "geheim" not in str(caught.value)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_text_survives_the_url(role: str, password: str, database: str) -> None:
    try:
        (role + password + database).encode()
    except UnicodeEncodeError:
        return
    url = endpoint("postgresql://h/x").app_url(role, Secret(password), database, "require")
    parts = urlsplit(url.reveal())
    assert unquote(parts.username or "") == role
    assert unquote(parts.password or "") == password
    assert unquote(parts.path[1:]) == database
    assert parse_qs(parts.query) == {"sslmode": ["require"]}
    assert parts.hostname == "h"


def test_each_host_gets_a_port() -> None:
    assert with_port("a,b:1,[::1]", "9") == "a:9,b:1,[::1]:9"
