"""What `norn doctor` looks at besides the services: norn_db, the master key, files' modes."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

from norn_reconciler import key_at_hand
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.settings import Settings
from norn_reconciler.store.store import PostgresStore

PUBLISHED = {"norn", "postgres", "admin", "password", "changeme", "redpanda"}


async def norn_db(settings: Settings) -> Health:
    """Reachable, of this version, and in agreement with the master key at hand."""
    began = time.monotonic()
    url = settings.database_url.get_secret_value()
    store = PostgresStore(
        Secret(url), instance="doctor", request_timeout=settings.request_timeout_seconds
    )
    findings: list[Problem] = []
    try:
        await store.require_schema()
        snapshot = await store.snapshot()
    except NornError as fault:
        return Health("norn_db", False, _since(began), str(fault))
    finally:
        await store.close()
    if urlsplit(url).password in PUBLISHED:
        findings.append(
            Problem(
                Severity.BLOCKING,
                "PublishedPassword",
                "norn_db is opened with a password that everybody knows: whoever reaches the "
                "server can rewrite the records of whose what is, and take any app's data",
                "make db: it makes norn_keeper, whose password only norn.toml has",
            )
        )
    count = len(snapshot.apps)
    detail = f"{count} app{'' if count == 1 else 's'} known, "
    fingerprint, wrong = _key(settings, snapshot.key_fingerprint)
    findings += wrong
    if wrong:
        detail += "the master key does not fit"
    else:
        detail += f"master key {fingerprint}" if fingerprint else "no master key yet"
    ok = not any(f.severity is Severity.BLOCKING for f in findings)
    return Health("norn_db", ok, _since(began), detail, tuple(findings))


def _key(settings: Settings, known: str | None) -> tuple[str | None, list[Problem]]:
    """The fingerprint of the key at hand, None without one; and what is wrong with it."""
    try:
        why = key_at_hand.held(settings, known)
    except NornError as fault:
        return None, [Problem(Severity.BLOCKING, "KeyUnusable", str(fault))]
    found = key_at_hand.at_hand(settings)
    fingerprint = found.fingerprint if found is not None else None
    if not why:
        return fingerprint, []
    remedy = f"bring the right key back, or set NORN_MASTER_KEY_FILE; {key_at_hand.LOST_FOR_GOOD}"
    return fingerprint, [Problem(Severity.BLOCKING, "KeyMismatch", why, remedy)]


def files(settings: Settings) -> Health:
    """Modes of what holds a secret (the key's own are looked at when it is read), and the specs."""
    began = time.monotonic()
    findings: list[Problem] = []
    for path in (Path("norn.toml"), *sorted(settings.credentials_path.glob("*.env"))):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            findings.append(
                Problem(
                    Severity.BLOCKING,
                    "WorldReadable",
                    f"{path} can be read by others: {stat.filemode(path.stat().st_mode)}",
                    f"chmod 600 {path}",
                )
            )
    if not settings.specs_dir.is_dir():
        findings.append(
            _warning(
                "NoSpecs", f"the folder {settings.specs_dir} is not there", "set NORN_SPECS_DIR"
            )
        )
    ok = all(finding.severity is not Severity.BLOCKING for finding in findings)
    return Health("files", ok, _since(began), str(settings.specs_dir), tuple(findings))


def _warning(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.WARNING, reason, message, remedy)


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000
