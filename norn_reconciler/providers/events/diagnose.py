"""What `norn doctor` looks at: rights, that a wrong password and a stranger are really refused."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from norn_reconciler.model.errors import ServiceError
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.providers.events.client import EventsClient
from norn_reconciler.providers.events.faults import SCRAM_NEEDED, admin_rights
from norn_reconciler.providers.events.login import LoginRefused, log_in, session
from norn_reconciler.providers.events.powers import other_admins, unknown_users
from norn_reconciler.providers.events.prove import ACLS_SHOWN, CLUSTER_AUTHORIZATION_FAILED
from norn_reconciler.providers.events.read import denied_on_topic, read_acls, read_users
from norn_reconciler.providers.events.state import MECHANISM
from norn_reconciler.providers.events.write import salted

_NEEDED = frozenset({"ALTER", "CREATE", "DESCRIBE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"})
_PUBLISHED = frozenset(
    {
        "admin", "admin-secret", "changeme", "kafka", "norn", "password", "redpanda",
        "secret", "secretpassword", "superuser",
    }
)  # fmt: skip
_NEW_USER_PATIENCE = 3.0  # seconds
_PAUSE = 0.1


async def diagnose(client: EventsClient, health: Health) -> Health:
    """health: of the cheap check; with findings added. Makes one SCRAM user without any right for
    the moment it takes to see that it is denied, and deletes it."""
    if not health.ok:
        return health
    findings: list[Problem] = []
    try:
        findings += await _rights(client)
        findings += await _topic_rights(client)
        findings += await _passwords(client)
        if not any(finding.severity is Severity.BLOCKING for finding in findings):
            findings += await _authorisation(client)
    except ServiceError as error:
        findings.append(_blocking(error.reason, str(error), error.remedy))
    blocked = any(finding.severity is Severity.BLOCKING for finding in findings)
    return replace(health, ok=not blocked, findings=tuple(findings))


async def _rights(client: EventsClient) -> list[Problem]:
    from norn_reconciler.providers.events import wire  # noqa: PLC0415  -- imports the driver

    if not await client.has_scram():
        return [_blocking("BrokerTooOld", SCRAM_NEEDED, "upgrade the broker")]
    # Raises Denied where authorisation is off, or may not be read.
    acls = await read_acls(client)
    findings = other_admins(acls, client.username)
    findings += unknown_users(await read_users(client), acls, client.username)
    cluster = await client.ask(wire.describe_cluster_request())
    allowed = wire.authorized_operations(cluster.authorized_operations)
    missing = _NEEDED - allowed if allowed is not None and "ALL" not in allowed else frozenset()
    if not missing:
        return findings
    return [
        *findings,
        _blocking(
            "Denied",
            f"norn's user {client.username} lacks {', '.join(sorted(missing))} on the cluster",
            admin_rights(client.username),
        ),
    ]


async def _topic_rights(client: EventsClient) -> list[Problem]:
    """What norn does with topics, asked of one that nobody has: the broker looks at the right
    first, and nothing is changed. No app has that prefix, since apps are written small."""
    name = f"Norn-Doctor-{secrets.token_hex(8)}"
    missing = await denied_on_topic(client, name)
    if not missing:
        return []
    return [
        _blocking(
            "Denied",
            f"norn's user {client.username} lacks {', '.join(missing)} on topics",
            admin_rights(client.username),
        )
    ]


async def _passwords(client: EventsClient) -> list[Problem]:
    if not client.endpoint.sasl or client.username is None:
        return [
            _blocking(
                "NoAuthentication",
                f"{client.endpoint.security_protocol}: the broker takes anybody without a password",
                "give the broker a SASL listener and set NORN_REDPANDA_SECURITY_PROTOCOL",
            )
        ]
    findings: list[Problem] = []
    if client.has_password_among(_PUBLISHED | {client.username}):
        findings.append(
            Problem(
                Severity.WARNING,
                "DefaultPassword",
                f"the password of {client.username} is a published default",
                f"rpk security user update {client.username} --new-password <generated> "
                f"--mechanism {client.mechanism}, then NORN_REDPANDA_PASSWORD",
            )
        )
    try:
        wrong = Secret(secrets.token_urlsafe(32))
        await log_in(client.endpoint, client.mechanism, client.username, wrong)
    except LoginRefused:
        return findings
    return [
        *findings,
        _blocking(
            "WrongPasswordAccepted",
            "the broker takes a wrong password: no login proves anything",
            "check the listener's SASL settings",
        ),
    ]


async def _authorisation(client: EventsClient) -> list[Problem]:
    """ACLs can be written while nobody looks at them: only a denial proves that they count."""
    from kafka.protocol.admin import DescribeAclsResponse  # noqa: PLC0415

    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    async with _stranger(client) as (user, password), session(client.endpoint) as one:
        try:
            await _patiently_log_in(client, user, password)
            await one.authenticate(MECHANISM, user, password)
        except LoginRefused as error:
            return [
                _blocking(
                    "LoginRefused",
                    f"a user that was just made cannot log in by {MECHANISM}: {error}",
                    f"enable {MECHANISM} on the listener",
                )
            ]
        # Listing ACLs needs a right on the cluster that no app has. Version 1: brokers of any age.
        answer = await asyncio.wait_for(
            one.ask(wire.describe_acls_request(), DescribeAclsResponse, 1), client.endpoint.timeout
        )
    return acls_shown(answer.error_code)


def acls_shown(code: int) -> list[Problem]:
    """What it says that a user without any right got this code when it asked for all ACLs."""
    if code == CLUSTER_AUTHORIZATION_FAILED:
        return []
    if code not in ACLS_SHOWN:
        said = f"asked for all ACLs, the broker answers a user without any right Kafka error {code}"
        return [Problem(Severity.WARNING, "NotChecked", f"whether ACLs protect anything: {said}")]
    return [
        _blocking(
            "AuthorisationOff",
            "a user without any right may list ACLs: authorisation is off, ACLs protect nothing",
            "rpk cluster config set kafka_enable_authorization true, or on Kafka set "
            "authorizer.class.name and allow.everyone.if.no.acl.found=false",
        )
    ]


@asynccontextmanager
async def _stranger(client: EventsClient) -> AsyncIterator[tuple[str, Secret]]:
    """A SCRAM user of a random name without any ACL, for as long as the block runs."""
    from norn_reconciler.providers.events import wire  # noqa: PLC0415

    user = f"norn-doctor-{secrets.token_hex(8)}"
    password = Secret(secrets.token_urlsafe(32))
    upsert = (await salted({user: password}))[user]
    try:
        await client.ask(wire.alter_users_request([upsert], []))
        yield user, password
    finally:
        await client.ask(wire.alter_users_request([], [(user, MECHANISM)]))


async def _patiently_log_in(client: EventsClient, user: str, password: Secret) -> None:
    began = time.monotonic()
    while True:
        try:
            return await log_in(client.endpoint, MECHANISM, user, password)
        except LoginRefused:
            if time.monotonic() - began >= _NEW_USER_PATIENCE:
                raise
            await asyncio.sleep(_PAUSE)


def _blocking(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.BLOCKING, reason, message, remedy)
