"""What `norn doctor` looks at besides the services: norn_db, the master key, files' modes."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

from norn_reconciler import jobbing, key_at_hand
from norn_reconciler.engine.recovery import counted
from norn_reconciler.model.errors import NornError
from norn_reconciler.model.outcome import Health
from norn_reconciler.model.plan import Problem, Severity
from norn_reconciler.model.secret import Secret
from norn_reconciler.settings import Settings
from norn_reconciler.store.store import PostgresStore

ENV_FILE = Path("/etc/norn-reconciler/norn.env")  # of systemd/norn-reconciler.service
# What the embedded stack keeps in the state folder, passwords of the servers among it.
STACK = ("connections.toml", "stack.json", "stack/stack.json")
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
    detail = f"{counted(snapshot.apps)} known, "
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
    state, credentials = settings.state_dir, settings.credentials_path
    kept = (state / name for name in STACK)
    copies = settings.snapshots_dir
    secrets = (*sorted(credentials.glob("*.env")), *sorted(copies.glob("*.dump")))
    for path in (Path("norn.toml"), ENV_FILE, *kept, *secrets):
        if mode := _open_to_others(path, 0o077):
            findings.append(_readable(path, mode))
    # Through the state folder the embedded servers' own user passes; nobody looks into it.
    for path, bits, right in (
        (state, 0o066, 711),
        (credentials, 0o077, 700),
        (copies, 0o077, 700),
    ):
        if mode := _open_to_others(path, bits):
            findings.append(_folder(path, mode, right))
    if (unable := jobbing.hindrance(settings)) is not None:
        findings.append(unable)
    if not settings.specs_dir.is_dir():
        findings.append(
            _warning(
                "NoSpecs", f"the folder {settings.specs_dir} is not there", "set NORN_SPECS_DIR"
            )
        )
    ok = all(finding.severity is not Severity.BLOCKING for finding in findings)
    return Health("files", ok, _since(began), str(settings.specs_dir), tuple(findings))


def _open_to_others(path: Path, bits: int) -> int:
    """Its mode, when others have one of `bits`; 0 when not, or when it is not there to be seen."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return 0
    return mode if stat.S_IMODE(mode) & bits else 0


def _readable(path: Path, mode: int) -> Problem:
    return Problem(
        Severity.BLOCKING,
        "WorldReadable",
        f"{path} can be read by others: {stat.filemode(mode)}",
        f"chmod 600 {path}",
    )


def _folder(path: Path, mode: int, right: int) -> Problem:
    """Who may write to a folder may put another file in a file's place, whatever its mode."""
    writable = bool(mode & 0o022)
    return Problem(
        Severity.BLOCKING if writable else Severity.WARNING,
        "FolderOpen",
        f"{'files in' if writable else 'the names in'} {path} can be "
        f"{'replaced' if writable else 'seen'} by others: {stat.filemode(mode)}",
        f"chmod {right} {path}",
    )


def _warning(reason: str, message: str, remedy: str) -> Problem:
    return Problem(Severity.WARNING, reason, message, remedy)


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000
