"""The passwords for compose.yaml: generated once, in a file that compose reads."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.valkey_server import ADMIN

FILE = "compose.env"


def prepare(folder: Path) -> Mapping[str, str]:
    """Make `folder`/compose.env (0600) if there is none; returns norn's settings for what
    compose.yaml starts with it."""
    env = folder / FILE
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not env.exists():
        valkey, redpanda = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        handle = os.open(env, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(f"VALKEY_PASSWORD={valkey}\n")
            out.write(f"VALKEY_PASSWORD_SHA256={hashlib.sha256(valkey.encode()).hexdigest()}\n")
            out.write(f"REDPANDA_PASSWORD={redpanda}\n")
    values = dict(line.split("=", 1) for line in env.read_text().splitlines())
    return {
        "valkey_url": f"valkey://{ADMIN}:{values['VALKEY_PASSWORD']}@127.0.0.1:6379",
        "redpanda_brokers": "127.0.0.1:19092",
        "redpanda_username": ADMIN,
        "redpanda_password": values["REDPANDA_PASSWORD"],
    }
