"""Addresses: norn's URL and what the apps are told."""

from __future__ import annotations

import pytest

from norn_reconciler.model.app import App, AppName
from norn_reconciler.model.secret import Credential, CredentialMark, Secret
from norn_reconciler.providers import build
from norn_reconciler.providers.kv.endpoint import Address, Endpoint
from norn_reconciler.providers.kv.provider import KvProvider
from norn_reconciler.providers.kv.section import KvSection
from norn_reconciler.settings import Settings

URL = "valkey://norn-admin:p%40ss%2Fw@10.0.0.1:6390/0"


def endpoint(url: str = URL, advertised: str | None = None) -> Endpoint:
    return Endpoint(Secret(url), advertised)


def test_norns_own_way_in() -> None:
    assert endpoint().username == "norn-admin"
    assert endpoint().password == Secret("p@ss/w")
    assert endpoint().own_address == Address("10.0.0.1", 6390)
    assert endpoint("redis://:pw@h").username == "default"
    assert endpoint("redis://:pw@h").own_address == Address("h", 6379)


@pytest.mark.parametrize(
    ("url", "advertised", "address"),
    [
        (URL, None, Address("10.0.0.1", 6390)),
        (URL, "", Address("10.0.0.1", 6390)),
        (URL, "kv.internal:7000", Address("kv.internal", 7000)),
        (URL, "kv.internal", Address("kv.internal", 6390)),
        (URL, "[::1]:7000", Address("::1", 7000)),
        (URL, "rediss://kv.internal:7000", Address("kv.internal", 7000, tls=True)),
        ("rediss://u:p@h:1", None, Address("h", 1, tls=True)),
        ("valkeys://u:p@h:1", "x:2", Address("x", 2, tls=True)),
        ("valkeys://u:p@h:1", "valkey://x:2", Address("x", 2)),
    ],
)
def test_the_apps_way_in(url: str, advertised: str | None, address: Address) -> None:
    assert endpoint(url, advertised).address == address


@pytest.mark.parametrize(
    "url", ["", "hush", "http://u:hush@h", "valkey://u:hush@h:x", "valkey://u:hush@", "//hush@h"]
)
def test_a_bad_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="NORN_VALKEY_URL") as caught:
        endpoint(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("advertised", ["u:p@h:1", "h:x", "http://h", ":"])
def test_a_bad_advertised_address_is_told(advertised: str) -> None:
    with pytest.raises(ValueError, match="NORN_VALKEY_ADVERTISED"):
        endpoint(advertised=advertised)


def test_an_endpoint_shows_no_password() -> None:
    assert "p%40ss" not in f"{endpoint()} {endpoint()!r}"


def credential() -> Credential:
    return Credential(Secret("pw-_9"), CredentialMark("f", 1))


@pytest.mark.parametrize(
    ("url", "advertised", "valkey", "redis"),
    [
        (URL, None, "valkey://mail:pw-_9@10.0.0.1:6390/0", "redis://mail:pw-_9@10.0.0.1:6390/0"),
        (URL, "[::1]:7", "valkey://mail:pw-_9@[::1]:7/0", "redis://mail:pw-_9@[::1]:7/0"),
        (
            "rediss://a:b@h:1?ssl_ca_certs=/x",
            None,
            "valkeys://mail:pw-_9@h:1/0",
            "rediss://mail:pw-_9@h:1/0",
        ),
    ],
)
def test_what_an_app_is_given(url: str, advertised: str | None, valkey: str, redis: str) -> None:
    provider = KvProvider(endpoint(url, advertised))
    app = App(AppName("mail"), {"kv": KvSection(namespace="ns")})
    assert provider.env(app, credential()) == {
        "VALKEY_URL": valkey,
        "REDIS_URL": redis,
        "KV_NAMESPACE": "ns",
    }
    assert provider.env(App(AppName("mail"), {}), credential()) == {}


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORN_VALKEY_URL", raising=False)
    assert build.kv(Settings(), "i") is None
    monkeypatch.setenv("NORN_VALKEY_URL", URL)
    monkeypatch.setenv("NORN_VALKEY_ADVERTISED", "kv:1")
    provider = build.kv(Settings(), "i")
    assert provider is not None
    app = App(AppName("mail"), {"kv": KvSection(namespace="ns")})
    assert provider.env(app, credential())["REDIS_URL"] == "redis://mail:pw-_9@kv:1/0"
