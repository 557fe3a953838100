"""`python -m infra`: the embedded stack (up, down, status), the users on a PostgreSQL server (db),
and what compose.yaml needs (compose-env)."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from infra import configuration
from infra.bootstrap import share
from infra.containers import prepare
from infra.ports import listening
from infra.process import StackError
from infra.stack import NAMES, Stack, suitable

FOLDER = Path(".norn/stack")
CONFIG = Path("norn.toml")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, work in (("up", _up), ("down", _down), ("status", _status), ("db", _db)):
        command = commands.add_parser(name)
        command.set_defaults(work=work)
        command.add_argument("--dir", type=Path, help="default: .norn/stack")
    up = commands.choices["up"]
    for name in NAMES:
        up.add_argument(f"--{name}-port", type=int, default=0, help="0: a free one")
    up.add_argument("--pg-bin", type=Path, help="folder of another PostgreSQL's programs")
    up.add_argument("--only", default=",".join(NAMES), help="comma list")
    up.add_argument("--config", type=Path, help="write norn's settings there")
    database = commands.choices["db"]
    database.add_argument("--config", type=Path, default=CONFIG)
    database.add_argument(
        "--renew", action="store_true", help="new passwords for norn_admin and norn_keeper"
    )
    compose = commands.add_parser("compose-env")
    compose.set_defaults(work=_compose)
    compose.add_argument("--dir", type=Path, default=Path(".norn"))
    compose.add_argument("--config", type=Path, default=CONFIG)
    arguments = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its complaints while a broker boots
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was half up is ended
    try:
        return int(arguments.work(arguments))
    except (StackError, psycopg.Error, OSError, ValueError) as fault:
        print(f"{arguments.command}: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _folder(arguments: argparse.Namespace) -> Path:
    if arguments.dir is not None:
        return Path(arguments.dir)
    here = hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:12]
    return suitable(FOLDER, here)


def _known(arguments: argparse.Namespace) -> Stack | None:
    folder = _folder(arguments)
    return Stack(folder) if (folder / "stack.json").exists() else None


def _up(arguments: argparse.Namespace) -> int:
    ports = {name: getattr(arguments, f"{name}_port") for name in NAMES}
    stack = Stack(_folder(arguments), ports, arguments.pg_bin)
    names = []
    for name in arguments.only.split(","):
        server = stack.server(name)
        if server.process.pid is None and listening(server.port):
            print(f"something listens on 127.0.0.1:{server.port} already; it is left alone, and")
            print(f"  {server.title} is not started here")
        else:
            names.append(name)
    stack.start(names, progress=lambda text: print(f"{text}\n", end="", flush=True))
    if arguments.config:
        configuration.write(arguments.config, stack.settings(names))
    if "postgres" not in names:
        print("for the PostgreSQL that is there: make db")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stack = _known(arguments)
    if stack is None or not any(stack.running().values()):
        print("nothing of ours runs here")
        return 0
    stack.stop()
    print(f"stopped; the data stays in {stack.folder}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    stack = _known(arguments)
    if stack is None:
        print("nothing of ours runs here")
        return 1
    running = stack.running()
    for name, pid in running.items():
        server = stack.server(name)
        state = f"pid {pid}" if pid else "not running"
        print(f"{server.title:<11} 127.0.0.1:{server.port:<6} {state}")
    return 0 if all(running.values()) else 1


def _db(arguments: argparse.Namespace) -> int:
    """Users and norn_db: on the embedded stack when it runs and no other server is named."""
    url = os.environ.get("NORN_POSTGRES_SUPERUSER_URL")
    stack = _known(arguments)
    if url is None and stack is not None and stack.postgres.process.pid is not None:
        stack.start(["postgres"])
        configuration.write(arguments.config, stack.settings(["postgres"]))
        print("norn, norn_keeper, norn_admin and norn_db are there")
        return 0
    settings = configuration.read(arguments.config)
    known: dict[str, str | None] = {}
    for setting in ("postgres_url", "database_url"):
        text = os.environ.get(f"NORN_{setting.upper()}") or settings.get(setting)
        parts = conninfo_to_dict(text) if text else {}
        known[str(parts.get("user"))] = str(parts["password"]) if parts.get("password") else None
    shared = share(url, known, renew=arguments.renew)
    where = f"{f'[{shared.host}]' if ':' in shared.host else shared.host}:{shared.port}"
    admin, keeper = (quote(p, safe="") for p in (shared.admin_password, shared.keeper_password))
    configuration.write(
        arguments.config,
        {
            "database_url": f"postgresql://norn_keeper:{keeper}@{where}/norn_db",
            "postgres_url": f"postgresql://norn_admin:{admin}@{where}/postgres",
        },
    )
    print("norn, norn_keeper, norn_admin and norn_db are there; `make doctor` advises the rest")
    return 0


def _compose(arguments: argparse.Namespace) -> int:
    configuration.write(arguments.config, prepare(arguments.dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
