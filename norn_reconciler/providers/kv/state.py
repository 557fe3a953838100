"""What an app should have on Valkey, and what it has: values, no driver, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from norn_reconciler.model.secret import Credential, CredentialMark
from norn_reconciler.providers.kv.rules import Rules
from norn_reconciler.providers.kv.section import NAMESPACE

SERVICE = "kv"
USER = "acl-user"

__all__ = ["NAMESPACE", "SERVICE", "USER", "Desired", "Observed", "Persistence", "sha256_of"]


class Persistence(StrEnum):
    """Where users outlive a restart of the server.

    ACLFILE: ACL SAVE. CONFIG: CONFIG REWRITE, which the settings allow. NONE: nowhere.
    UNKNOWN: the admin user may not ask.
    """

    ACLFILE = "aclfile"
    CONFIG = "config"
    NONE = "none"
    UNKNOWN = "unknown"

    @property
    def durable(self) -> bool:
        return self in (Persistence.ACLFILE, Persistence.CONFIG)


@dataclass(frozen=True, slots=True)
class Desired:
    """namespace: None when no access is wanted. password_sha256: hex, as the server keeps it. info,
    channels: what the spec asks for besides."""

    app: str
    namespace: str | None
    password_sha256: str
    mark: CredentialMark
    info: bool = False
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What the server holds for one app.

    user: its ACL user, None without one. missing: commands of norn's rules that the server does
    not have. claimants: users that are not norn's and have a pattern for keys of its namespace, as
    `NAME ~PATTERN`. open_by: such users without a password that reach its namespace. unsaved: a
    change of this user was made and could not be saved. unended: sessions on it were to be ended
    and could not be.
    """

    user: Rules | None
    persistence: Persistence
    missing: frozenset[str] = frozenset()
    unsaved: bool = False
    unended: bool = False
    claimants: tuple[str, ...] = ()
    open_by: tuple[str, ...] = ()


def sha256_of(credential: Credential) -> str:
    """The form in which the server keeps and shows a password: SHA-256 hex."""
    return hashlib.sha256(credential.password.reveal().encode()).hexdigest()
