"""Settings → providers. The only place that knows both; drivers are imported when one is made."""

from __future__ import annotations

from typing import cast
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from norn_reconciler.model.errors import NornError
from norn_reconciler.model.ports import AnyProvider
from norn_reconciler.model.secret import Secret
from norn_reconciler.settings import Settings


def _secret(value: SecretStr) -> Secret:
    return Secret(value.get_secret_value())


def postgres(settings: Settings, instance: str) -> AnyProvider | None:
    if settings.postgres_url is None:
        return None
    from norn_reconciler.providers.postgres.provider import PostgresProvider  # noqa: PLC0415

    own = urlsplit(settings.database_url.get_secret_value())
    return cast(
        AnyProvider,
        PostgresProvider(
            _secret(settings.postgres_url),
            advertised=settings.postgres_advertised,
            sslmode=settings.postgres_sslmode,
            request_timeout=settings.request_timeout_seconds,
            norn_users=frozenset({"norn", unquote(own.username or "norn")}),  # norn owns norn_db
            norn_databases=frozenset({own.path.lstrip("/")} - {""}),
            instance=instance,
        ),
    )


def kv(settings: Settings, instance: str) -> AnyProvider | None:
    if settings.valkey_url is None:
        return None
    from norn_reconciler.providers.kv.endpoint import Endpoint  # noqa: PLC0415
    from norn_reconciler.providers.kv.provider import KvProvider  # noqa: PLC0415

    try:
        endpoint = Endpoint(_secret(settings.valkey_url), settings.valkey_advertised)
    except ValueError as fault:
        raise NornError(str(fault)) from None
    return cast(
        AnyProvider,
        KvProvider(
            endpoint,
            request_timeout=settings.request_timeout_seconds,
            config_rewrite=settings.valkey_config_rewrite,
        ),
    )


def events(settings: Settings, instance: str) -> AnyProvider | None:
    if settings.redpanda_brokers is None:
        return None
    from norn_reconciler.providers.events.provider import EventsProvider  # noqa: PLC0415

    ca_file = settings.redpanda_ca_file
    return cast(
        AnyProvider,
        EventsProvider(
            brokers=settings.redpanda_brokers,
            security_protocol=settings.redpanda_security_protocol,
            sasl_mechanism=settings.redpanda_sasl_mechanism,
            username=settings.redpanda_username,
            password=_secret(settings.redpanda_password) if settings.redpanda_password else None,
            ca_file=str(ca_file) if ca_file else None,
            advertised=settings.redpanda_advertised,
            request_timeout=settings.request_timeout_seconds,
        ),
    )
